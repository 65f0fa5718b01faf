"""Answers of other servers: checked, cut into records, and kept with their times to live."""

from __future__ import annotations

from collections import OrderedDict

import attrs
import trio

from kcore_dns import wire
from kcore_dns.wire import Malformed, Query

MAX_RECORDS = 1000
"""In one answer; more is somebody's attempt to keep this server busy."""

Key = tuple[bytes, int, int, bool, bool, bool]


def key_of(query: Query) -> Key:
    """Questions with the same key have the same answer."""
    return query.name, query.type, query.klass, query.edns, query.do, bool(query.flags & wire.CD)


@attrs.frozen(slots=True)
class Reply:
    """A whole message of another server, whose sections stand where they stand in any answer to the same name."""

    flags: int
    counts: tuple[int, int, int]
    sections: bytes
    ttls: tuple[tuple[int, int], ...]  # (where in `sections`, seconds)
    keep: int  # seconds that it may be kept; 0: it may not

    @property
    def rcode(self) -> int:
        return self.flags & wire.RCODE

    def answer(self, query: Query, age: int = 0) -> bytes:
        """The message for a client, `age` seconds after it arrived."""
        flags = wire.QR | wire.RA | query.flags & (wire.RD | wire.CD)
        flags |= self.flags & (wire.AA | wire.TC | wire.AD | wire.RCODE)
        head = wire.HEADER.pack(query.id, flags, 1, *self.counts) + query.question
        if not age:
            return head + self.sections
        sections = bytearray(self.sections)
        for at, ttl in self.ttls:
            sections[at : at + 4] = max(0, ttl - age).to_bytes(4, "big")
        return head + sections


def read(packet: bytes, id: int, query: Query) -> Reply:
    """Raises Malformed if it is not an answer to what was asked."""
    if len(packet) < 12:
        raise Malformed("shorter than a header")
    found, flags, questions, *counts = wire.HEADER.unpack_from(packet)
    end = 12 + len(query.question)
    if found != id or not flags & wire.QR or flags & wire.OPCODE:
        raise Malformed("not an answer to this question")
    if questions == 0 and flags & wire.RCODE:
        return Reply(flags, (0, 0, 0), b"", (), 0)  # it has not even understood the question
    asked = packet[12:end]
    if questions != 1 or asked[:-4].lower() != query.name or asked[-4:] != query.question[-4:]:
        raise Malformed("an answer to another question")
    ttls, least, negative = _times(packet, end, counts)
    keep = least if counts[0] else negative
    if flags & wire.TC or flags & wire.RCODE not in (wire.NOERROR, wire.NXDOMAIN):
        keep = 0
    return Reply(flags, (counts[0], counts[1], counts[2]), packet[end:], tuple(ttls), keep)


def _times(packet: bytes, end: int, counts: list[int]) -> tuple[list[tuple[int, int]], int, int]:
    """(where and what the TTLs are, the least of them, how long a negative answer lasts)."""
    if sum(counts) > MAX_RECORDS:
        raise Malformed("too many records")
    ttls, negative, at = [], 0, end
    for number in range(sum(counts)):
        at = wire.skip(packet, at)
        try:
            type, _, ttl, length = wire.FIXED.unpack_from(packet, at)
        except Exception as error:
            raise Malformed("ends within a record") from error
        if type != wire.OPT:
            ttl = 0 if ttl > 0x7FFFFFFF else ttl  # RFC 2181
            ttls.append((at + 4 - end, ttl))
        at += 10 + length
        if at > len(packet):
            raise Malformed("ends within a record")
        if type == wire.SOA and counts[0] <= number < counts[0] + counts[1] and length >= 22:
            negative = min(ttl, int.from_bytes(packet[at - 4 : at], "big"))
    return ttls, min((ttl for _, ttl in ttls), default=0), negative


def answers_of(reply: Reply, query: Query) -> list[bytes]:
    """The records of the answer section, whole: no name in them points elsewhere. Raises Malformed."""
    packet = b"\0" * 12 + query.question + reply.sections
    at, out = 12 + len(query.question), []
    for _ in range(reply.counts[0]):
        owner, at = _name(packet, at)
        type, klass, ttl, length = wire.FIXED.unpack_from(packet, at)
        at += 10
        data = _unpacked(packet, at, type, length)
        at += length
        out.append(owner + wire.FIXED.pack(type, klass, ttl, len(data)) + data)
    return out


def _unpacked(packet: bytes, at: int, type: int, length: int) -> bytes:
    """The data of a record, with its names written out; only old types may have shortened ones (RFC 3597)."""
    if type in (wire.CNAME, wire.NS, wire.PTR, wire.DNAME):
        return _name(packet, at)[0]
    if type == wire.MX:
        return packet[at : at + 2] + _name(packet, at + 2)[0]
    if type == wire.SRV:
        return packet[at : at + 6] + _name(packet, at + 6)[0]
    if type == wire.SOA:
        server, next = _name(packet, at)
        mailbox, next = _name(packet, next)
        return server + mailbox + packet[next : next + 20]
    return packet[at : at + length]


def _name(packet: bytes, at: int) -> tuple[bytes, int]:
    """The name at `at` written out, and where it ends. Pointers may only point back, so that none is a circle."""
    out, end, lowest = bytearray(), 0, at
    try:
        while True:
            length = packet[at]
            if length >= 0xC0:
                end = end or at + 2
                at = (length & 0x3F) << 8 | packet[at + 1]
                if at >= lowest or at < 12:
                    raise Malformed("a pointer that does not point back")
                lowest = at
                continue
            if length > 63:
                raise Malformed("a reserved label")
            out += packet[at : at + 1 + length]
            at += 1 + length
            if not length:
                break
            if len(out) > 254:
                raise Malformed("a name of more than 255 bytes")
    except IndexError:
        raise Malformed("ends within a name") from None
    return bytes(out), end or at


@attrs.define(slots=True)
class _Kept:
    reply: Reply
    since: float
    until: float


class Cache:
    """Answers of other servers, for as long as they may be kept; the one not asked for longest goes first."""

    def __init__(self, entries: int, seconds: int) -> None:
        self._entries, self._seconds = entries, seconds
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self.hits = {"success": 0, "denial": 0}
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def counts(self) -> dict[str, int]:
        denials = sum(1 for kept in self._kept.values() if not kept.reply.counts[0])
        return {"success": len(self._kept) - denials, "denial": denials}

    def find(self, query: Query) -> bytes | None:
        """A message for the client, its TTLs counted down."""
        key = key_of(query)
        kept = self._kept.get(key)
        now = trio.current_time()
        if kept is None or kept.until <= now:
            if kept is not None:
                del self._kept[key]
            self.misses += 1
            return None
        self._kept.move_to_end(key)
        self.hits["success" if kept.reply.counts[0] else "denial"] += 1
        return kept.reply.answer(query, int(now - kept.since))

    def keep(self, query: Query, reply: Reply) -> None:
        seconds = min(reply.keep, self._seconds)
        if seconds <= 0:
            return
        now = trio.current_time()
        self._kept[key_of(query)] = _Kept(reply, now, now + seconds)
        self._kept.move_to_end(key_of(query))
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)
