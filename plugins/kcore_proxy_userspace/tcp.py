"""TCP: accept, connect to an endpoint, copy both ways until both sides have finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from kcore.loopback import PRIVILEGED
from kcore_proxy_userspace.balancer import Balancer

if TYPE_CHECKING:
    from prometheus_client import Gauge

CONNECT_SECONDS = (0.25, 0.5, 1.0, 2.0)
"""How long each attempt at an endpoint may take; the last figure for all further ones (upstream's userspace proxy)."""
PIECE = 65536


async def serve_tcp(
    sock: trio.socket.SocketType,
    balancer: Balancer,
    scope: trio.CancelScope,
    connections: trio.Nursery,
    limit: trio.CapacityLimiter,
    gauge: Gauge,
    offset: int,
) -> None:
    """Accept until `scope` is cancelled. Connections run in the nursery `connections`, and outlive the listener."""
    listener = trio.SocketListener(sock)
    with scope:
        async with listener:
            while True:
                stream = await _accept(listener)
                borrower = object()
                try:
                    limit.acquire_on_behalf_of_nowait(borrower)  # no checkpoint: what was accepted will be served
                except trio.WouldBlock:
                    await _wait_turn(stream, limit, borrower)
                connections.start_soon(_connection, stream, balancer, limit, borrower, gauge, offset)


async def _wait_turn(stream: trio.SocketStream, limit: trio.CapacityLimiter, borrower: object) -> None:
    try:
        await limit.acquire_on_behalf_of(borrower)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def _accept(listener: trio.SocketListener) -> trio.SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError:  # out of descriptors, or the client has gone already: others may still be served
            await trio.sleep(0.05)


async def _connection(
    stream: trio.SocketStream,
    balancer: Balancer,
    limit: trio.CapacityLimiter,
    borrower: object,
    gauge: Gauge,
    offset: int,
) -> None:
    gauge.inc()
    try:
        async with stream:
            endpoint = await _connect(stream, balancer, offset)
            if endpoint is None:
                return  # nobody is there: the client sees its connection closed
            async with endpoint, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, stream, endpoint)
                nursery.start_soon(_copy, endpoint, stream)
    except* OSError:
        pass  # one side has vanished while the connection was being made
    finally:
        limit.release_on_behalf_of(borrower)
        gauge.dec()


async def _connect(stream: trio.SocketStream, balancer: Balancer, offset: int) -> trio.SocketStream | None:
    client = stream.socket.getpeername()[0]
    for attempt, endpoint in enumerate(balancer.candidates(client)):
        try:
            with trio.fail_after(CONNECT_SECONDS[min(attempt, len(CONNECT_SECONDS) - 1)]):
                sock = await _dial(endpoint.address, endpoint.port, offset)
        except (OSError, trio.TooSlowError):
            continue  # it is going away, and the news has not reached us: the next one
        balancer.remember(client, endpoint)
        return trio.SocketStream(sock)
    return None


async def _dial(address: str, port: int, offset: int) -> trio.socket.SocketType:
    """Raises OSError. A pod of this machine whose runtime may not listen below 1024 listens at `port` + `offset`."""
    sock = trio.socket.socket(trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET)
    try:
        await sock.connect((address, port))
    except ConnectionRefusedError:
        sock.close()
        if port >= PRIVILEGED or not offset or not address.startswith("127."):
            raise
        return await _dial(address, port + offset, 0)
    except BaseException:
        sock.close()
        raise
    return sock


async def _copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    """Copy until the source ends, then tell the sink: the other direction may go on (half-closed connections)."""
    try:
        while piece := await source.receive_some(PIECE):
            await sink.send_all(piece)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.aclose_forcefully(source)
        await trio.aclose_forcefully(sink)
