"""Go's sentences for JSON that does not fit its types (encoding/json, time, apimachinery's quantities).

The first value of the wrong type is reported, unless a type with a decoder of its own (a quantity, a time) refuses
one: that ends decoding at once, and its error wins.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from kcore.api import shapes
from kcore.api.codec.json import go_kind
from kcore.api.shapes import Shape

_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


class _Stop(Exception):
    """A decoder of its own has refused a value; the text is its sentence."""


class _Walk:
    def __init__(self) -> None:
        self.first = ""  # the first value of the wrong type

    def mismatch(self, given: str, go: str, struct: str, path: tuple[str, ...]) -> None:
        self.first = self.first or _sentence(given, go, struct, path)

    def value(self, value: Any, shape: Shape, struct: str, path: tuple[str, ...]) -> None:
        if value is None:
            return
        kind = shape.kind
        if kind == shapes.STRUCT:
            if not isinstance(value, dict):
                self.mismatch(go_kind(value), shape.go, struct, path)
                return
            for key, item in value.items():
                member = shape.members.get(key)
                if member is not None:
                    self.value(item, member.shape, shape.struct, (*path, key))
        elif kind == shapes.FREE:
            if isinstance(value, dict):
                for key, item in value.items():
                    member = shape.members.get(key)
                    inner = member.shape if member is not None else shape.item
                    if inner is not None:
                        self.value(item, inner, "", (*path, key))
        elif kind in (shapes.LIST, shapes.MAP):
            self._collection(value, shape, struct, path)
        else:
            self._scalar(value, shape, struct, path)

    def _collection(self, value: Any, shape: Shape, struct: str, path: tuple[str, ...]) -> None:
        wanted = list if shape.kind == shapes.LIST else dict
        if not isinstance(value, wanted):
            if not shape.keep_unknown:
                self.mismatch(go_kind(value), shape.go, struct, path)
            return
        assert shape.item is not None
        for item in value.values() if isinstance(value, dict) else value:
            self.value(item, shape.item, struct, path)

    def _scalar(self, value: Any, shape: Shape, struct: str, path: tuple[str, ...]) -> None:
        kind = shape.kind
        given = go_kind(value)
        if kind == shapes.QUANTITY:
            why = quantity_problem(value)
            if why:
                raise _Stop(why)
        elif kind in (shapes.TIME, shapes.MICRO_TIME):
            if given != "string":
                raise _Stop(_sentence(given, "string", struct, path))
            why = time_problem(value, micro=kind == shapes.MICRO_TIME)
            if why:
                raise _Stop(why)
        elif kind == shapes.INT_OR_STRING:
            if given != "string" and not _fits(value, 31):
                raise _Stop(_sentence(_number(value), "int32", struct, path))
        elif kind in (shapes.INT32, shapes.INT64):
            if not _fits(value, 31 if kind == shapes.INT32 else 63):
                self.mismatch(_number(value), shape.go, struct, path)
        elif kind == shapes.BYTES:
            why = "" if given != "string" else base64_problem(value)
            if given != "string":
                self.mismatch(given, shape.go, struct, path)
            elif why:
                self.first = self.first or why
        elif kind != shapes.ANY and given != _WANTED[kind]:
            self.mismatch(given, shape.go, struct, path)


_WANTED = {shapes.STRING: "string", shapes.BOOL: "bool", shapes.FLOAT: "number"}


def explain(obj: Any, shape: Shape) -> str:
    """Why `obj` cannot be read into `shape`; "" if it can."""
    walk = _Walk()
    try:
        walk.value(obj, shape, "", ())
    except _Stop as stop:
        return str(stop)
    except RecursionError:
        return "exceeded max depth"
    return walk.first


def _sentence(given: str, go: str, struct: str, path: tuple[str, ...]) -> str:
    where = f"Go struct field {struct}.{'.'.join(path)}" if path else "Go value"
    return f"json: cannot unmarshal {given} into {where} of type {go}"


def _fits(value: Any, bits: int) -> bool:
    return type(value) is int and -(2**bits) <= value < 2**bits


def _number(value: Any) -> str:
    given = go_kind(value)
    return f"number {value}" if given == "number" else given


def quantity_problem(value: Any) -> str:
    """Why a value is no quantity (api/resource, ParseQuantity); "" if it is one."""
    text = value.strip() if isinstance(value, str) else "{}" if isinstance(value, (dict, list, bool)) else str(value)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    if not _NUMBER.fullmatch(match[1]):
        return "unable to parse numeric part of quantity"
    if not re.fullmatch(r"|[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+", match[2]):
        return "unable to parse quantity's suffix"
    return ""


def base64_problem(text: str) -> str:
    """Why a text is no standard base64, with the position of the first bad character; "" if it is."""
    bare = text.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(bare, validate=True)
        return "" if len(bare) % 4 == 0 else f"illegal base64 data at input byte {len(text) - len(bare) % 4}"
    except ValueError:
        bad = re.search(r"[^A-Za-z0-9+/\r\n]", text)
        at = bad.start() if bad else len(text) - len(bare) % 4
        return f"illegal base64 data at input byte {at}"


# --- time ----------------------------------------------------------------------------------------

_PARTS = [
    (r"\d{4}", "2006"),
    (r"-", "-"),
    (r"\d\d", "01"),
    (r"-", "-"),
    (r"\d\d", "02"),
    (r"T", "T"),
    (r"\d\d", "15"),
    (r":", ":"),
    (r"\d\d", "04"),
    (r":", ":"),
    (r"\d\d", "05"),
]
_RANGES = {"01": (1, 12, "month"), "02": (1, 31, "day"), "15": (0, 23, "hour"), "04": (0, 59, "minute")}
_SHORT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def time_problem(text: str, *, micro: bool = False) -> str:
    """Why a text is no RFC 3339 time, in the words of Go's time.Parse; "" if it is one.

    With `micro`, as MicroTime is read: exactly six fraction digits.
    """
    layout = _MICRO_LAYOUT if micro else _LAYOUT
    head = f'parsing time "{text}"'
    at = 0
    values: dict[str, int] = {}
    for pattern, name in _PARTS:
        match = re.compile(pattern).match(text, at)
        if match is None:
            return f'{head} as "{layout}": cannot parse "{text[at:]}" as "{name}"'
        at = match.end()
        if name.isdigit():
            values[name] = int(match[0])
        low, high, what = _RANGES.get(name, (0, 59, "second"))
        if (name in _RANGES or name == "05") and not low <= values[name] <= high:
            return f"{head}: {what} out of range"
    if micro:
        match = re.compile(r"\.\d{6}").match(text, at)
        if match is None:
            return f'{head} as "{layout}": cannot parse "{text[at:]}" as ".000000"'
    else:
        match = re.compile(r"([.,]\d+)?").match(text, at)
    at = match.end() if match else at
    zone = re.compile(r"Z|[+-]\d\d:\d\d").match(text, at)
    if zone is None:
        return f'{head} as "{layout}": cannot parse "{text[at:]}" as "Z07:00"'
    if zone.end() != len(text):
        return f'{head}: extra text: "{text[zone.end() :]}"'
    if values["02"] > _days(values["2006"], values["01"]):
        return f"{head}: day out of range"
    return ""


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
