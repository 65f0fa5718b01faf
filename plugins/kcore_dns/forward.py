"""Names of the rest of the world: asked of other servers, each question once at a time."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import trio

from kcore.dns import PORT
from kcore_dns import wire
from kcore_dns.measures import Measures
from kcore_dns.replies import Cache, Key, Reply, key_of, read
from kcore_dns.wire import Malformed, Query

LOOK_SECONDS = 5.0
"""How often resolv.conf is looked at for changes, while somebody asks."""
FAILURE_SECONDS = 1.0
"""How long it is remembered that nobody answered a question (RFC 9520)."""
MAX_FAILURES = 1000
ATTEMPTS = 2
"""How often all servers are gone through."""

Server = tuple[str, int]


def server_of(text: str) -> Server:
    host, _, port = text.partition("#")
    return host, int(port or PORT)


def nameservers(path: str) -> list[Server]:
    """Those of a resolv.conf, as resolv.conf(5) has it; none if there is no such file."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [(w[1], PORT) for w in words if len(w) > 1 and w[0] == "nameserver"]


@attrs.define(slots=True, eq=False)
class _Asking:
    done: trio.Event = attrs.Factory(trio.Event)
    reply: Reply | None = None


class Forwarder:
    """Asks other servers, and keeps what they say."""

    def __init__(
        self,
        servers: Sequence[str],
        stubs: Mapping[str, Sequence[str]],
        *,
        seconds: float,
        limit: int,
        cache: Cache,
        measures: Measures,
        log: logging.Logger,
        own: Callable[[], set[Server]],
    ) -> None:
        """`own` gives this server's own addresses, which are never asked: a resolv.conf may well name them."""
        self._files = [text for text in servers if text.startswith("/")]
        self._fixed = [server_of(text) for text in servers if not text.startswith("/")]
        self._stubs = {
            wire.wire_of(domain.lower().rstrip(".")): [server_of(text) for text in found]
            for domain, found in stubs.items()
        }
        self._seconds, self._own, self._log = seconds, own, log
        self._limit = trio.CapacityLimiter(limit)
        self.cache, self.measures = cache, measures
        self._asking: dict[tuple[Key, bool], _Asking] = {}
        self._failed: dict[Key, float] = {}
        self._from_files: list[Server] = []
        self._stamps: list[object] = []
        self._looked = float("-inf")
        self._first = 0  # of the servers: the one that answered last

    # --- whom to ask -------------------------------------------------------------------------------------------------

    def servers(self, name: bytes) -> list[Server]:
        """For a name in wire form, in the order in which they are asked."""
        if self._stubs:
            at = 0
            while at < len(name):
                found = self._stubs.get(name[at:])
                if found is not None:
                    return found
                at += name[at] + 1
        own = self._own()
        everyone = [s for s in self._fixed + self._of_files() if s not in own]
        first = self._first % len(everyone) if everyone else 0
        return everyone[first:] + everyone[:first]

    def _of_files(self) -> list[Server]:
        now = trio.current_time()
        if self._files and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            stamps: list[object] = [_stamp(path) for path in self._files]
            if stamps != self._stamps:
                self._stamps = stamps
                self._from_files = [server for path in self._files for server in nameservers(path)]
        return self._from_files

    # --- asking ------------------------------------------------------------------------------------------------------

    def kept(self, query: Query) -> bytes | None:
        """An answer that need not be asked for."""
        return self.cache.find(query)

    async def resolve(self, query: Query, *, tcp: bool) -> Reply | None:
        """None: nobody has answered. `tcp`: a long answer is wanted whole."""
        key = key_of(query)
        until = self._failed.get(key)
        if until is not None and until > trio.current_time():
            return None
        asking = self._asking.get((key, tcp))
        if asking is not None:
            await asking.done.wait()
            return asking.reply
        asking = _Asking()
        try:
            self._limit.acquire_on_behalf_of_nowait(asking)
        except trio.WouldBlock:
            self.measures.rejects += 1
            return None
        self._asking[key, tcp] = asking
        try:
            asking.reply = await self._ask_all(query, tcp)
            if asking.reply is None:
                self._remember_failure(key)
            else:
                self._failed.pop(key, None)
                self.cache.keep(query, asking.reply)
            return asking.reply
        finally:
            self._limit.release_on_behalf_of(asking)
            del self._asking[key, tcp]
            asking.done.set()

    def _remember_failure(self, key: Key) -> None:
        if len(self._failed) >= MAX_FAILURES:
            self._failed.clear()
        self._failed[key] = trio.current_time() + FAILURE_SECONDS

    async def _ask_all(self, query: Query, tcp: bool) -> Reply | None:
        last: Reply | None = None
        for _ in range(ATTEMPTS):
            for server in self.servers(query.name):
                reply = await self._ask(server, query, tcp)
                if reply is None:
                    self._first += 1  # whoever asks next begins with another
                    continue
                if reply.rcode in (wire.NOERROR, wire.NXDOMAIN):
                    return reply
                last = reply  # it cannot or will not: perhaps another one
            if last is not None:
                break
        return last

    async def _ask(self, server: Server, query: Query, tcp: bool) -> Reply | None:
        began, reply = time.perf_counter(), None
        try:
            with trio.fail_after(self._seconds):
                reply = await _over_udp(server, query)
                if reply.flags & wire.TC and tcp:
                    reply = await _over_tcp(server, query)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, Malformed) as error:
            self._log.debug("%s#%s: %s: %s", *server, query.text, error or type(error).__name__)
        rcode = wire.RCODES.get(reply.rcode, str(reply.rcode)) if reply is not None else "SERVFAIL"
        self.measures.forwarded(f"{server[0]}:{server[1]}", rcode, time.perf_counter() - began)
        return reply


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _packet(query: Query) -> tuple[int, bytes]:
    id = secrets.randbits(16)
    question = query.name + query.question[-4:]
    tail = wire.opt(query)
    flags = wire.RD | query.flags & wire.CD
    return id, wire.HEADER.pack(id, flags, 1, 0, 0, 1 if tail else 0) + question + tail


async def _over_udp(server: Server, query: Query) -> Reply:
    """A port of its own for every question: with the number, 32 bits that a forger must guess."""
    id, packet = _packet(query)
    family = trio.socket.AF_INET6 if ":" in server[0] else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock:
        await sock.connect(server)
        await sock.send(packet)
        while True:
            found = await sock.recv(wire.LARGEST)
            try:
                return read(found, id, query)
            except Malformed:
                continue  # not ours: a late one, a forged one


async def _over_tcp(server: Server, query: Query) -> Reply:
    id, packet = _packet(query)
    async with await trio.open_tcp_stream(*server) as stream:
        await stream.send_all(len(packet).to_bytes(2, "big") + packet)
        received = bytearray()
        while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
            piece = await stream.receive_some(wire.LARGEST)
            if not piece:
                raise Malformed("closed before the answer was complete")
            received += piece
        return read(bytes(received[2 : 2 + int.from_bytes(received[:2], "big")]), id, query)
