"""JSON seen through a type: strings that are timestamps, and lists whose order does not count.

Values stay plain JSON. A member whose type asks for it is converted when it is selected, as a whole if it is a list
or a map of such; an object is left as it is, because its own members are converted when they are selected.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.types import Type
from kcore.cel.values import (
    SECOND,
    Duration,
    Optional,
    Timestamp,
    UInt,
    equal,
    parse_duration,
    parse_timestamp,
)

Converter = Callable[[Any], Any]
Comparer = Callable[[Any, Any], bool]


def converter(type_: Type) -> Converter | None:
    """How a JSON value of the type becomes what expressions see; None if it already is."""
    if not type_.convertible:
        return None
    if type_.kind == "list":
        item = converter(type_.params[0])
        assert item is not None
        return lambda value: [item(member) for member in value] if isinstance(value, list) else value
    if type_.kind == "map":
        inner = converter(type_.params[1])
        assert inner is not None
        return lambda value: {k: inner(v) for k, v in value.items()} if isinstance(value, dict) else value
    if type_.kind == "optional":
        held = converter(type_.params[0])
        assert held is not None
        return lambda value: _held(value, held)
    return _SCALARS[type_.kind]


def _held(value: Any, convert: Converter) -> Any:
    if isinstance(value, Optional) and value.present:
        return Optional(True, convert(value.value))
    return value


def _timestamp(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_timestamp(value if len(value) != 10 else f"{value}T00:00:00Z")
    except ValueError:
        raise EvaluationError(f"invalid date-time {value}") from None


_WORDS = re.compile(r"(\d+)\s*([a-zA-Zµ]+)")
_LONG = {
    **dict.fromkeys(["ns", "nano", "nanos", "nanosecond", "nanoseconds"], 1),
    **dict.fromkeys(["us", "µs", "micro", "micros", "microsecond", "microseconds"], 1_000),
    **dict.fromkeys(["ms", "milli", "millis", "millisecond", "milliseconds"], 1_000_000),
    **dict.fromkeys(["s", "sec", "secs", "second", "seconds"], SECOND),
    **dict.fromkeys(["m", "min", "mins", "minute", "minutes"], 60 * SECOND),
    **dict.fromkeys(["h", "hr", "hrs", "hour", "hours"], 3600 * SECOND),
    **dict.fromkeys(["d", "day", "days"], 86400 * SECOND),
    **dict.fromkeys(["w", "wk", "wks", "week", "weeks"], 7 * 86400 * SECOND),
}


def _duration(value: Any) -> Any:
    """Go's notation, or the words that the OpenAPI format ``duration`` admits besides: ``3 days``."""
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except ValueError:
        pass
    parts = _WORDS.findall(value)
    if not parts or _WORDS.sub("", value).strip() or any(unit.lower() not in _LONG for _, unit in parts):
        raise EvaluationError(f"invalid duration {value}")
    return Duration(sum(int(number) * _LONG[unit.lower()] for number, unit in parts))


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise EvaluationError(f"invalid bytes {value}") from None


def _double(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _uint(value: Any) -> Any:
    return UInt(value) if type(value) is int else value


_SCALARS: dict[str, Converter] = {
    "timestamp": _timestamp,
    "duration": _duration,
    "bytes": _bytes,
    "double": _double,
    "uint": _uint,
}


# --- equality by type ----------------------------------------------------------------------------


def exact(type_: Type) -> bool:
    """Is Python's ``==`` right for two values of this type? (No dyn in it, so that true never meets 1.)"""
    if type_.kind in ("list", "map"):
        return all(param.kind in _EXACT for param in type_.params) and type_.list_type == "atomic"
    return type_.kind in _EXACT


_EXACT = frozenset(["bool", "int", "uint", "string", "bytes", "timestamp", "duration", "type", "null"])


def comparer(type_: Type) -> Comparer:
    """``==`` of two values of a type: without order in lists that are sets, by key in lists that are maps."""
    if not _special(type_, {}):
        return equal
    return _comparer(type_, {})


def _special(type_: Type, seen: dict[int, Type]) -> bool:
    """Does anything in the type compare otherwise than its JSON does?"""
    if id(type_) in seen:
        return False
    seen[id(type_)] = type_
    if type_.list_type != "atomic":
        return True
    if type_.kind == "object":
        return any(
            field.type.kind in ("timestamp", "duration", "bytes") or _special(field.type, seen)
            for field in type_.fields.values()
        )
    return any(_special(param, seen) for param in type_.params)


def _comparer(type_: Type, made: dict[int, Comparer]) -> Comparer:
    """``made``: the comparers of the types above, for types that contain themselves."""
    if id(type_) in made:
        return made[id(type_)]
    # a type that contains itself finds this while its own comparer is being made
    made[id(type_)] = lambda left, right: made[id(type_)](left, right)
    if type_.kind == "list" and type_.list_type != "atomic":
        result = _unordered(type_, _comparer(type_.params[0], made))
    elif type_.kind == "list":
        result = _ordered(_comparer(type_.params[0], made))
    elif type_.kind in ("object", "map"):
        result = _members(type_, made)
    else:
        result = equal
    made[id(type_)] = result
    return result


def _ordered(item: Comparer) -> Comparer:
    return lambda left, right: len(left) == len(right) and all(map(item, left, right))


def _members(type_: Type, made: dict[int, Comparer]) -> Comparer:
    by_key: dict[str, tuple[Comparer, Converter | None]] = {}
    other: Comparer = equal
    if type_.kind == "object":
        for field in type_.fields.values():
            by_key[field.key] = (_comparer(field.type, made), converter(field.type))
    else:
        other = _comparer(type_.params[1], made)

    def compare(left: Any, right: Any) -> bool:
        if left.keys() != right.keys():
            return False
        for key, value in left.items():
            same, convert = by_key.get(key, (other, None))
            mine, theirs = (convert(value), convert(right[key])) if convert else (value, right[key])
            if not same(mine, theirs):
                return False
        return True

    return _guarded(compare)


def _guarded(compare: Comparer) -> Comparer:
    """For values that are not of the type's shape (null): as any two values are compared."""

    def run(left: Any, right: Any) -> bool:
        if isinstance(left, dict) and isinstance(right, dict):
            return compare(left, right)
        return equal(left, right)

    return run


def list_key(type_: Type) -> Callable[[Any], Any]:
    """What makes an item of an associative list or a set the same item."""
    keys = type_.list_keys
    if type_.list_type == "map":
        return lambda item: tuple(freeze(item.get(key)) for key in keys) if isinstance(item, dict) else freeze(item)
    return freeze


def freeze(value: Any) -> Any:
    """A hashable stand-in for a value."""
    if isinstance(value, dict):
        return frozenset((key, freeze(member)) for key, member in value.items())
    if isinstance(value, list):
        return tuple(map(freeze, value))
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, Timestamp | Duration):
        return (type(value).__name__, value.ns)
    if isinstance(value, Optional):
        return ("optional", value.present, freeze(value.value))
    return value


def _unordered(type_: Type, item: Comparer) -> Comparer:
    key = list_key(type_)

    def compare(left: Any, right: Any) -> bool:
        if len(left) != len(right):
            return False
        mine = {key(member): member for member in left}
        theirs = {key(member): member for member in right}
        return mine.keys() == theirs.keys() and all(item(member, theirs[name]) for name, member in mine.items())

    return compare


def adder(type_: Type) -> Callable[[list[Any], list[Any]], list[Any]]:
    """``+`` of lists that are sets or maps: an item that is there is kept (set) or replaced in its place (map)."""
    key = list_key(type_)
    replace = type_.list_type == "map"

    def add(left: list[Any], right: list[Any]) -> list[Any]:
        merged = {key(member): member for member in left}
        for member in right:
            name = key(member)
            if replace or name not in merged:
                merged[name] = member
        return list(merged.values())

    return add
