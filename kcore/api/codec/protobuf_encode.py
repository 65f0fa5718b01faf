"""From the JSON form to protobuf messages: one function a message, compiled when first used."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any

from kcore.api.codec import fields as table
from kcore.api.codec import json
from kcore.api.codec.fields import Field
from kcore.api.codec.wire import length, tag, varint

_Write = Callable[[Any], bytes]  # a value's bytes, without tag and length
_Emit = Callable[[Any, bytearray], None]  # appends a member that is there
_encoders: dict[str, _Write] = {}
_ZERO = b"\x00"


def encoder(message: str) -> _Write:
    """The function that encodes a message from its JSON form; None and missing members are zero values."""
    done = _encoders.get(message)
    if done is None:
        done = _SPECIAL.get(message) or (_strings if message.endswith((".ExtraValue", "v1.Verbs")) else None)
    if done is None:
        made: list[_Write] = []
        _encoders[message] = lambda value: made[0](value)  # messages may be recursive
        made.append(_compile(message))
        done = made[0]
    _encoders[message] = done
    return done


def _compile(message: str) -> _Write:
    """Fields in the order of their numbers; what is written for a missing one is made when first needed."""
    fields = sorted(table.message(message) or (), key=lambda f: f.number)
    emitters = [(None if f.inline else f.name, _emitter(f)) for f in fields]
    entries: list[tuple[str | None, _Emit, bytes]] = []

    def write(value: Any) -> bytes:
        if not entries:
            entries.extend((name, emit, _zero(f)) for (name, emit), f in zip(emitters, fields, strict=True))
        out = bytearray()
        obj = value or {}
        get = obj.get
        for name, emit, zero in entries:
            member = get(name) if name is not None else obj
            if member is None:
                out += zero
            else:
                emit(member, out)
        return bytes(out)

    return write


def _zero(field: Field) -> bytes:
    """What stands on the wire for a field that is not set."""
    if field.pointer or field.repeated or field.map or field.inline or field.type == "bytes":
        return b""
    kind, write = _SCALARS.get(field.type) or (2, encoder(field.type))
    body = write(None)
    return tag(field.number, kind) + (length(len(body)) if kind == 2 else b"") + body


def _emitter(field: Field) -> _Emit:
    if field.map:
        return _emit_map(tag(field.number, 2), field.type)
    kind, write = _SCALARS.get(field.type) or (2, encoder(field.type))
    key = tag(field.number, kind)
    if field.repeated:
        return _emit_repeated(key, kind, write)
    if kind != 2:
        return _emit_number(key, write)
    return _emit_string(key) if field.type == "string" else _emit_message(key, write)


def _emit_number(key: bytes, write: _Write) -> _Emit:
    def emit(value: Any, out: bytearray) -> None:
        out += key
        out += write(value)

    return emit


def _emit_string(key: bytes) -> _Emit:
    def emit(value: Any, out: bytearray) -> None:
        text = value.encode()
        out += key
        out += length(len(text))
        out += text

    return emit


def _emit_message(key: bytes, write: _Write) -> _Emit:
    def emit(value: Any, out: bytearray) -> None:
        body = write(value)
        out += key
        out += length(len(body))
        out += body

    return emit


def _emit_repeated(key: bytes, kind: int, write: _Write) -> _Emit:
    def emit(values: Any, out: bytearray) -> None:
        for value in values:
            body = write(value)
            out += key
            if kind == 2:
                out += length(len(body))
            out += body

    return emit


def _emit_map(key: bytes, value_type: str) -> _Emit:
    kind, write = _SCALARS.get(value_type) or (2, encoder(value_type))
    value_key = tag(2, kind)

    def emit(members: Any, out: bytearray) -> None:
        for member in sorted(members):
            text = member.encode()
            body = write(members[member])
            sized = length(len(body)) if kind == 2 else b""
            entry = b"".join((b"\x0a", length(len(text)), text, value_key, sized, body))
            out += key
            out += length(len(entry))
            out += entry

    return emit


def _string(value: Any) -> bytes:
    return str(value or "").encode()


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value) if value else b""


def _bool(value: Any) -> bytes:
    return b"\x01" if value else _ZERO


def _int(value: Any) -> bytes:
    return varint(value or 0)


def _double(value: Any) -> bytes:
    return struct.pack("<d", value or 0)


_SCALARS: dict[str, tuple[int, _Write]] = {
    "string": (2, _string),
    "bytes": (2, _bytes),
    "int32": (0, _int),
    "int64": (0, _int),
    "bool": (0, _bool),
    "double": (1, _double),
}


# --- messages with a JSON form of their own ------------------------------------------------------


def _time(value: Any) -> bytes:
    """Seconds and nanoseconds since the epoch; nothing for no time."""
    if not value:
        return b""
    when = datetime.fromisoformat(value)
    seconds = int(when.replace(microsecond=0).timestamp())
    return b"\x08" + varint(seconds) + b"\x10" + varint(when.microsecond * 1000)


def _quantity(value: Any) -> bytes:
    text = str("0" if value is None else value).encode()
    return b"\x0a" + length(len(text)) + text


def _int_or_string(value: Any) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return b"\x08\x01\x10\x00\x1a" + length(len(text)) + text
    return b"\x08\x00\x10" + varint(value or 0) + b"\x1a\x00"


def _raw(value: Any) -> bytes:
    if value is None:
        return b""
    text = json.encode(value)
    return b"\x0a" + length(len(text)) + text


_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def _duration(value: Any) -> bytes:
    text = value or "0s"
    nanos = round(sum(float(n) * _UNITS[unit] for n, unit in _DURATION.findall(text)))
    return b"\x08" + varint(-nanos if text.startswith("-") else nanos)


def _strings(value: Any) -> bytes:
    return b"".join(b"\x0a" + length(len(v.encode())) + v.encode() for v in value or ())


_PROPS = table.EXTENSIONS + "JSONSchemaProps"


def _props(key: bytes, value: Any) -> bytes:
    body = encoder(_PROPS)(value)
    return key + length(len(body)) + body


def _or_array(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(_props(b"\x12", v) for v in value)
    return _props(b"\x0a", value) if value is not None else b""


def _or_strings(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(b"\x12" + length(len(v.encode())) + v.encode() for v in value)
    return _props(b"\x0a", value) if value is not None else b""


def _or_bool(value: Any) -> bytes:
    """A schema stands for true."""
    if isinstance(value, dict):
        return b"\x08\x01" + _props(b"\x12", value)
    return b"\x08" + _bool(value)


_SPECIAL: dict[str, _Write] = {
    table.TIME: _time,
    table.MICRO_TIME: _time,
    table.QUANTITY: _quantity,
    table.QUANTITY_VALUE: _quantity,
    table.INT_OR_STRING: _int_or_string,
    table.RAW_EXTENSION: _raw,
    table.FIELDS: _raw,
    table.DURATION: _duration,
    table.EXTENSIONS + "JSON": _raw,
    table.EXTENSIONS + "JSONSchemaPropsOrArray": _or_array,
    table.EXTENSIONS + "JSONSchemaPropsOrStringArray": _or_strings,
    table.EXTENSIONS + "JSONSchemaPropsOrBool": _or_bool,
}
