"""UDP and TCP: packets in, packets out, nothing without a bound."""

from __future__ import annotations

import logging
import socket
import time

import trio

from kcore_dns import wire
from kcore_dns.measures import Measures
from kcore_dns.resolver import Resolver
from kcore_dns.wire import Malformed, Query

BATCH = 64
"""Datagrams that are taken in one turn, before others in this process have theirs."""
MAX_WAITING = 2000
"""Questions of UDP clients that wait for another server's answer; more are dropped, and asked again by the client."""
MESSAGE_SECONDS = 5.0
"""How long a TCP client may take to send one message that it has begun, or to take an answer."""


class Server:
    """Serves sockets that are bound already."""

    def __init__(
        self,
        resolver: Resolver,
        measures: Measures,
        domain: str,
        max_connections: int,
        idle_seconds: float,
        log: logging.Logger,
    ) -> None:
        self._resolver, self._measures, self._log = resolver, measures, log
        self._zone = f"{domain}."
        self._max_connections, self._idle = max_connections, idle_seconds
        self._connections = 0
        self._waiting = 0

    # --- UDP ---------------------------------------------------------------------------------------------------------

    async def serve_udp(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        """Until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(sock)
            for _ in range(BATCH):
                try:
                    packet, peer = sock.recvfrom(wire.LARGEST)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # an earlier answer could not be delivered
                self._datagram(sock, packet, peer, nursery)

    def _datagram(self, sock: socket.socket, packet: bytes, peer: tuple[str, int], nursery: trio.Nursery) -> None:
        began = time.perf_counter()
        try:
            query = wire.parse(packet)
        except Malformed:
            self._measures.dropped += 1
            return
        try:
            answer, ours = self._resolver.quick(query, query.size, peer[0])
        except Exception:
            answer, ours = self._failed(query), True
        if answer is not None:
            self._send(sock, answer, peer)
            self._count(query, "udp", peer[0], ours, len(packet), answer, began)
        elif self._waiting < MAX_WAITING:
            self._waiting += 1
            nursery.start_soon(self._later, sock, query, peer, len(packet), ours, began)
        else:
            self._measures.rejects += 1

    async def _later(
        self, sock: socket.socket, query: Query, peer: tuple[str, int], size: int, ours: bool, began: float
    ) -> None:
        try:
            answer = await self._slowly(query, query.size, peer[0], tcp=False)
        finally:
            self._waiting -= 1
        self._send(sock, answer, peer)
        self._count(query, "udp", peer[0], ours, size, answer, began)

    async def _slowly(self, query: Query, limit: int, client: str, *, tcp: bool) -> bytes:
        try:
            return await self._resolver.slow(query, limit, client, tcp=tcp)
        except Exception:
            return self._failed(query)

    def _failed(self, query: Query) -> bytes:
        self._measures.panics += 1
        self._log.exception("a question for %s failed", query.text)
        return wire.message(query, wire.SERVFAIL, wire.RA)

    def _send(self, sock: socket.socket, answer: bytes, peer: tuple[str, int]) -> None:
        try:
            sock.sendto(answer, peer)
        except OSError:
            pass  # no room, or no way to the client: it asks again

    # --- TCP ---------------------------------------------------------------------------------------------------------

    async def serve_tcp(self, sock: socket.socket) -> None:
        """Until cancelled."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await listener.accept()
                except OSError:  # out of descriptors, or the client has gone already
                    await trio.sleep(0.05)
                    continue
                if self._connections >= self._max_connections:
                    await trio.aclose_forcefully(stream)
                    continue
                self._connections += 1
                nursery.start_soon(self._connection, stream)

    async def _connection(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                peer = stream.socket.getpeername()[0]
                received = bytearray()
                while (packet := await self._message(stream, received)) is not None:
                    answer = await self._whole(packet, peer)
                    if answer is None:
                        return  # no question: there is nothing to talk about
                    with trio.fail_after(MESSAGE_SECONDS):
                        await stream.send_all(len(answer).to_bytes(2, "big") + answer)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # the client has gone, or is too slow
        finally:
            self._connections -= 1

    async def _message(self, stream: trio.SocketStream, received: bytearray) -> bytes | None:
        """The next one; None at the end. `received` has what has come of it, and of those behind it."""
        patience = trio.current_time() + (MESSAGE_SECONDS if received else self._idle)
        while True:
            if len(received) >= 2:
                end = 2 + int.from_bytes(received[:2], "big")
                if len(received) >= end:
                    packet = bytes(received[2:end])
                    del received[:end]
                    return packet
            with trio.fail_at(patience):
                piece = await stream.receive_some(4096)
            if not piece:
                return None
            if not received:
                patience = trio.current_time() + MESSAGE_SECONDS
            received += piece

    async def _whole(self, packet: bytes, peer: str) -> bytes | None:
        began = time.perf_counter()
        try:
            query = wire.parse(packet)
        except Malformed:
            self._measures.dropped += 1
            return None
        try:
            answer, ours = self._resolver.quick(query, wire.LARGEST, peer)
        except Exception:
            answer, ours = self._failed(query), True
        if answer is None:
            answer = await self._slowly(query, wire.LARGEST, peer, tcp=True)
        self._count(query, "tcp", peer, ours, len(packet), answer, began)
        return answer

    # --- counting ----------------------------------------------------------------------------------------------------

    def _count(
        self, query: Query, proto: str, client: str, ours: bool, size: int, answer: bytes, began: float
    ) -> None:
        rcode = answer[3] & 0x0F
        self._measures.answered(
            self._zone if ours else ".",
            proto,
            "2" if ":" in client else "1",
            wire.TYPES.get(query.type, "other"),
            wire.RCODES.get(rcode, str(rcode)),
            size,
            len(answer),
            time.perf_counter() - began,
        )
