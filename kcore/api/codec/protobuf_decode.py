"""From protobuf messages to the JSON form: one function a message, compiled when first used."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kcore import clock
from kcore.api import shapes
from kcore.api.codec import fields as table
from kcore.api.codec import wire
from kcore.api.codec.fields import Field
from kcore.api.codec.wire import Malformed, read_varint
from kcore.api.shapes import Member

# A value of wire type 2: from the buffer and its bounds. A varint: from its value.
_Read = Callable[[bytes, int, int], Any]

_SINGLE, _REPEATED, _MAP, _INLINE = range(4)
_Entry = tuple[str, int, Callable[..., Any], int, bool]  # JSON name, wire type, reader, mode, keep when empty
_decoders: dict[str, _Read] = {}


def decoder(message: str) -> _Read:
    """The function that decodes a message: ``(buf, start, end) -> value``. Raises Malformed or IndexError."""
    done = _decoders.get(message)
    if done is None:
        done = _SPECIAL.get(message) or _special_list(message)
    if done is None:
        made: list[_Read] = []
        _decoders[message] = lambda buf, pos, end: made[0](buf, pos, end)  # messages may be recursive
        made.append(_compile(message))
        done = made[0]
    _decoders[message] = done
    return done


def _compile(message: str) -> _Read:
    members = table.message(message) or ()
    shape = shapes.struct(message)
    assert shape is not None  # there is one for each message
    entries: dict[int, _Entry] = {}
    for field in members:
        _enter(entries, field, shape.members.get(field.name))
    always = [(k, m) for k, m in shape.members.items() if m.always]
    is_list = message.endswith("List") and "items" in shape.members
    return _reader(entries.get, always, is_list)


def _enter(entries: dict[int, _Entry], field: Field, member: Member | None) -> None:
    keep = member is None or member.keep_empty
    if field.inline:
        entries[field.number << 3 | 2] = ("", 2, decoder(field.type), _INLINE, True)
        return
    if field.map:
        entries[field.number << 3 | 2] = (field.name, 2, _map_entry(field.type), _MAP, keep)
        return
    scalar = _SCALARS.get(field.type)
    mode = _REPEATED if field.repeated else _SINGLE
    if scalar is None:
        entries[field.number << 3 | 2] = (field.name, 2, decoder(field.type), mode, keep)
        return
    kind, read = scalar
    entries[field.number << 3 | kind] = (field.name, kind, read, mode, keep)
    if field.repeated and kind == 0:
        entries[field.number << 3 | 2] = (field.name, 2, _packed(read), _INLINE, keep)


def _reader(get: Callable[[int], _Entry | None], always: list[tuple[str, Member]], is_list: bool) -> _Read:
    def read(buf: bytes, pos: int, end: int) -> Any:
        out: dict[str, Any] = {}
        while pos < end:
            key = buf[pos]
            pos += 1
            if key >= 0x80:
                key, pos = read_varint(buf, pos - 1)
            entry = get(key)
            if entry is None:
                pos = wire.skip(buf, pos, end, key)
                continue
            name, kind, convert, mode, keep = entry
            if kind == 2:
                n = buf[pos]
                pos += 1
                if n >= 0x80:
                    n, pos = read_varint(buf, pos - 1)
                stop = pos + n
                if stop > end:
                    raise Malformed("unexpected EOF")
                value: Any = str(buf[pos:stop], "utf-8", "replace") if convert is _string else convert(buf, pos, stop)
                pos = stop
            elif kind == 0:
                value = buf[pos]
                pos += 1
                if value >= 0x80:
                    value, pos = read_varint(buf, pos - 1)
                value = convert(value)
            else:
                if pos + 8 > end:
                    raise Malformed("unexpected EOF")
                value = convert(buf, pos)
                pos += 8
            if mode == _SINGLE:
                if value or keep:
                    out[name] = value
            elif mode == _REPEATED:
                out.setdefault(name, []).append(value)
            elif mode == _MAP:
                out.setdefault(name, {})[value[0]] = value[1]
            elif name:
                out.setdefault(name, []).extend(value)
            else:
                out.update(value)
        if pos > end:
            raise Malformed("unexpected EOF")
        for name, member in always:
            if name not in out:
                out[name] = shapes.zero_member(member)
        if is_list and out.get("items") is None:
            out["items"] = []
        return out

    return read


def _string(buf: bytes, pos: int, end: int) -> str:
    return str(buf[pos:end], "utf-8", "replace")


def _bytes(buf: bytes, pos: int, end: int) -> str:
    return binascii.b2a_base64(buf[pos:end], newline=False).decode()


def _int32(value: int) -> int:
    return value if value < 0x8000_0000 else wire.signed(value, 32)


def _int64(value: int) -> int:
    return value if value < 0x8000_0000_0000_0000 else wire.signed(value, 64)


def _double(buf: bytes, pos: int) -> float:
    value: float = struct.unpack_from("<d", buf, pos)[0]
    if value != value or value in (float("inf"), float("-inf")):
        raise Malformed(f"json: unsupported value: {value}")
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


_SCALARS: dict[str, tuple[int, Callable[..., Any]]] = {
    "string": (2, _string),
    "bytes": (2, _bytes),
    "int32": (0, _int32),
    "int64": (0, _int64),
    "bool": (0, bool),
    "double": (1, _double),
}


def _packed(convert: Callable[[int], Any]) -> _Read:
    def read(buf: bytes, pos: int, end: int) -> list[Any]:
        out = []
        while pos < end:
            value, pos = read_varint(buf, pos)
            out.append(convert(value))
        if pos > end:
            raise Malformed("unexpected EOF")
        return out

    return read


def _map_entry(value_type: str) -> _Read:
    """(key, value) of a map's entry; what is missing of it is zero."""
    scalar = _SCALARS.get(value_type)
    kind, convert = scalar if scalar is not None else (2, decoder(value_type))
    from_number: Any = convert
    read_value: _Read = convert if kind == 2 else lambda buf, at, stop: from_number(at)
    empty: dict[str, Any] = {"string": "", "bytes": None, "bool": False}

    def read(buf: bytes, pos: int, end: int) -> tuple[str, Any]:
        key, value, found = "", None, False
        for number, at, stop in wire.members(buf, pos, end):
            if number == 1:
                key = _string(buf, at, stop)
            elif number == 2:
                value, found = read_value(buf, at, stop), True
        if not found:
            value = empty.get(value_type, 0) if scalar is not None else read_value(b"", 0, 0)
        return key, value

    return read


# --- messages with a JSON form of their own ------------------------------------------------------


def _parts(buf: bytes, pos: int, end: int) -> dict[int, tuple[int, int]]:
    return {number: (at, stop) for number, at, stop in wire.members(buf, pos, end)}


def _small(read: Callable[[bytes], Any]) -> _Read:
    """For messages of a few bytes, of which the same ones come again and again."""
    cached = lru_cache(maxsize=4096)(read)
    return lambda buf, pos, end: cached(buf[pos:end]) if end - pos < 40 else read(buf[pos:end])


def _time(buf: bytes) -> str | None:
    if not buf:
        return None
    parts = _parts(buf, 0, len(buf))
    return _stamp(wire.signed(parts[1][0] if 1 in parts else 0, 64), None)


def _micro_time(buf: bytes) -> str | None:
    if not buf:
        return None
    parts = _parts(buf, 0, len(buf))
    nanos = wire.signed(parts[2][0] if 2 in parts else 0, 32)
    return _stamp(wire.signed(parts[1][0] if 1 in parts else 0, 64), nanos // 1000)


def _stamp(seconds: int, micros: int | None) -> str:
    try:
        text = clock.timestamp(seconds)
    except (ValueError, OverflowError, OSError):
        raise Malformed("Time.MarshalJSON: year outside of range [0,9999]") from None
    return text if micros is None else f"{text[:-1]}.{micros:06d}Z"


def _quantity(buf: bytes) -> str:
    parts = _parts(buf, 0, len(buf))
    if 1 not in parts:
        return "0"
    from kcore.api.typed import canonical
    from kcore.api.typed_errors import quantity_problem

    text = _string(buf, *parts[1])
    why = quantity_problem(text)
    if why:
        raise Malformed(why)
    return canonical(text)


def _int_or_string(buf: bytes) -> int | str:
    parts = _parts(buf, 0, len(buf))
    if parts.get(1, (0, 0))[0] == 1:
        return _string(buf, *parts[3]) if 3 in parts else ""
    return _int32(parts[2][0]) if 2 in parts else 0


def _raw(buf: bytes, pos: int, end: int) -> Any:
    """JSON text, or an object in an envelope of its own."""
    parts = _parts(buf, pos, end)
    raw = buf[slice(*parts[1])] if 1 in parts else b""
    if not raw:
        return None
    if raw[:4] == b"k8s\0":
        from kcore.api.codec import protobuf

        return protobuf.decode(raw)
    from kcore.api.codec import json

    try:
        return json.loads(raw)
    except ValueError as e:
        raise Malformed(str(e)) from None


def _duration(buf: bytes, pos: int, end: int) -> str:
    parts = _parts(buf, pos, end)
    return go_duration(wire.signed(parts[1][0] if 1 in parts else 0, 64))


def go_duration(nanos: int) -> str:
    """Nanoseconds as Go prints a duration: ``1h2m3.5s``, ``1.5ms``, ``0s``."""
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    if nanos < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000)):
            if nanos >= size:
                return f"{sign}{_decimal(nanos, size)}{unit}"
        return f"{sign}{nanos}ns" if nanos else "0s"
    minutes, rest = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = str(part).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _strings(buf: bytes, pos: int, end: int) -> list[str]:
    return [_string(buf, at, stop) for number, at, stop in wire.members(buf, pos, end) if number == 1]


_PROPS = table.EXTENSIONS + "JSONSchemaProps"


def _or_array(buf: bytes, pos: int, end: int) -> Any:
    members = list(wire.members(buf, pos, end))
    many = [decoder(_PROPS)(buf, a, b) for number, a, b in members if number == 2]
    return many or _schema(buf, members)


def _schema(buf: bytes, members: list[tuple[int, int, int]]) -> Any:
    return next((decoder(_PROPS)(buf, a, b) for number, a, b in members if number == 1), None)


def _or_strings(buf: bytes, pos: int, end: int) -> Any:
    members = list(wire.members(buf, pos, end))
    many = [_string(buf, a, b) for number, a, b in members if number == 2]
    return many or _schema(buf, members)


def _or_bool(buf: bytes, pos: int, end: int) -> Any:
    parts = _parts(buf, pos, end)
    return decoder(_PROPS)(buf, *parts[2]) if 2 in parts else bool(parts.get(1, (0, 0))[0])


_SPECIAL: dict[str, _Read] = {
    table.TIME: _small(_time),
    table.MICRO_TIME: _small(_micro_time),
    table.QUANTITY: _small(_quantity),
    table.QUANTITY_VALUE: _small(_quantity),
    table.INT_OR_STRING: _small(_int_or_string),
    table.RAW_EXTENSION: _raw,
    table.FIELDS: _raw,
    table.DURATION: _duration,
    table.EXTENSIONS + "JSON": _raw,
    table.EXTENSIONS + "JSONSchemaPropsOrArray": _or_array,
    table.EXTENSIONS + "JSONSchemaPropsOrStringArray": _or_strings,
    table.EXTENSIONS + "JSONSchemaPropsOrBool": _or_bool,
}


def _special_list(message: str) -> _Read | None:
    return _strings if message.endswith((".ExtraValue", "v1.Verbs")) else None
