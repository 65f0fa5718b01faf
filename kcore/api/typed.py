"""The typed decoder: what Go would make of an object, without Go.

Upstream reads a request into Go structs and writes those. On the way members that no struct has are lost, and so are
nulls and most empty values, some members appear that nobody sent (``resources: {}``), quantities and times take
their canonical form, and what has the wrong type is refused with a sentence of encoding/json. `read` does all this
in one walk of functions compiled from the shapes; only for an object that does not fit, `problem` walks again to say
why.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from kcore import clock
from kcore.api import shapes
from kcore.api.schema import Schema
from kcore.api.shapes import Member, Shape
from kcore.objects import Object, quantity

# A reader takes a value and the count of unknown members (one item), and returns what Go would write for it.
_Reader = Callable[[Any, list[int]], Any]
_INT32, _INT64 = 2**31, 2**63


class _Unfit(Exception):
    """Some value has the wrong type; `problem` finds out which."""


class Unfit(Exception):
    """The object cannot be read as its kind; the text is Go's sentence."""


def read(obj: Object, schema: Schema) -> list[str]:
    """Bring `obj`, in place, into the form in which it is stored; the paths of the members that were dropped.

    Raises Unfit. The paths are as in ``spec.containers[0].foo``.
    """
    reader, shape = _root(schema)
    unknown = [0]
    try:
        made = reader(obj, unknown)
    except (_Unfit, RecursionError):
        raise Unfit(problem(obj, schema) or "json: cannot unmarshal") from None
    paths: list[str] = []
    if unknown[0]:
        _unknown(obj, shape, "", paths)
    obj.clear()
    obj.update(made)
    return paths


def unknown(obj: Object, schema: Schema) -> list[str]:
    """The paths of the members that `read` would drop, the deepest first."""
    paths: list[str] = []
    _unknown(obj, _root(schema)[1], "", paths)
    return paths


def problem(obj: Object, schema: Schema) -> str:
    """Go's sentence for why `obj` cannot be read; "" if it can."""
    from kcore.api.typed_errors import explain

    return explain(obj, _root(schema)[1])


def empty(schema: Schema) -> Object:
    """What Go writes for a kind of which nothing is set: what is always there. Shared: do not change it."""
    made = _empty.get(schema)
    if made is None:
        shape = _root(schema)[1]
        made = _empty[schema] = shapes.zero(shape) if shape.kind == shapes.STRUCT else {}
    return made


_empty: WeakKeyDictionary[Schema, Object] = WeakKeyDictionary()
_roots: WeakKeyDictionary[Schema, tuple[_Reader, Shape]] = WeakKeyDictionary()  # custom resources come and go


def _root(schema: Schema) -> tuple[_Reader, Shape]:
    found = _roots.get(schema)
    if found is None:
        shape = shapes.root(schema)
        found = _roots[schema] = (_compile(shape), shape)
    return found


# --- readers -------------------------------------------------------------------------------------


def _compile(shape: Shape) -> _Reader:
    reader: _Reader | None = shape.reader
    if reader is None:
        made: list[_Reader] = []
        if shape.kind in (shapes.STRUCT, shapes.FREE):  # they may be recursive: callers get a way to what comes
            shape.reader = lambda value, unknown: made[0](value, unknown)
        reader = shape.reader = _MAKE[shape.kind](shape)
        made.append(reader)
    return reader


def _string(value: Any, unknown: list[int]) -> Any:
    if type(value) is str:
        return value
    if value is None:
        return ""
    raise _Unfit


def _int32(value: Any, unknown: list[int]) -> Any:
    if type(value) is int and -_INT32 <= value < _INT32:
        return value
    if value is None:
        return 0
    raise _Unfit


def _int64(value: Any, unknown: list[int]) -> Any:
    if type(value) is int and -_INT64 <= value < _INT64:
        return value
    if value is None:
        return 0
    raise _Unfit


def _float(value: Any, unknown: list[int]) -> Any:
    if type(value) is int or type(value) is float:
        return value
    if value is None:
        return 0
    raise _Unfit


def _bool(value: Any, unknown: list[int]) -> Any:
    if type(value) is bool:
        return value
    if value is None:
        return False
    raise _Unfit


def _bytes(value: Any, unknown: list[int]) -> Any:
    if value is None:
        return None
    if type(value) is not str:
        raise _Unfit
    try:
        if "\n" in value or "\r" in value:  # Go skips them
            return base64.b64encode(
                base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
            ).decode()
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise _Unfit from None
    return value


def _quantity(value: Any, unknown: list[int]) -> Any:
    if value is None:
        return "0"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _Unfit
    try:
        return canonical(value)
    except ValueError:
        raise _Unfit from None


@lru_cache(maxsize=4096)
def canonical(value: str | int | float) -> str:
    """A quantity in canonical form; beyond 63 bits it is capped, as upstream does. Raises ValueError."""
    text = value.strip() if isinstance(value, str) else str(value)
    try:
        if abs(quantity.parse(text)) < _INT64:
            return quantity.canonical(text)
    except ArithmeticError:  # an exponent beyond all bounds
        if re.search(r"[eE]-", text):
            return "0"
    return f"{'-' if text.startswith('-') else ''}{_INT64 - 1}"


def _int_or_string(value: Any, unknown: list[int]) -> Any:
    if type(value) is str or (type(value) is int and -_INT32 <= value < _INT32):
        return value
    if value is None:
        return 0
    raise _Unfit


def _time(value: Any, unknown: list[int]) -> Any:
    if value is None:
        return None
    if type(value) is not str:
        raise _Unfit
    return _canonical_time(value)


@lru_cache(maxsize=1024)
def _canonical_time(value: str) -> str:
    from kcore.api.typed_errors import time_problem

    if time_problem(value):
        raise _Unfit
    return clock.timestamp(clock.parse(value))


def _micro_time(value: Any, unknown: list[int]) -> Any:
    from kcore.api.typed_errors import time_problem

    if value is None:
        return None
    if type(value) is not str or time_problem(value, micro=True):
        raise _Unfit
    return clock.micro_timestamp(clock.parse(value))


def _any(value: Any, unknown: list[int]) -> Any:
    return value


def _make_list(shape: Shape) -> _Reader:
    assert shape.item is not None
    item = _compile(shape.item)
    if shape.item.kind == shapes.STRING:

        def read_strings(value: Any, unknown: list[int]) -> Any:
            if type(value) is list:
                for v in value:
                    if type(v) is not str:
                        return [_string(v, unknown) for v in value]
                return value
            if value is None:
                return None
            raise _Unfit

        return read_strings
    free = shape.keep_unknown

    def read_list(value: Any, unknown: list[int]) -> Any:
        if type(value) is list:
            return [item(v, unknown) for v in value]
        if value is None or free:
            return value
        raise _Unfit

    return read_list


def _make_map(shape: Shape) -> _Reader:
    assert shape.item is not None
    item = _compile(shape.item)
    if shape.item.kind == shapes.STRING:

        def read_labels(value: Any, unknown: list[int]) -> Any:
            if type(value) is dict:
                for v in value.values():
                    if type(v) is not str:
                        return {k: _string(v, unknown) for k, v in value.items()}
                return value
            if value is None:
                return None
            raise _Unfit

        return read_labels

    def read_map(value: Any, unknown: list[int]) -> Any:
        if type(value) is dict:
            return {k: item(v, unknown) for k, v in value.items()}
        if value is None:
            return None
        raise _Unfit

    return read_map


_EMPTIES = (
    shapes.LIST,
    shapes.MAP,
    shapes.BYTES,
    shapes.STRING,
    shapes.BOOL,
    shapes.INT32,
    shapes.INT64,
    shapes.FLOAT,
)


def _make_struct(shape: Shape) -> _Reader:
    name = shape.struct
    strings = {k for k, m in shape.members.items() if m.shape.kind == shapes.STRING}
    kept = {k for k, m in shape.members.items() if m.keep_empty or m.shape.kind not in _EMPTIES}
    nullable = {k for k, m in shape.members.items() if m.keep_null}
    # upstream answers with what came back from its store, and protobuf does not tell an empty list from none
    nulled = {k for k in nullable if shape.members[k].shape.kind in (shapes.LIST, shapes.MAP)}
    readers = {k: _compile(m.shape) for k, m in shape.members.items()}
    if name == "ObjectMeta":
        readers["managedFields"] = _read_managers(readers["managedFields"])
    always = [(k, _zero(m)) for k, m in shape.members.items() if m.always]
    get = readers.get

    def read_struct(value: Any, unknown: list[int]) -> Any:
        if type(value) is not dict:
            if value is None:
                value = {}
            else:
                raise _Unfit
        out: dict[str, Any] = {}
        for key, item in value.items():
            if key in strings:
                if type(item) is str:
                    if item or key in kept:
                        out[key] = item
                    continue
                if item is not None:
                    raise _Unfit
                continue
            reader = get(key)
            if reader is None:
                unknown[0] += 1
            elif item is None:
                if key in nullable:
                    out[key] = None
            else:
                made = reader(item, unknown)
                if made:
                    out[key] = made
                elif key in nulled:
                    out[key] = None
                elif key in kept:
                    out[key] = made
        for key, zero in always:
            if key not in out:
                out[key] = zero()
        return out

    return read_struct


def _read_managers(reader: _Reader) -> _Reader:
    """An empty list wipes all managers, as one empty entry does: it is read as that, or it would be left out."""
    return lambda value, unknown: reader(value, unknown) or [{}]


def _zero(member: Member) -> Callable[[], Any]:
    """A function, for a zero struct is a dict of its own each time."""
    if member.keep_null or member.shape.kind != shapes.STRUCT:
        value = shapes.zero_member(member)
        return lambda: value
    return lambda: shapes.zero_member(member)


def _make_free(shape: Shape) -> _Reader:
    readers = {k: (m.shape, _compile(m.shape)) for k, m in shape.members.items()}
    always = [(k, _zero(m)) for k, m in shape.members.items() if m.always]
    rest = _compile(shape.item) if shape.item is not None else None
    keep = shape.keep_unknown

    def read_free(value: Any, unknown: list[int]) -> Any:
        if type(value) is not dict:
            return value  # validation says what is wrong with it
        out: dict[str, Any] = {}
        for key, item in value.items():
            known = readers.get(key)
            if known is not None:
                if item is not None or known[0].kind != shapes.STRUCT:
                    out[key] = known[1](item, unknown) if item is not None else None
            elif rest is not None:
                out[key] = rest(item, unknown) if item is not None else None
            elif keep:
                out[key] = item
            else:
                unknown[0] += 1
        for key, zero in always:
            if key not in out:
                out[key] = zero()
        return out

    return read_free


_MAKE: dict[str, Callable[[Shape], _Reader]] = {
    shapes.STRING: lambda shape: _string,
    shapes.INT32: lambda shape: _int32,
    shapes.INT64: lambda shape: _int64,
    shapes.FLOAT: lambda shape: _float,
    shapes.BOOL: lambda shape: _bool,
    shapes.BYTES: lambda shape: _bytes,
    shapes.QUANTITY: lambda shape: _quantity,
    shapes.INT_OR_STRING: lambda shape: _int_or_string,
    shapes.TIME: lambda shape: _time,
    shapes.MICRO_TIME: lambda shape: _micro_time,
    shapes.ANY: lambda shape: _any,
    shapes.LIST: _make_list,
    shapes.MAP: _make_map,
    shapes.STRUCT: _make_struct,
    shapes.FREE: _make_free,
}


def _unknown(value: Any, shape: Shape, path: str, paths: list[str]) -> None:
    if shape.kind == shapes.LIST:
        if isinstance(value, list) and shape.item is not None:
            for i, item in enumerate(value):
                _unknown(item, shape.item, f"{path}[{i}]", paths)
        return
    if not isinstance(value, dict) or shape.kind not in (shapes.STRUCT, shapes.FREE, shapes.MAP):
        return
    own: list[str] = []
    for key, item in value.items():
        at = f"{path}.{key}" if path else key
        member = shape.members.get(key)
        if member is not None:
            _unknown(item, member.shape, at, paths)
        elif shape.item is not None:
            _unknown(item, shape.item, at, paths)
        elif not shape.keep_unknown:
            own.append(at)
    paths.extend(own)
