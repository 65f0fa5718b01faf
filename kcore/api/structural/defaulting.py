"""Defaults of a structural schema: ``{}`` comes to be whole, from the outside in.

A null where no null may be counts as missing: it takes the default, or goes if there is none. The walk is compiled
once for each schema, and only along the paths on which there is something to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcore.api import layout
from kcore.api.schema import Schema

Object = dict[str, Any]
Defaulter = Callable[[Any], None]
"""Completes a value in place."""
_ABSENT: Any = object()


def compile(schema: Schema) -> Defaulter:
    """What fills in a whole object's defaults. Type and metadata are never defaulted."""
    members = {k: s for k, s in schema.properties.items() if k not in ("apiVersion", "kind", "metadata")}
    return _object(members, schema.values)


def has_defaults(schema: Schema) -> bool:
    """Whether there is a default anywhere in it."""
    children = [*schema.properties.values()]
    children += [child for child in (schema.items, schema.values) if child is not None]
    return "default" in schema.rules or any(has_defaults(child) for child in children)


def _node(schema: Schema) -> Defaulter | None:
    if schema.items is not None:
        return _list(schema.items)
    if schema.properties or schema.values is not None:
        return _object(schema.properties, schema.values)
    return None


def _object(properties: dict[str, Schema], values: Schema | None) -> Defaulter:
    # a default is kept encoded: decoding makes a copy faster than anything else does
    defaults = [
        (key, layout.encode_json(child.rules["default"]))
        for key, child in properties.items()
        if "default" in child.rules
    ]
    strict = frozenset(key for key, child in properties.items() if not child.nullable)
    walks = [(key, walk) for key, child in properties.items() if (walk := _node(child)) is not None]
    known = frozenset(properties)
    of_values = _node(values) if values is not None else None
    strict_values = values is not None and not values.nullable
    value_default = values.rules.get("default", _ABSENT) if values is not None else _ABSENT
    decode = layout.decode_json

    def fill(value: Any) -> None:
        if type(value) is not dict:
            return
        if None in value.values():
            for key in [k for k, v in value.items() if v is None]:
                if key in strict:
                    del value[key]
                elif strict_values and key not in known:
                    if value_default is _ABSENT:
                        del value[key]
                    else:
                        value[key] = decode(layout.encode_json(value_default))
        for key, default in defaults:
            if key not in value:
                value[key] = decode(default)
        for key, walk in walks:
            inner = value.get(key)
            if inner is not None:
                walk(inner)
        if of_values is not None:
            for key, inner in value.items():
                if key not in known:
                    of_values(inner)

    return fill


def _list(items: Schema) -> Defaulter | None:
    walk = _node(items)
    if "default" not in items.rules or items.nullable:
        if walk is None:
            return None

        def fill_items(value: Any) -> None:
            if type(value) is list:
                for item in value:
                    walk(item)

        return fill_items
    default = layout.encode_json(items.rules["default"])

    def fill(value: Any) -> None:
        if type(value) is list:
            for at, item in enumerate(value):
                if item is None:
                    value[at] = item = layout.decode_json(default)
                if walk is not None:
                    walk(item)

    return fill
