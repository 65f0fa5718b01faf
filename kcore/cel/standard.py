"""The standard functions of the CEL specification: operators, conversions, strings, and sizes.

The compiler has quicker forms of the operators for operands whose types it knows; what stands here is what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kcore.cel import regex, timestamps
from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.types import TYPE
from kcore.cel.values import (
    INT_MAX,
    INT_MIN,
    UINT_MAX,
    Duration,
    Timestamp,
    TypeValue,
    UInt,
    equal,
    format_double,
    no_overload,
    parse_duration,
    parse_timestamp,
    type_name,
)

TENTH = 10  # characters of a string that cost one


def int_result(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("integer overflow")
    return value


def uint_result(value: int) -> UInt:
    if not 0 <= value <= UINT_MAX:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)


def truncated(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def int_modulo(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("modulus by zero")
    if left == INT_MIN and right == -1:
        raise EvaluationError("integer overflow")
    return left - right * truncated(left, right)


def double_divide(left: float, right: float) -> float:
    if right == 0:
        if left == 0 or left != left:
            return math.nan
        return math.copysign(math.inf, left) * math.copysign(1.0, right)
    return left / right


def half_open(numerator: int) -> int:
    """A tenth, rounded up."""
    return -(-numerator // TENTH)


def text_cost(*arguments: Any) -> int:
    return half_open(len(arguments[0]))


def both_cost(left: Any, right: Any, _: Any) -> int:
    return half_open(len(left) + len(right))


def shorter_cost(left: Any, right: Any, _: Any) -> int:
    return half_open(min(size(left), size(right)))


def contains_cost(text: str, part: str, _: Any) -> int:
    return half_open(len(text)) * half_open(len(part))


def list_add_cost(left: Any, right: Any, _: Any) -> int:
    """Free upstream, where lists are joined lazily; here they are copied, and that must be bounded."""
    total = len(left) + len(right)
    return 1 if total < 1000 else total


def in_cost(_: Any, items: Any, __: Any) -> int:
    return len(items)


def size(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | dict) else 1


def contains(item: Any, items: list[Any]) -> bool:
    """``in``: with CEL's equality, so that true is not in [1]."""
    if isinstance(item, str):
        return item in items
    return any(equal(item, other) for other in items)


def has_key(key: Any, items: dict[Any, Any]) -> bool:
    if isinstance(key, bool | str | int):
        return key in items and (not isinstance(key, bool) or any(k is key for k in items))
    return isinstance(key, float) and key.is_integer() and int(key) in items


def index_list(items: list[Any], index: Any) -> Any:
    if type(index) is not int:
        if isinstance(index, UInt) or (isinstance(index, float) and index.is_integer()):
            index = int(index)
        else:
            raise EvaluationError(f"unsupported index type '{type_name(index)}' in list")
    if 0 <= index < len(items):
        return items[index]
    raise EvaluationError(f"index out of bounds: {index}")


def index_map(items: dict[Any, Any], key: Any) -> Any:
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    try:
        return items[key]
    except (KeyError, TypeError):
        raise EvaluationError(f"no such key: {_key(key)}") from None


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _arithmetic(library: Library) -> None:
    def add(name: str, verb: str, run: Callable[[int, int], int], double: Callable[[float, float], float]) -> None:
        library.add(name, f"{verb}_int64", "int, int -> int", lambda a, b: int_result(run(a, b)))
        library.add(name, f"{verb}_uint64", "uint, uint -> uint", lambda a, b: uint_result(run(int(a), int(b))))
        library.add(name, f"{verb}_double", "double, double -> double", double)

    add("_+_", "add", lambda a, b: a + b, lambda a, b: a + b)
    add("_-_", "subtract", lambda a, b: a - b, lambda a, b: a - b)
    add("_*_", "multiply", lambda a, b: a * b, lambda a, b: a * b)
    add("_/_", "divide", truncated, double_divide)
    library.add("_%_", "modulo_int64", "int, int -> int", int_modulo)
    library.add("_%_", "modulo_uint64", "uint, uint -> uint", lambda a, b: UInt(int_modulo(int(a), int(b))))
    library.add("-_", "negate_int64", "int -> int", lambda a: int_result(-a))
    library.add("-_", "negate_double", "double -> double", lambda a: -a)
    library.add("_+_", "add_string", "string, string -> string", lambda a, b: a + b, cost=both_cost)
    library.add("_+_", "add_bytes", "bytes, bytes -> bytes", lambda a, b: a + b, cost=both_cost)
    library.add("_+_", "add_list", "list(A), list(A) -> list(A)", lambda a, b: a + b, cost=list_add_cost)


def _spans(library: Library) -> None:
    add = library.add
    add("_+_", "add_duration_duration", "duration, duration -> duration", lambda a, b: Duration(a.ns + b.ns))
    add("_+_", "add_duration_timestamp", "duration, timestamp -> timestamp", lambda a, b: Timestamp(a.ns + b.ns))
    add("_+_", "add_timestamp_duration", "timestamp, duration -> timestamp", lambda a, b: Timestamp(a.ns + b.ns))
    add("_-_", "subtract_duration_duration", "duration, duration -> duration", lambda a, b: Duration(a.ns - b.ns))
    add("_-_", "subtract_timestamp_duration", "timestamp, duration -> timestamp", lambda a, b: Timestamp(a.ns - b.ns))
    add("_-_", "subtract_timestamp_timestamp", "timestamp, timestamp -> duration", lambda a, b: Duration(a.ns - b.ns))


_ORDERS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "_<_": ("less", lambda a, b: a < b),
    "_<=_": ("less_equals", lambda a, b: not b < a if isinstance(a, Timestamp | Duration) else a <= b),
    "_>_": ("greater", lambda a, b: b < a),
    "_>=_": ("greater_equals", lambda a, b: not a < b if isinstance(a, Timestamp | Duration) else a >= b),
}
ORDERED = ["bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration"]
_NUMERIC = ["int", "uint", "double"]


def _comparisons(library: Library) -> None:
    for name, (verb, run) in _ORDERS.items():
        for kind in ORDERED:
            cost = shorter_cost if kind in ("string", "bytes") else None
            library.add(name, f"{verb}_{kind}", f"{kind}, {kind} -> bool", run, cost=cost)
        for left in _NUMERIC:
            for right in _NUMERIC:
                if left != right:
                    library.add(name, f"{verb}_{left}_{right}", f"{left}, {right} -> bool", run)
    library.add("_==_", "equals", "A, A -> bool", equal, cost=shorter_cost)
    library.add("_!=_", "not_equals", "A, A -> bool", lambda a, b: not equal(a, b), cost=shorter_cost)


def _logic(library: Library) -> None:
    def never(*_: Any) -> Any:
        raise no_overload()

    # the compiler makes these itself: they do not evaluate all their operands
    library.add("_&&_", "logical_and", "bool, bool -> bool", never)
    library.add("_||_", "logical_or", "bool, bool -> bool", never)
    library.add("_?_:_", "conditional", "bool, A, A -> A", never)
    library.add("!_", "logical_not", "bool -> bool", lambda a: not a)


def _containers(library: Library) -> None:
    add = library.add
    add("_[_]", "index_list", "list(A), int -> A", index_list)
    add("_[_]", "index_map", "map(A, B), A -> B", index_map)
    add("@in", "in_list", "A, list(A) -> bool", contains, cost=in_cost)
    add("@in", "in_map", "A, map(A, B) -> bool", has_key)
    for kind in ("string", "bytes", "list(A)", "map(A, B)"):
        name = kind.partition("(")[0]
        add("size", f"size_{name}", f"{kind} -> int", len)
        add("size", f"{name}_size", f"{kind}.() -> int", len)


def _strings(library: Library) -> None:
    add = library.add
    add("contains", "contains_string", "string.(string) -> bool", lambda a, b: b in a, cost=contains_cost)
    add("endsWith", "ends_with_string", "string.(string) -> bool", lambda a, b: a.endswith(b), cost=text_cost)
    add("startsWith", "starts_with_string", "string.(string) -> bool", lambda a, b: a.startswith(b), cost=text_cost)
    add("matches", "matches_string", "string.(string) -> bool", regex.matches, cost=regex.cost)
    add("matches", "matches", "string, string -> bool", regex.matches, cost=regex.cost)


def unconvertible(kind: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from 'string' to '{kind}'")


def string_to_int(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 100 or not INT_MIN <= int(text) <= INT_MAX:
        raise unconvertible("int")
    return int(text)


def string_to_uint(text: str) -> UInt:
    if not (text.isascii() and text.isdigit()) or len(text) > 100 or int(text) > UINT_MAX:
        raise unconvertible("uint")
    return UInt(text)


def string_to_double(text: str) -> float:
    try:
        if "_" in text or text != text.strip():
            raise ValueError
        return float(text)
    except ValueError:
        raise unconvertible("double") from None


def double_to_int(value: float) -> int:
    # the largest double below 2^63 is 2^63 - 1024; the ends themselves are not exact
    if not float(INT_MIN) < value < float(INT_MAX):
        raise EvaluationError("integer overflow")
    return int(value)


def double_to_uint(value: float) -> UInt:
    if not 0 <= value < float(UINT_MAX):
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)


_BOOLEANS = {
    **dict.fromkeys(["1", "t", "T", "true", "TRUE", "True"], True),
    **dict.fromkeys(["0", "f", "F", "false", "FALSE", "False"], False),
}


def string_to_bool(text: str) -> bool:
    if text not in _BOOLEANS:
        raise unconvertible("bool")
    return _BOOLEANS[text]


def string_to_timestamp(text: str) -> Timestamp:
    try:
        return parse_timestamp(text)
    except ValueError:
        raise unconvertible("google.protobuf.Timestamp") from None


def string_to_duration(text: str) -> Duration:
    try:
        return parse_duration(text)
    except ValueError:
        raise unconvertible("google.protobuf.Duration") from None


def bytes_to_string(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def same(value: Any) -> Any:
    return value


def _conversions(library: Library) -> None:
    add = library.add
    for kind in ("bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint"):
        add(kind, f"{kind}_to_{kind}", f"{kind} -> {kind}", same)
    add("bool", "string_to_bool", "string -> bool", string_to_bool)
    add("bytes", "string_to_bytes", "string -> bytes", str.encode, cost=text_cost)
    add("double", "int64_to_double", "int -> double", float)
    add("double", "uint64_to_double", "uint -> double", float)
    add("double", "string_to_double", "string -> double", string_to_double)
    add("duration", "int64_to_duration", "int -> duration", Duration)
    add("duration", "string_to_duration", "string -> duration", string_to_duration)
    add("int", "uint64_to_int64", "uint -> int", lambda a: int_result(int(a)))
    add("int", "double_to_int64", "double -> int", double_to_int)
    add("int", "string_to_int64", "string -> int", string_to_int)
    add("int", "timestamp_to_int64", "timestamp -> int", lambda a: a.ns // 1_000_000_000)
    add("int", "duration_to_int64", "duration -> int", lambda a: a.ns)
    add("string", "bool_to_string", "bool -> string", lambda a: "true" if a else "false")
    add("string", "bytes_to_string", "bytes -> string", bytes_to_string, cost=text_cost)
    add("string", "double_to_string", "double -> string", format_double)
    add("string", "duration_to_string", "duration -> string", str)
    add("string", "int64_to_string", "int -> string", str)
    add("string", "timestamp_to_string", "timestamp -> string", str)
    add("string", "uint64_to_string", "uint -> string", lambda a: str(int(a)))
    add("timestamp", "int64_to_timestamp", "int -> timestamp", lambda a: Timestamp(a * 1_000_000_000))
    add("timestamp", "string_to_timestamp", "string -> timestamp", string_to_timestamp)
    add("uint", "double_to_uint64", "double -> uint", double_to_uint)
    add("uint", "int64_to_uint64", "int -> uint", uint_result)
    add("uint", "string_to_uint64", "string -> uint", string_to_uint)
    add("dyn", "to_dyn", "A -> dyn", same)
    add("type", "type", "A -> type(A)", lambda a: TypeValue(type_name(a)))


_TYPE_NAMES = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "dyn",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
]


def library() -> Library:
    made = Library("standard")
    _logic(made)
    _arithmetic(made)
    _spans(made)
    _comparisons(made)
    _containers(made)
    _strings(made)
    _conversions(made)
    timestamps.declare(made)
    made.names.update(dict.fromkeys(_TYPE_NAMES, TYPE))
    return made
