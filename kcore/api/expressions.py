"""Schemas as the types that CEL expressions see, and the limits that Kubernetes sets on what expressions cost.

The rules are those of the Kubernetes documentation ("Common Expression Language in Kubernetes", "Validation rules"):
which properties are accessible and under which names, and what a ``format`` makes of a string. Values stay plain
JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from kcore.api.schema import Schema
from kcore.cel import types as t
from kcore.cel.parser import RESERVED
from kcore.cel.types import Field, Type

# what one evaluation of one expression may cost at run time
PER_CALL_LIMIT = 1_000_000
# what all expressions of one custom resource, or of one policy binding, may cost together at run time
RUNTIME_BUDGET = 10_000_000
# what all match conditions of one webhook or policy may cost together at run time
MATCH_CONDITIONS_BUDGET = RUNTIME_BUDGET // 4
# what one rule of a CRD may cost by its estimate, and all rules of a CRD's version
RULE_ESTIMATE_LIMIT = 10_000_000
CRD_ESTIMATE_LIMIT = 100_000_000
# bytes: the largest request; it bounds whatever a schema leaves unbounded
MAX_REQUEST = 3 * 1024 * 1024
# bytes of a text that a messageExpression makes
MAX_MESSAGE = 5 * 1024

_QUOTES = 2
_DURATION_SIZE = 32
_DATETIME_SIZE = 32
_DATE_SIZE = 12


def type_of(schema: Schema, *, resource: bool = False, name: str = "selfType") -> Type:
    """The type of a schema's values; what expressions cannot look into (no type, no items) is dyn.

    ``resource``: the root of a resource, whose apiVersion, kind, metadata.name and metadata.generateName can always be
    used. Types of one name are taken for the same, so two schemas that meet in one expression need two names.
    """
    return _declared(schema, resource or schema.embedded, name, {}) or t.DYN


_Made = dict[tuple[int, bool], Type]  # by schema: one that contains itself gives a type that does


def _declared(schema: Schema, resource: bool, name: str, made: _Made) -> Type | None:
    """None: not exposed to expressions."""
    if schema.type == "int-or-string":
        longest = _max_length(schema, MAX_REQUEST - _QUOTES)
        return attrs.evolve(t.DYN, max_size=longest, min_json=1)
    if schema.type == "array":
        return _list(schema, name, made)
    if schema.type == "object" or (resource and not schema.type):
        if schema.values is not None and not schema.properties:
            return _map(schema, name, made)
        key = (id(schema), resource)
        if key not in made:
            made[key] = _object(_with_metadata(schema) if resource else schema, name, made)
        return made[key]
    if schema.type in ("string", "quantity"):
        return _string(schema)
    return {"boolean": t.BOOL, "number": t.DOUBLE, "integer": t.INT}.get(schema.type)


def _max_length(schema: Schema, otherwise: int) -> int:
    """Bytes: a character may take four."""
    limit = schema.rules.get("maxLength")
    return otherwise if limit is None else max(int(limit), 0) * 4


def _string(schema: Schema) -> Type:
    longest = MAX_REQUEST - _QUOTES
    if schema.format == "byte":
        limit = schema.rules.get("maxLength")
        return t.sized(t.BYTES, longest if limit is None else max(int(limit), 0), min_json=2)
    if schema.format == "duration":
        return t.sized(t.DURATION, _DURATION_SIZE, min_json=3)
    if schema.format == "date":
        return t.sized(t.TIMESTAMP, _DATE_SIZE, min_json=_DATE_SIZE)
    if schema.format == "date-time":
        return t.sized(t.TIMESTAMP, _DATETIME_SIZE, min_json=21)
    if schema.enum and "maxLength" not in schema.rules:
        longest = max((len(value) for value in schema.enum if isinstance(value, str)), default=0)
    return t.sized(t.STRING, _max_length(schema, longest), min_json=2)


def _list(schema: Schema, name: str, made: _Made) -> Type | None:
    if schema.items is None:
        return None
    item = _declared(schema.items, schema.items.embedded, f"{name}.@idx", made)
    if item is None:
        return None
    limit = schema.rules.get("maxItems")
    most = (MAX_REQUEST - 2) // (item.min_json + 1) if limit is None else max(int(limit), 0)
    return t.list_of(item, max_size=most, list_type=schema.list_type, list_keys=schema.list_map_keys)


def _map(schema: Schema, name: str, made: _Made) -> Type | None:
    assert schema.values is not None
    value = _declared(schema.values, schema.values.embedded, f"{name}.@elem", made)
    if value is None:
        return None
    limit = schema.rules.get("maxProperties")
    most = (MAX_REQUEST - 2) // (value.min_json + 6) if limit is None else max(int(limit), 0)
    return t.map_of(t.STRING, value, max_size=most)


def _object(schema: Schema, name: str, made: _Made) -> Type:
    def fields() -> Mapping[str, Field]:
        found: dict[str, Field] = {}
        for key, member in schema.properties.items():
            type_ = _declared(member, member.embedded, f"{name}.{key}", made)
            escaped = escape(key)
            if type_ is not None and escaped is not None:
                found[escaped] = Field(type_, key, default="default" in member.rules, required=key in schema.required)
        return found

    return t.object_type(name, fields, min_json=_min_json(schema, frozenset()))


def _min_json(schema: Schema, above: frozenset[int]) -> int:
    """The fewest bytes of a value in JSON: an object has at least its required members that have no default."""
    kind = schema.type
    if kind == "string" and schema.format in ("duration", "date", "date-time"):
        return {"duration": 3, "date": _DATE_SIZE, "date-time": 21}[schema.format]
    if kind != "object" or schema.values is not None or id(schema) in above:
        return {"boolean": 4, "integer": 1, "number": 1, "int-or-string": 1}.get(kind, 2)
    total = 2
    for key in schema.required:
        member = schema.properties.get(key)
        if member is not None and "default" not in member.rules:
            total += len(key) + _min_json(member, above | {id(schema)}) + 4
    return total


_NAME = Schema(type="string")
_METADATA = Schema(type="object", properties={"name": _NAME, "generateName": _NAME})


def _with_metadata(schema: Schema) -> Schema:
    """The schema with what every resource has."""
    had = schema.properties.get("metadata")
    if had is not None and {"name", "generateName"} <= had.properties.keys() and "kind" in schema.properties:
        return schema
    common = {"apiVersion": _NAME, "kind": _NAME, "metadata": _METADATA}
    return attrs.evolve(schema, type="object", properties={**schema.properties, **common})


# Upstream escapes the words that were reserved when it began to, and the literals.
_RESERVED = (RESERVED - {"var", "void", "while"}) | {"true", "false", "null", "in"}
_SYMBOLS = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_SYMBOL = re.compile("__|[./-]")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def escape(name: str) -> str | None:
    """The name of a property in expressions (``x.y`` is ``x__dot__y``); None if it has none."""
    if name in _RESERVED:
        return f"__{name}__"
    escaped = _SYMBOL.sub(lambda match: _SYMBOLS[match.group()], name)
    return escaped if _IDENTIFIER.fullmatch(escaped) else None


_ESCAPED = {text: symbol for symbol, text in _SYMBOLS.items()}
_ESCAPE = re.compile("|".join(_ESCAPED))


def unescape(name: str) -> str:
    """The property that a name in an expression stands for."""
    if name[:2] == "__" and name[-2:] == "__" and name[2:-2] in _RESERVED:
        return name[2:-2]
    return _ESCAPE.sub(lambda match: _ESCAPED[match.group()], name)
