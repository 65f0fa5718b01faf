"""DNS messages as bytes (RFC 1035, 6891): only what a server of few types needs, and quickly.

A question is read in 7 us and an answer that was given before put together in 1 to 2, where general libraries take
100 to 300 us for the two. Anything odd raises `Malformed`.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

import attrs

from kcore.dns import Data, Record

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, OPT, AXFR, IXFR, ANY = (
    1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41, 252, 251, 255
)  # fmt: skip
TYPES = {A: "A", NS: "NS", CNAME: "CNAME", SOA: "SOA", PTR: "PTR", TXT: "TXT", AAAA: "AAAA", SRV: "SRV", ANY: "ANY"}
CODES = {name: code for code, name in TYPES.items()}
IN, ANY_CLASS = 1, 255

QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
OPCODE, RCODE = 0x7800, 0x000F

HEADER = struct.Struct(">HHHHHH")
FIXED = struct.Struct(">HHIH")  # type, class, ttl, length
_PAIR = struct.Struct(">HH")

PLAIN_SIZE, OWN_SIZE, LARGEST = 512, 1232, 65535
"""Bytes of a datagram without EDNS; of one with it (no fragments: DNS flag day 2020); of any message."""


class Malformed(Exception):
    """The bytes are no DNS message."""


@attrs.frozen(slots=True)
class Query:
    """A message with one question, as far as its answer depends on it."""

    id: int
    flags: int
    question: bytes  # as it came: name, type, class
    name: bytes  # in wire form, lower case
    type: int
    klass: int
    edns: bool = False
    size: int = PLAIN_SIZE  # of the largest datagram that the client takes
    version: int = 0
    do: bool = False  # it wants DNSSEC records

    @property
    def text(self) -> str:
        return text_of(self.name)


def parse(packet: bytes) -> Query:
    """Raises Malformed for what deserves no answer: too short, an answer itself, a name that is none."""
    if len(packet) < 12:
        raise Malformed("shorter than a header")
    id, flags, questions, answers, authorities, additional = HEADER.unpack_from(packet)
    if flags & QR:
        raise Malformed("an answer, not a question")
    if questions != 1:
        if questions == 0 and len(packet) == 12 and not (answers or authorities or additional):
            return Query(id, flags, b"", b"", 0, 0)  # the header alone: it is told that this is no question
        raise Malformed("not one question")
    end = 12
    try:
        while length := packet[end]:
            if length > 63:
                raise Malformed("a compressed or reserved label in a question")
            end += length + 1
        end += 1
        type, klass = _PAIR.unpack_from(packet, end)
    except (IndexError, struct.error):
        raise Malformed("ends within its question") from None
    if end - 12 > 255:
        raise Malformed("a name of more than 255 bytes")
    name, question = packet[12:end].lower(), packet[12 : end + 4]
    if not additional and not answers and not authorities:
        return Query(id, flags, question, name, type, klass)
    return _with_more(packet, Query(id, flags, question, name, type, klass), answers + authorities, additional)


def _with_more(packet: bytes, query: Query, others: int, additional: int) -> Query:
    """The OPT record of a query, if it has one."""
    at = 12 + len(query.question)
    found = False
    for number in range(others + additional):
        if number > 20:
            raise Malformed("more records than a question has")
        at_name, at = at, skip(packet, at)
        try:
            type, size, ttl, length = FIXED.unpack_from(packet, at)
        except struct.error:
            raise Malformed("ends within a record") from None
        at += 10 + length
        if at > len(packet):
            raise Malformed("ends within a record")
        if type == OPT:
            if found or packet[at_name] != 0 or number < others:
                raise Malformed("an OPT record where none may be")
            found = True
            size, version, do = max(PLAIN_SIZE, min(size, OWN_SIZE)), ttl >> 16 & 0xFF, bool(ttl & 0x8000)
            query = attrs.evolve(query, edns=True, size=size, version=version, do=do)
    return query


def skip(packet: bytes, at: int) -> int:
    """Behind the name that begins at `at`."""
    try:
        while length := packet[at]:
            if length >= 0xC0:
                return at + 2
            if length > 63:
                raise Malformed("a reserved label")
            at += length + 1
    except IndexError:
        raise Malformed("ends within a name") from None
    return at + 1


# --- names -----------------------------------------------------------------------------------------------------------


def text_of(name: bytes) -> str:
    """Labels joined by dots; a byte that is no letter of a host name, or a dot within a label, becomes \\DDD."""
    labels, at = [], 0
    while length := name[at]:
        label = name[at + 1 : at + 1 + length]
        at += length + 1
        text = label.decode("latin-1")
        if not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
            text = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else f"\\{ord(c):03d}" for c in text)
        labels.append(text)
    return ".".join(labels)


def wire_of(name: str) -> bytes:
    """Raises Malformed for a name that cannot be written (a label of more than 63 bytes, 255 in all)."""
    out = bytearray()
    for label in name.split(".") if name else ():
        raw = label.encode("latin-1", "replace")
        if "\\" in label:
            raw = _unescaped(label)
        if not 0 < len(raw) < 64:
            raise Malformed(f"a label of {len(raw)} bytes")
        out.append(len(raw))
        out += raw
    out.append(0)
    if len(out) > 255:
        raise Malformed("a name of more than 255 bytes")
    return bytes(out)


def _unescaped(label: str) -> bytes:
    out, at = bytearray(), 0
    while at < len(label):
        if label[at] == "\\" and label[at + 1 : at + 4].isdigit():
            out.append(int(label[at + 1 : at + 4]) & 0xFF)
            at += 4
        else:
            out += label[at].encode("latin-1", "replace")
            at += 1
    return bytes(out)


# --- records ---------------------------------------------------------------------------------------------------------


def encode(record: Record, owner: bytes) -> bytes:
    """`owner` is its name in wire form, or a pointer to it."""
    code = CODES[record.type]
    data = _data(record.type, record.data)
    return owner + FIXED.pack(code, IN, record.ttl, len(data)) + data


def _data(type: str, data: Data) -> bytes:
    if isinstance(data, str):
        if type in ("A", "AAAA"):
            return ipaddress.ip_address(data).packed
        if type == "TXT":
            raw = data.encode()
            return bytes((len(raw),)) + raw
        return wire_of(data)
    if len(data) == 4:
        priority, weight, port, target = data
        return struct.pack(">HHH", priority, weight, port) + wire_of(target)  # never compressed: RFC 2782
    server, mailbox, *times = data
    return wire_of(server) + wire_of(mailbox) + struct.pack(">IIIII", *(t & 0xFFFFFFFF for t in times))


def opt(query: Query, rcode: int = 0) -> bytes:
    """The OPT record of an answer, whose upper bits of `rcode` it carries; nothing for a client without EDNS."""
    if not query.edns:
        return b""
    return b"\0" + FIXED.pack(OPT, OWN_SIZE, rcode >> 4 << 24 | (0x8000 if query.do else 0), 0)


def message(
    query: Query,
    rcode: int,
    flags: int,
    answers: Iterable[bytes] = (),
    authority: Iterable[bytes] = (),
    additional: Iterable[bytes] = (),
) -> bytes:
    """A whole answer, whatever its size; `flags` may have AA and RA."""
    answers, authority, additional = list(answers), list(authority), list(additional)
    tail = opt(query, rcode)
    flags = QR | query.flags & (OPCODE | RD | CD) | flags | rcode & RCODE
    counts = len(answers), len(authority), len(additional) + bool(tail)
    head = HEADER.pack(query.id, flags, 1 if query.question else 0, *counts)
    return b"".join((head, query.question, *answers, *authority, *additional, tail))


def truncated(query: Query, answer: bytes) -> bytes:
    """What a client gets whose datagrams are too small: the header says so, and it asks again over TCP."""
    flags = HEADER.unpack_from(answer)[1]
    return message(query, flags & RCODE, flags & (AA | RA) | TC)
