"""Compiled access to members: ``object.spec.replicas``, ``has(...)``, ``a[b]``, and their optional forms."""

from __future__ import annotations

from typing import Any

from kcore.cel.code import Code, Frame, Run
from kcore.cel.convert import Converter, converter
from kcore.cel.errors import EvaluationError
from kcore.cel.standard import index_list, index_map
from kcore.cel.types import Type
from kcore.cel.values import NONE, Optional, no_overload, type_name


def select_value(value: Any, key: str, name: str) -> Any:
    """``value.name`` of a value whose type was not known; ``key`` is the member's name in JSON."""
    if isinstance(value, dict):
        try:
            return value[key]
        except KeyError:
            raise EvaluationError(f"no such key: {name}") from None
    if isinstance(value, Optional):
        return select_optional(value, key, name)
    if isinstance(value, list):
        raise EvaluationError("unsupported index type 'string' in list")
    raise no_overload()


def select_optional(value: Any, key: str, name: str) -> Optional:
    """``value.?name``, or ``.name`` of an optional."""
    if isinstance(value, Optional):
        if not value.present:
            return value
        value = value.value
    if isinstance(value, dict):
        try:
            return Optional(True, value[key])
        except KeyError:
            return NONE
    if value is None:
        return NONE
    raise no_overload()


def test_value(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return key in value
    if isinstance(value, Optional):
        return value.present and test_value(value.value, key)
    raise no_overload()


def path(base: Code, slot: int | None, keys: list[tuple[str, str]], type_: Type) -> Code:
    """``base.a.b``: ``keys`` are (name in JSON, name as written). ``slot``: the base is this variable."""
    run = _variable_path(slot, keys) if slot is not None else _general_path(base.run, keys)
    return Code(converted(run, converter(type_)), base.cost + len(keys))


def _variable_path(slot: int, keys: list[tuple[str, str]]) -> Run:
    """One, two and three members are written out: they are nearly all there is, and this is hot."""
    if len(keys) == 1:
        key, name = keys[0]

        def one(v: Frame) -> Any:
            try:
                return v[slot][key]
            except (KeyError, TypeError):
                return select_value(v[slot], key, name)

        return one
    if len(keys) == 2:
        (first, _), (second, _) = keys

        def two(v: Frame) -> Any:
            try:
                return v[slot][first][second]
            except (KeyError, TypeError):
                return _walk(v[slot], keys)

        return two
    if len(keys) == 3:
        (first, _), (second, _), (third, _) = keys

        def three(v: Frame) -> Any:
            try:
                return v[slot][first][second][third]
            except (KeyError, TypeError):
                return _walk(v[slot], keys)

        return three
    return lambda v: _walk(v[slot], keys)


def _walk(value: Any, keys: list[tuple[str, str]]) -> Any:
    for key, name in keys:
        value = select_value(value, key, name)
    return value


def _general_path(base: Run, keys: list[tuple[str, str]]) -> Run:
    if len(keys) == 1:
        key, name = keys[0]
        return lambda v: select_value(base(v), key, name)
    return lambda v: _walk(base(v), keys)


def converted(run: Run, convert: Converter | None) -> Run:
    if convert is None:
        return run
    change = convert
    return lambda v: change(run(v))


def presence(operand: Code, key: str) -> Code:
    """``has(operand.key)``: as upstream counts in Kubernetes, the test itself is free."""
    base = operand.run

    def run(v: Frame) -> bool:
        value = base(v)
        return key in value if type(value) is dict else test_value(value, key)

    return Code(run, operand.cost)


def optional_select(operand: Code, key: str, name: str, type_: Type) -> Code:
    """``operand.?name``."""
    base = operand.run
    inner = type_.params[0] if type_.kind == "optional" else type_
    convert = converter(inner)

    def run(v: Frame) -> Optional:
        found = select_optional(base(v), key, name)
        if convert is not None and found.present:
            return Optional(True, convert(found.value))
        return found

    return Code(run, operand.cost + 1)


def index(container: Code, key: Code, type_: Type) -> Code:
    """``container[key]``."""
    items, at = container.run, key.run
    cost = container.cost + key.cost + 1
    if type_.kind == "list":

        def list_item(v: Frame) -> Any:
            return index_list(items(v), at(v))

        return Code(list_item, cost)
    if type_.kind == "map":

        def map_value(v: Frame) -> Any:
            return index_map(items(v), at(v))

        return Code(map_value, cost)

    def any_item(v: Frame) -> Any:
        return index_any(items(v), at(v))

    return Code(any_item, cost)


def optional_index(container: Code, key: Code) -> Code:
    """``container[?key]``."""
    items, at = container.run, key.run
    return Code(lambda v: index_optional(items(v), at(v)), container.cost + key.cost + 1)


def index_any(items: Any, key: Any) -> Any:
    if isinstance(items, list):
        return index_list(items, key)
    if isinstance(items, dict):
        return index_map(items, key)
    if isinstance(items, Optional):
        return index_optional(items, key)
    raise no_overload()


def index_optional(items: Any, key: Any) -> Optional:
    """``items[?key]``: nothing where there is no such item."""
    if isinstance(items, Optional):
        if not items.present:
            return items
        items = items.value
    if isinstance(items, list):
        if not isinstance(key, int | float) or isinstance(key, bool):
            raise EvaluationError(f"unsupported index type '{type_name(key)}' in list")
        if key != int(key) or not 0 <= key < len(items):
            return NONE
        return Optional(True, items[int(key)])
    if isinstance(items, dict):
        try:
            return Optional(True, index_map(items, key))
        except EvaluationError:
            return NONE
    raise no_overload()
