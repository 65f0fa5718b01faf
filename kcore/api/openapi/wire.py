"""The protobuf pieces that both document formats are written with (gnostic's openapi.v2 and openapi.v3 messages)."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

Json = dict[str, Any]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, data: bytes) -> bytes:
    """A member that is a message, or bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def text(number: int, value: str) -> bytes:
    return field(number, value.encode()) if value else b""


def flag(number: int, value: Any) -> bytes:
    return varint(number << 3) + b"\x01" if value else b""


def integer(number: int, value: Any) -> bytes:
    return varint(number << 3) + varint(int(value) & 0xFFFF_FFFF_FFFF_FFFF) if value else b""


def double(number: int, value: Any) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


def named(name: str, value: bytes) -> bytes:
    """A member of a map: Named*{name=1, value=2}."""
    return text(1, name) + field(2, value)


def anything(value: Any) -> bytes:
    """An Any message: here its YAML text, of which JSON is a subset."""
    return field(2, msgspec.json.encode(value))


def extensions(number: int, node: Json) -> bytes:
    return b"".join(field(number, named(k, anything(v))) for k, v in node.items() if k.startswith("x-"))


# How the rules of a schema are numbered: both formats have them in one order.
_DOUBLES, _FLAGS, _INTEGERS = ("multipleOf", "maximum", "minimum"), ("exclusiveMaximum", "exclusiveMinimum"), (
    "maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")  # fmt: skip
_ORDER = ("multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength",
          "pattern", "maxItems", "minItems", "uniqueItems", "maxProperties", "minProperties")  # fmt: skip


def rules(first: int, node: Json) -> bytes:
    """multipleOf is member `first`, and so on to minProperties."""
    out = []
    for number, name in enumerate(_ORDER, first):
        value = node.get(name)
        if value is None:
            continue
        if name in _DOUBLES:
            out.append(double(number, value))
        elif name in _INTEGERS:
            out.append(integer(number, value))
        elif name == "pattern":
            out.append(text(number, value))
        else:
            out.append(flag(number, value))
    return b"".join(out)
