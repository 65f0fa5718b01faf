"""The wire format of protocol buffers: varints, tags, length-delimited members.

Wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. Groups (3, 4) are not used and refused.
"""

from __future__ import annotations

from collections.abc import Iterator


class Malformed(Exception):
    """The bytes are no message; the text is what Go says."""


def varint(value: int) -> bytes:
    """A number, as Go writes it; negative ones as their 64-bit two's complement."""
    if 0 <= value < 0x80:
        return _ONE[value]
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_ONE = [bytes((i,)) for i in range(0x80)]
_TWO = [bytes((i & 0x7F | 0x80, i >> 7)) for i in range(0x80, 0x4000)]


def length(n: int) -> bytes:
    """The varint of a length."""
    if n < 0x80:
        return _ONE[n]
    return _TWO[n - 0x80] if n < 0x4000 else varint(n)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def read_varint(buf: bytes, pos: int) -> tuple[int, int]:
    """(value, position after it). Raises IndexError at the end of `buf`."""
    value = shift = 0
    while True:
        byte = buf[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, pos
        shift += 7
        if shift >= 64:
            raise Malformed("proto: integer overflow")


def skip(buf: bytes, pos: int, end: int, key: int) -> int:
    """The position after the value of a member that nobody knows."""
    kind = key & 7
    if key >> 3 == 0:
        raise Malformed(f"proto: illegal tag 0 (wire type {key})")
    if kind == 0:
        pos = read_varint(buf, pos)[1]
    elif kind == 1:
        pos += 8
    elif kind == 2:
        n, pos = read_varint(buf, pos)
        pos += n
    elif kind == 5:
        pos += 4
    else:
        raise Malformed(f"proto: illegal wireType {kind}")
    if pos > end:
        raise Malformed("unexpected EOF")
    return pos


def members(buf: bytes, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each length-delimited member; a varint is (number, its value, -1)."""
    while pos < end:
        key, pos = read_varint(buf, pos)
        kind = key & 7
        if kind == 2:
            n, pos = read_varint(buf, pos)
            if pos + n > end:
                raise Malformed("unexpected EOF")
            yield key >> 3, pos, pos + n
            pos += n
        elif kind == 0:
            value, pos = read_varint(buf, pos)
            yield key >> 3, value, -1
        else:
            pos = skip(buf, pos, end, key)
    if pos > end:
        raise Malformed("unexpected EOF")


def signed(value: int, bits: int) -> int:
    """A varint's value as a signed integer of so many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
