"""UDP: every client gets an endpoint and a socket of its own, until it has been silent for a while."""

from __future__ import annotations

import attrs
import trio

from kcore_proxy_userspace.balancer import Balancer

MAX_CLIENTS = 4096
"""Clients of one service port that are remembered at once; packets of more are dropped, as a full table would."""
LARGEST = 65535


@attrs.define(eq=False)
class _Client:
    sock: trio.socket.SocketType
    endpoint: object
    scope: trio.CancelScope


async def serve_udp(sock: trio.socket.SocketType, balancer: Balancer, scope: trio.CancelScope, timeout: float) -> None:
    """Forward datagrams until `scope` is cancelled; `timeout` is in seconds."""
    clients: dict[tuple[str, int], _Client] = {}
    with scope, sock:
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    packet, address = await sock.recvfrom(LARGEST)
                except OSError:
                    continue  # an earlier answer could not be delivered
                client = clients.get(address)
                if client is None or client.endpoint not in balancer.endpoints:
                    if client is not None:
                        client.scope.cancel()
                    client = await _admit(address, balancer, clients, nursery, sock, timeout)
                if client is not None:
                    client.scope.deadline = trio.current_time() + timeout
                    try:
                        await client.sock.send(packet)
                    except OSError:
                        client.scope.cancel()  # the endpoint is gone: the next packet chooses again


async def _admit(
    address: tuple[str, int],
    balancer: Balancer,
    clients: dict[tuple[str, int], _Client],
    nursery: trio.Nursery,
    front: trio.socket.SocketType,
    timeout: float,
) -> _Client | None:
    endpoint = next(balancer.candidates(address[0]), None)
    if endpoint is None or len(clients) >= MAX_CLIENTS:
        return None
    family = trio.socket.AF_INET6 if ":" in endpoint.address else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
    try:
        await sock.connect((endpoint.address, endpoint.port))
    except OSError:
        sock.close()
        return None
    balancer.remember(address[0], endpoint)
    client = clients[address] = _Client(sock, endpoint, trio.CancelScope(deadline=trio.current_time() + timeout))
    nursery.start_soon(_answers, client, address, clients, front, timeout)
    return client


async def _answers(
    client: _Client,
    address: tuple[str, int],
    clients: dict[tuple[str, int], _Client],
    front: trio.socket.SocketType,
    timeout: float,
) -> None:
    try:
        with client.scope, client.sock:
            while True:
                packet = await client.sock.recv(LARGEST)
                client.scope.deadline = trio.current_time() + timeout
                await front.sendto(packet, address)
    except OSError:
        pass  # refused: nobody listens at the endpoint any more
    finally:
        if clients.get(address) is client:
            del clients[address]
