"""The HTTP/1.1 server of every component: API, kubelet, metrics, fake pods.

`serve` runs until it is cancelled, and then drains: it accepts nothing more, closes idle connections, ends watches
with a proper last chunk, and gives requests in flight `Limits.grace_seconds`.
"""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Sequence
from typing import Any

import trio

from kcore.http.connection import Connection, Phase, StreamBudget
from kcore.http.hangups import Hangups
from kcore.http.limits import Limits
from kcore.http.messages import Handler
from kcore.http.sockets import SocketStream
from kcore.http.tls import TlsStream
from kcore.http.watchdog import Watchdog

__all__ = ["Limits", "serve", "serve_stream"]

_LOG = logging.getLogger("kcore.http")
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Server:
    def __init__(self, handler: Handler, context: ssl.SSLContext | None, limits: Limits, log: logging.Logger):
        self.handler, self.context, self.limits, self.log = handler, context, limits, log
        self.budget = StreamBudget(limits.streams)
        self.watchdog: Watchdog[Connection] = Watchdog(limits)
        self.hangups = Hangups()
        self.count = 0
        self.by_peer: dict[str, int] = {}
        self.stopping = trio.Event()

    async def accept(self, listener: trio.abc.Listener[trio.SocketStream], nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                self.log.warning("cannot accept a connection: %s", error)
                await trio.sleep(0.1)
                continue
            host = _addresses(stream)[0].rpartition(":")[0]
            if self.count >= self.limits.connections and not self._make_room(host):
                await trio.aclose_forcefully(stream)
                continue
            self.count += 1
            self.by_peer[host] = self.by_peer.get(host, 0) + 1
            nursery.start_soon(self.connection, stream, host)

    def _make_room(self, host: str) -> bool:
        """Close an idle connection, of the address that has most; whether there was one. An address that has its fair
        share already makes room among its own."""
        share = self.limits.connections / len(self.by_peer.keys() | {host})
        if self.by_peer.get(host, 0) >= share:
            return self._evict(host)
        heaviest = max(self.by_peer, key=self.by_peer.__getitem__)
        return self._evict(heaviest) or self._evict(None)

    def _evict(self, host: str | None) -> bool:
        """Close the connection (of that address) that has been idle longest; whether there was one."""
        for connection in self.watchdog:
            if connection.phase is Phase.IDLE and host in (None, connection.host):
                connection.drain()
                return True
        return False

    async def connection(self, accepted: trio.abc.Stream, host: str) -> None:
        fd = accepted.socket.fileno() if isinstance(accepted, trio.SocketStream) else -1
        stream = accepted if not isinstance(accepted, trio.SocketStream) else SocketStream.adopt(accepted)
        try:
            peer, local = _addresses(stream)
            certificate: bytes | None = None
            unverified: bytes | None = None
            if self.context is not None:
                tls = TlsStream(stream, self.context, server_side=True)
                if not await _handshake(tls, self.limits):
                    return
                certificate = tls.ssl.getpeercert(binary_form=True)
                if not tls.peer_verified:
                    certificate, unverified = None, certificate
                stream = tls
            connection = Connection(
                stream,
                self.handler,
                self.limits,
                self.log,
                self.budget,
                peer=peer,
                local=local,
                certificate=certificate,
                unverified=unverified,
            )
            connection.host = host
            self.watchdog.add(connection)
            if fd >= 0:
                self.hangups.add(fd, connection)
            try:
                if self.stopping.is_set():
                    connection.drain()
                await connection.run()
            finally:
                self.watchdog.discard(connection)
                self.hangups.discard(fd, connection)
        except Exception:  # a fault of ours: this connection ends, the others go on
            self.log.exception("a connection failed")
            await trio.aclose_forcefully(stream)
        finally:
            self.count -= 1
            self.by_peer[host] -= 1
            if not self.by_peer[host]:
                del self.by_peer[host]

    async def connections(self, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Holds all connections, out of reach of the cancellation that stops `serve`, until they are drained."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as outer:
                outer.start_soon(self.watchdog.run)
                outer.start_soon(self.hangups.run)
                async with trio.open_nursery() as nursery:
                    task_status.started(nursery)
                    await self.stopping.wait()
                    nursery.cancel_scope.deadline = trio.current_time() + self.limits.grace_seconds
                    for connection in self.watchdog:
                        connection.drain()
                outer.cancel_scope.cancel()


async def serve(
    handler: Handler,
    listeners: Sequence[trio.abc.Listener[trio.SocketStream]],
    *,
    ssl_context: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    log: logging.Logger = _LOG,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `handler` on `listeners` (which it closes) until cancelled.

    An exception of the handler becomes an answer (an `ApiError` its Status, any other one 500) and is logged.
    """
    server = _Server(handler, ssl_context, limits or Limits(), log)
    try:
        async with trio.open_nursery() as outer:
            nursery = await outer.start(server.connections)
            try:
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(server.accept, listener, nursery)
                    task_status.started()
            finally:
                server.stopping.set()
                await _close(listeners)
    finally:
        await _close(listeners)


async def serve_stream(
    stream: trio.abc.Stream,
    handler: Handler,
    *,
    limits: Limits | None = None,
    log: logging.Logger = _LOG,
    peer: str = "",
    local: str = "",
    certificate: bytes | None = None,
) -> None:
    """Serve one connection, which is closed at the end, whatever happens."""
    limits = limits or Limits()
    connection = Connection(
        stream, handler, limits, log, StreamBudget(limits.streams), peer=peer, local=local, certificate=certificate
    )
    watchdog: Watchdog[Connection] = Watchdog(limits)
    watchdog.add(connection)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog.run)
        await connection.run()
        nursery.cancel_scope.cancel()


async def _close(listeners: Sequence[trio.abc.Listener[trio.SocketStream]]) -> None:
    with trio.CancelScope(shield=True):  # or the first one's checkpoint would leave the others open
        for listener in listeners:
            await trio.aclose_forcefully(listener)


async def _handshake(tls: TlsStream, limits: Limits) -> bool:
    done = False
    try:
        with trio.move_on_after(limits.header_seconds):
            await tls.handshake()
            done = True
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # plain HTTP, a scanner, a client that does not trust us or that we do not trust
    finally:
        if not done:
            await trio.aclose_forcefully(tls.lower)
    return done


def _addresses(stream: Any) -> tuple[str, str]:
    sock = getattr(stream, "socket", None)
    if sock is None:
        return "", ""
    try:
        return _address(sock.getpeername()), _address(sock.getsockname())
    except OSError:  # already gone
        return "", ""


def _address(name: Any) -> str:
    if not isinstance(name, tuple):
        return str(name)  # a unix socket's path
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}"
