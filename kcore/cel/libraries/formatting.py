"""``'%s has %d'.format([...])``: the clauses s, d, f, e, b, x, X and o."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.values import bounded, format_double, plain_double, type_name, within

_CLAUSE = re.compile(r"%(?:\.(\d*))?(.?)", re.DOTALL)
MAX_PRECISION = 1000


def formatted(template: str, arguments: list[Any]) -> str:
    """The text. EvaluationError for a clause that does not fit its argument, or a wrong number of arguments."""
    bounded(arguments)
    within(_length(arguments))
    used = 0

    def clause(match: re.Match[str]) -> str:
        nonlocal used
        precision, letter = match.groups()
        if letter == "%" and precision is None:
            return "%"
        if not letter:
            raise EvaluationError("could not parse formatting clause: unexpected end of format string")
        if letter not in _CLAUSES:
            raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{letter}"')
        if used >= len(arguments):
            raise EvaluationError(f"index {used} out of range")
        value = arguments[used]
        used += 1
        digits = int((precision or "0")[:6]) if precision is not None else 6
        if digits > MAX_PRECISION:
            raise EvaluationError(f"could not parse formatting clause: precision {digits} is too large")
        try:
            return _CLAUSES[letter](value, digits)
        except _Misfit as error:
            raise EvaluationError(f"error during formatting: {error}") from None

    return _CLAUSE.sub(clause, template)


def _length(value: Any) -> int:
    """About how long the text of the arguments is."""
    if isinstance(value, list):
        return sum(map(_length, value))
    if isinstance(value, dict):
        return sum(_length(key) + _length(member) for key, member in value.items())
    return len(value) if isinstance(value, str | bytes) else 1


class _Misfit(Exception):
    """The clause is for another type."""


def text(value: Any) -> str:
    """What ``%s`` writes."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _whole(plain_double(value))
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + "]"
    if isinstance(value, dict):
        members = sorted((text(key), text(member)) for key, member in value.items())
        return "{" + ", ".join(f"{key}: {member}" for key, member in members) + "}"
    if isinstance(value, int) or type_name(value) in _PRINTED:
        return str(int(value)) if isinstance(value, int) else str(value)
    raise _Misfit(
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
        f"timestamps, was given {type_name(value)}"
    )


_PRINTED = ("google.protobuf.Timestamp", "google.protobuf.Duration", "type")


def _whole(written: str) -> str:
    return {"+Inf": "Infinity", "-Inf": "-Infinity"}.get(written, written)


def _decimal(value: Any, _: int) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return _whole(format_double(value))
    raise _Misfit(f"decimal clause can only be used on integers, was given {type_name(value)}")


def _floating(name: str, code: str) -> Callable[[Any, int], str]:
    def run(value: Any, digits: int) -> str:
        if not isinstance(value, float):
            raise _Misfit(f"{name} clause can only be used on doubles, was given {type_name(value)}")
        if value != value or value in (float("inf"), float("-inf")):
            return _whole(format_double(value))
        return format(value, f".{digits}{code}")

    return run


def _binary(value: Any, _: int) -> str:
    if isinstance(value, int):
        return format(int(value), "b")
    raise _Misfit(f"only integers and bools can be formatted as binary, was given {type_name(value)}")


def _octal(value: Any, _: int) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return format(int(value), "o")
    raise _Misfit(f"octal clause can only be used on integers, was given {type_name(value)}")


def _hexadecimal(upper: bool) -> Callable[[Any, int], str]:
    def run(value: Any, _: int) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            made = format(int(value), "x")
        elif isinstance(value, str | bytes):
            made = (value.encode() if isinstance(value, str) else value).hex()
        else:
            message = "only integers, byte buffers, and strings can be formatted as hex, was given"
            raise _Misfit(f"{message} {type_name(value)}")
        return made.upper() if upper else made

    return run


_CLAUSES: dict[str, Callable[[Any, int], str]] = {
    "s": lambda value, _: text(value),
    "d": _decimal,
    "f": _floating("fixed-point", "f"),
    "e": _floating("scientific", "e"),
    "b": _binary,
    "o": _octal,
    "x": _hexadecimal(False),
    "X": _hexadecimal(True),
}
