"""Validation of custom resources against their schema, with the sentences of kube-openapi's validator.

Each schema node is compiled to one function that appends every error it finds. The order of errors: members in the
order of their names, children before the rules of the object or list itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from kcore.api import fields
from kcore.api.formats import FORMATS
from kcore.api.patch.json_patch import same
from kcore.api.schema import Schema
from kcore.errors import Cause

_Check = Callable[[Any, Any, str, list[Cause]], None]
"""(value, what it was before the change or `_ABSENT`, path, where errors go)"""
_ABSENT: Any = object()


def check(obj: Any, schema: Schema, path: str = "") -> list[Cause]:
    """Every error of a value against `schema`, duplicates in sets and list-maps last."""
    return mismatches(obj, schema, path) + duplicates(obj, schema, path)


def mismatches(obj: Any, schema: Schema, path: str = "", old: Any = _ABSENT) -> list[Cause]:
    """Every error of a value against the schemas of its parts; `path` is where it stands: ``spec``.

    With `old`, what the object was before an update, values that did not change are not judged again: an object that
    was stored under milder rules can still be changed elsewhere. What is in a list has a past only in a list-map.
    """
    found: list[Cause] = []
    _compile(schema)(obj, old, path, found)
    return found


def _compile(schema: Schema) -> _Check:
    done: _Check | None = schema.checker
    if done is not None:
        return done
    made: list[_Check] = []
    schema.checker = lambda value, old, path, found: made[0](value, old, path, found)  # it may be recursive
    made.append(_make(schema))
    schema.checker = made[0]
    return made[0]


def _make(schema: Schema) -> _Check:
    kind, nullable = schema.type, schema.nullable
    right = _TYPES.get(kind)
    makers = (_branches, _text, _format, _number, _items, _enum, _members)
    steps = [step for make in makers if (step := make(schema)) is not None]

    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        if value is None:
            if not nullable and right is not None and old is not None:
                found.append(_wrong_type(path, kind, value))
            return
        if old is not _ABSENT and value == old and same(value, old):
            return
        if right is not None and not right(value):
            found.append(_wrong_type(path, kind, value))
            return
        for step in steps:
            step(value, old, path, found)

    return run


def _is_integer(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: type(v) is dict,
    "array": lambda v: type(v) is list,
    "string": lambda v: type(v) is str,
    "boolean": lambda v: type(v) is bool,
    "integer": _is_integer,
    "number": _is_number,
    "int-or-string": lambda v: _is_integer(v) or type(v) is str,
    "quantity": lambda v: _is_number(v) or type(v) is str,
}


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {dict: "object", list: "array", str: "string", int: "integer"}.get(type(value), "number")


def _wrong_type(path: str, kind: str, value: Any) -> Cause:
    given = _type_name(value)
    wanted = {"int-or-string": "integer,string", "quantity": "integer,string"}.get(kind, kind)
    return fields.type_invalid(path, given, f'{path} in body must be of type {wanted}: "{given}"')


# --- objects and lists ---------------------------------------------------------------------------


def _items(schema: Schema) -> _Check | None:
    """Of a list: its items, then how many there are."""
    item = _compile(schema.items) if schema.items is not None else None
    sizes = _limits(schema, "minItems", "maxItems", "uniqueItems")
    if item is None and not sizes:
        return None
    keys = schema.list_map_keys if schema.list_type == "map" else ()

    def items(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        if type(value) is not list:
            return
        if item is not None:
            past = _by_keys(old, keys) if keys and type(old) is list else {}
            for i, v in enumerate(value):
                before = past.get(_keys_of(v, keys), _ABSENT) if past else _ABSENT
                item(v, before, f"{path}[{i}]", found)
        for size in sizes:
            size(value, old, path, found)

    return items


def _by_keys(items: list[Any], keys: tuple[str, ...]) -> dict[Any, Any]:
    return {_keys_of(item, keys): item for item in items}


def _keys_of(item: Any, keys: tuple[str, ...]) -> Any:
    return tuple(repr(item.get(key)) for key in keys) if type(item) is dict else None


def _members(schema: Schema) -> _Check | None:
    """Of an object: how many members, the members in the order of their names, then those that are missing."""
    sizes = _limits(schema, "minProperties", "maxProperties")
    if not (schema.properties or schema.values is not None or schema.required or sizes):
        return None
    properties = {k: _compile(s) for k, s in sorted(schema.properties.items())}
    rest = _compile(schema.values) if schema.values is not None else None
    required = schema.required

    def members(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        if type(value) is not dict:
            return
        before = len(found)
        for size in sizes:
            size(value, old, path, found)
        if len(found) > before:
            return
        dot = f"{path}." if path else ""
        past = old if type(old) is dict else _NO_PAST
        for key in sorted(value):
            inner = properties.get(key, rest)
            if inner is not None:
                inner(value[key], past.get(key, _ABSENT), dot + key, found)
        for key in required:
            if key not in value:
                found.append(fields.required(dot + key))

    return members


_NO_PAST: dict[str, Any] = {}


def duplicates(value: Any, schema: Schema, path: str = "") -> list[Cause]:
    """Sets hold no value twice, list-maps no two items of one key."""
    found: list[Cause] = []
    if has_keyed_lists(schema):
        _find_duplicates(value, schema, path, found)
    return found


def has_keyed_lists(schema: Schema) -> bool:
    """Whether there is a set or a list-map anywhere in it; remembered."""
    known = schema.keyed
    if known is None:
        schema.keyed = False  # it may be recursive
        children = (*schema.properties.values(), schema.items, schema.values)
        known = schema.keyed = schema.list_type in ("set", "map") or any(
            has_keyed_lists(child) for child in children if child is not None
        )
    return known


def _find_duplicates(value: Any, schema: Schema, path: str, found: list[Cause]) -> None:
    if type(value) is dict:
        for key, inner in value.items():
            child = schema.properties.get(key)
            if child is not None:
                if has_keyed_lists(child):
                    _find_duplicates(inner, child, f"{path}.{key}" if path else key, found)
            elif schema.values is not None and has_keyed_lists(schema.values):
                _find_duplicates(inner, schema.values, f"{path}[{key}]", found)
    elif type(value) is list:
        if schema.list_type in ("set", "map"):
            _twice(value, schema, path, found)
        if schema.items is not None and has_keyed_lists(schema.items):
            for i, inner in enumerate(value):
                _find_duplicates(inner, schema.items, f"{path}[{i}]", found)


def _twice(value: list[Any], schema: Schema, path: str, found: list[Cause]) -> None:
    keys = schema.list_map_keys
    defaults = {
        key: child.rules["default"]
        for key in keys
        if schema.items is not None and (child := schema.items.properties.get(key)) and "default" in child.rules
    }
    seen: set[str] = set()
    for i, item in enumerate(value):
        if schema.list_type == "map":
            if not isinstance(item, dict):
                continue
            item = {k: item.get(k, defaults.get(k)) for k in keys if k in item or k in defaults}
            if not item:
                continue
        text = _identity(item)
        if text in seen:
            found.append(fields.duplicate(f"{path}[{i}]", item))
        seen.add(text)


def _identity(value: Any) -> str:
    """Equal for equal JSON values alone: members sorted, 1 and 1.0 alike, 1 and true not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return msgspec.json.encode(value, order="deterministic").decode()


# --- values --------------------------------------------------------------------------------------


def _enum(schema: Schema) -> _Check | None:
    if not schema.enum:
        return None
    allowed = list(schema.enum)

    def member_of(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        if not any(same(value, a) for a in allowed):
            shown = ", ".join(fields.show(a) for a in allowed)
            message = f"Unsupported value: {fields.show(value)}: supported values: {shown}"
            found.append(Cause("FieldValueNotSupported", message, path))

    return member_of


def _format(schema: Schema) -> _Check | None:
    if schema.type != "string":
        return None
    right = FORMATS.get(schema.format)
    if right is None:
        return None
    name = schema.format

    def formatted(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        if isinstance(value, str) and not right(value):
            found.append(
                fields.type_invalid(path, value, f"{path} in body must be of type {name}: {fields.show(value)}")
            )

    return formatted


def _limits(schema: Schema, *names: str) -> list[_Check]:
    return [_RULES[name](schema.rules[name], schema.rules) for name in names if name in schema.rules]


def _in_turn(steps: list[_Check]) -> _Check | None:
    if len(steps) < 2:
        return steps[0] if steps else None

    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        for step in steps:
            step(value, old, path, found)

    return run


def _branches(schema: Schema) -> _Check | None:
    return _in_turn(_limits(schema, "anyOf", "oneOf", "allOf", "not"))


def _number(schema: Schema) -> _Check | None:
    return _in_turn(_limits(schema, "multipleOf", "minimum", "maximum"))


def _text(schema: Schema) -> _Check | None:
    """Of a string only the first mistake is told."""
    steps = _limits(schema, "maxLength", "minLength", "pattern")
    if len(steps) < 2:
        return steps[0] if steps else None

    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        before = len(found)
        for step in steps:
            step(value, old, path, found)
            if len(found) > before:
                return

    return run


_Make = Callable[[Any, dict[str, Any]], _Check]


def _number_rule(wrong: Callable[[Any, Any], bool], text: Callable[[Any, dict[str, Any]], str]) -> _Make:
    def make(limit: Any, rules: dict[str, Any]) -> _Check:
        said = text(limit, rules)

        def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
            if _is_number(value) and wrong(value, limit):
                found.append(fields.invalid(path, value, f"{path} in body {said}"))

        return run

    return make


def _maximum(limit: Any, rules: dict[str, Any]) -> _Check:
    if rules.get("exclusiveMaximum"):
        return _number_rule(lambda v, n: v >= n, lambda n, r: f"should be less than {_go(n)}")(limit, rules)
    return _number_rule(lambda v, n: v > n, lambda n, r: f"should be less than or equal to {_go(n)}")(limit, rules)


def _minimum(limit: Any, rules: dict[str, Any]) -> _Check:
    if rules.get("exclusiveMinimum"):
        return _number_rule(lambda v, n: v <= n, lambda n, r: f"should be greater than {_go(n)}")(limit, rules)
    return _number_rule(lambda v, n: v < n, lambda n, r: f"should be greater than or equal to {_go(n)}")(limit, rules)


def _go(n: Any) -> str:
    return str(int(n)) if isinstance(n, float) and n.is_integer() else str(n)


def _not_multiple(value: Any, of: Any) -> bool:
    quotient = value / of
    return not math.isclose(quotient, round(quotient), abs_tol=1e-12)


def _pattern(pattern: Any, rules: dict[str, Any]) -> _Check:
    from kcore.cel import regex

    try:
        search = regex.compiled(str(pattern)).search
    except (ValueError, UnicodeEncodeError):
        return lambda value, old, path, found: None  # such a definition was stored before it was refused

    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        if isinstance(value, str) and not search(value):
            found.append(fields.invalid(path, value, f"{path} in body should match '{pattern}'"))

    return run


def _sized(type_: type[Any], what: Callable[[str, Any, int], Cause], wrong: Callable[[int, int], bool]) -> _Make:
    def make(limit: Any, rules: dict[str, Any]) -> _Check:
        def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
            if isinstance(value, type_) and wrong(len(value), int(limit)):
                found.append(what(path, value, int(limit)))

        return run

    return make


def _over(size: int, limit: int) -> bool:
    return size > limit


def _under(size: int, limit: int) -> bool:
    return size < limit


def _nested(subs: Any, rules: dict[str, Any]) -> list[_Check]:
    return [_compile(s) for s in subs if isinstance(s, Schema)]


def _fails(run: _Check, value: Any, path: str) -> list[Cause]:
    found: list[Cause] = []
    run(value, _ABSENT, path, found)
    return found


def _fewest(failures: list[list[Cause]]) -> list[Cause]:
    return sorted(failures, key=lambda f: len(f))[0]


def _all_of(subs: Any, rules: dict[str, Any]) -> _Check:
    checks = _nested(subs, rules)

    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        wrong = [c for check in checks for c in _fails(check, value, path)]
        if wrong:
            found.append(fields.invalid(path, "", f'"{path}" must validate all the schemas (allOf)'))
            found.extend(wrong)

    return run


def _any_of(subs: Any, rules: dict[str, Any]) -> _Check:
    checks = _nested(subs, rules)

    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        failures = [_fails(check, value, path) for check in checks]
        if checks and all(failures):
            found.append(fields.invalid(path, "", f'"{path}" must validate at least one schema (anyOf)'))
            found.extend(_fewest(failures))

    return run


def _one_of(subs: Any, rules: dict[str, Any]) -> _Check:
    checks = _nested(subs, rules)

    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        failures = [_fails(check, value, path) for check in checks]
        valid = sum(1 for f in failures if not f)
        if checks and valid != 1:
            said = "Found none valid" if valid == 0 else f"Found {valid} valid alternatives"
            found.append(fields.invalid(path, "", f'"{path}" must validate one and only one schema (oneOf). {said}'))
            if valid == 0:
                found.extend(_fewest(failures))

    return run


def _not(sub: Any, rules: dict[str, Any]) -> _Check:
    checks = _nested([sub], rules)

    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        if checks and not _fails(checks[0], value, path):
            found.append(fields.invalid(path, "", f'"{path}" must not validate the schema (not)'))

    return run


def _unique_items(wanted: Any, rules: dict[str, Any]) -> _Check:
    def run(value: Any, old: Any, path: str, found: list[Cause]) -> None:
        if wanted and type(value) is list and any(same(v, w) for i, v in enumerate(value) for w in value[:i]):
            found.append(fields.invalid(path, value, f"{path} in body shouldn't contain duplicates"))

    return run


def _few(what: str) -> Callable[[str, Any, int], Cause]:
    return lambda path, value, n: fields.invalid(path, value, f"{path} in body should have at least {n} {what}")


_RULES: dict[str, _Make] = {
    "maximum": _maximum,
    "minimum": _minimum,
    "multipleOf": _number_rule(_not_multiple, lambda n, r: f"should be a multiple of {_go(n)}"),
    "maxLength": _sized(str, lambda path, v, n: fields.too_long(path, n), _over),
    "minLength": _sized(
        str, lambda path, v, n: fields.invalid(path, v, f"{path} in body should be at least {n} chars long"), _under
    ),
    "pattern": _pattern,
    "maxItems": _sized(list, lambda path, v, n: fields.too_many(path, len(v), n), _over),
    "minItems": _sized(list, _few("items"), _under),
    "uniqueItems": _unique_items,
    "maxProperties": _sized(dict, lambda path, v, n: fields.too_many(path, len(v), n), _over),
    "minProperties": _sized(dict, _few("properties"), _under),
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
}
