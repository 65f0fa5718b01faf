"""What values are at run time, and when two are equal.

bool, int, double, string, bytes, null, list and map are Python's own (JSON needs no conversion); an unsigned number
is a `UInt`, moments and spans are counted in nanoseconds, as Go does.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from typing import Any

from kcore.cel.errors import BudgetExceeded, EvaluationError

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
UINT_MAX = (1 << 64) - 1
SECOND = 1_000_000_000
MIN_SECONDS, MAX_SECONDS = -62135596800, 253402300799  # the years 1 to 9999


class UInt(int):
    """An unsigned 64-bit number."""

    __slots__ = ()


class Timestamp:
    """A moment: nanoseconds since 1970."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not MIN_SECONDS * SECOND <= ns < (MAX_SECONDS + 1) * SECOND:
            raise EvaluationError("timestamp overflow")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return type(other) is Timestamp and other.ns == self.ns

    def __hash__(self) -> int:
        return hash(self.ns)

    def __lt__(self, other: Timestamp) -> bool:
        return self.ns < other.ns

    def moment(self) -> datetime.datetime:
        return _EPOCH + datetime.timedelta(seconds=self.ns // SECOND)

    def __str__(self) -> str:
        moment = self.moment()
        text = f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}"
        if fraction := self.ns % SECOND:
            text += "." + f"{fraction:09d}".rstrip("0")
        return text + "Z"

    __repr__ = __str__


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Duration:
    """A span: nanoseconds."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not INT_MIN <= ns <= INT_MAX:
            raise EvaluationError("duration overflow")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return type(other) is Duration and other.ns == self.ns

    def __hash__(self) -> int:
        return hash(self.ns)

    def __lt__(self, other: Duration) -> bool:
        return self.ns < other.ns

    def __str__(self) -> str:
        whole, fraction = divmod(abs(self.ns), SECOND)
        text = ("-" if self.ns < 0 else "") + str(whole)
        if fraction:
            text += "." + f"{fraction:09d}".rstrip("0")
        return text + "s"

    __repr__ = __str__


class Optional:
    """``optional.of(value)`` or `NONE`."""

    __slots__ = ("present", "value")

    def __init__(self, present: bool, value: Any = None) -> None:
        self.present = present
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional) or other.present != self.present:
            return False
        return not self.present or equal(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"optional.of({self.value!r})" if self.present else "optional.none()"


NONE = Optional(False)


class TypeValue:
    """What ``type(x)`` gives, and what names such as ``int`` stand for."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name


class Opaque:
    """Base of the values that only a library's functions look into. ``type_name`` is what ``type()`` says."""

    __slots__ = ()
    type_name = ""


class Instance(dict[str, Any]):
    """A constructed object: ``Object.spec{...}``, a dict of its members that knows the name of its type."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str, members: dict[str, Any]) -> None:
        super().__init__(members)
        self.type_name = type_name


_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null_type",
    list: "list",
    tuple: "list",
    dict: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    Optional: "optional_type",
    TypeValue: "type",
}


def type_name(value: Any) -> str:
    name = _NAMES.get(type(value))
    if name is None:
        name = getattr(value, "type_name", None) or ("map" if isinstance(value, dict) else "list")
    return name


def equal(left: Any, right: Any) -> bool:
    """CEL's ``==`` between any two values: numbers across their types, never an error, true and 1 are different."""
    if left is right:
        return not (isinstance(left, float) and left != left)
    kind = type(left)
    if kind is type(right) and kind in _PLAIN:
        return bool(left == right)
    if isinstance(left, list | dict) and isinstance(right, list | dict):
        bounded(left)
        bounded(right)
    if left != right:
        return False
    return _alike(left, right)


MAX_PARTS = 1_000_000  # of a value that is looked at as a whole
MAX_LENGTH = 64 << 20  # characters of a text


def bounded(value: Any) -> None:
    """BudgetExceeded for a value whose parts are too many to walk.

    A few macros make a list whose every item is the same list twice, and so on: small in memory, and without end for
    whoever compares or prints it. Parts that are shared are counted once each time they are met, but walked once.
    """
    if _parts(value, {}) > MAX_PARTS:
        raise BudgetExceeded


def _parts(value: Any, known: dict[int, int]) -> int:
    if isinstance(value, dict):
        members: Any = value.values()
    elif isinstance(value, list):
        members = value
    else:
        return 1
    count = known.get(id(value))
    if count is None:
        count = 1
        for member in members:
            count += _parts(member, known) if isinstance(member, list | dict) else 1
        known[id(value)] = count
    return count


def within(length: int) -> None:
    """BudgetExceeded for a text that would be too long to be made."""
    if length > MAX_LENGTH:
        raise BudgetExceeded


_PLAIN = frozenset([str, int, bool, float, bytes, UInt, Timestamp, Duration, TypeValue])


def _alike(left: Any, right: Any) -> bool:
    """Of two values that Python calls equal: is no bool compared with a number anywhere in them?"""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list):
        return all(map(_alike, left, right))
    if isinstance(left, dict):
        return all(_alike(value, right[key]) for key, value in left.items())
    return True


def no_overload() -> EvaluationError:
    return EvaluationError("no such overload")


# --- reading and writing text --------------------------------------------------------------------

_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:[.,](\d+))?(?:([Zz])|([+-])(\d{2}):(\d{2}))", re.ASCII
)


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339. ValueError if it is not."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    ns = int((moment - _EPOCH).total_seconds()) * SECOND
    if match[7]:
        ns += int(match[7][:9].ljust(9, "0"))
    if match[9]:
        if int(match[10]) > 23 or int(match[11]) > 59:
            raise ValueError(text)
        offset = (int(match[10]) * 3600 + int(match[11]) * 60) * SECOND
        ns += -offset if match[9] == "+" else offset
    return Timestamp(ns)


_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def parse_duration(text: str) -> Duration:
    """Go's notation: ``1h30m``, ``-1.5s``, ``0``. ValueError if it is not."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return Duration(0)
    total, pos = 0, 0
    while pos < len(body):
        match = _PART.match(body, pos)
        if match is None or not (match[1] or match[2]):
            raise ValueError(text)
        unit = _UNITS[match[3]]
        total += int((match[1] or "0")[:25]) * unit
        if match[2]:
            total += int(match[2][:18].ljust(18, "0")) * unit // 10**18
        pos = match.end()
    if not body or total > INT_MAX:
        raise ValueError(text)
    return Duration(-total if text[0] == "-" else total)


def format_double(value: float) -> str:
    """How ``string(double)`` writes it (%g): the shortest digits that read back, an exponent from a million on."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) - 1 + int(exponent)
    mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def plain_double(value: float) -> str:
    """The shortest digits that read back, without an exponent."""
    text = format_double(value)
    return text if text[-1] in "Nf" else f"{Decimal(repr(value)):f}".removesuffix(".0")
