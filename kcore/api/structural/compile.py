"""From the JSON Schema of a CustomResourceDefinition to a `Schema`."""

from __future__ import annotations

from typing import Any

from kcore.api.schema import Schema

Object = dict[str, Any]

_STRUCTURE = frozenset(
    (
        "type",
        "format",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "description",
        "title",
        "example",
        "externalDocs",
    )
)
_ANYTHING = Schema(preserve_unknown=True, nullable=True)


def compile(doc: Object) -> Schema:
    """The schema of whole objects. `doc` is only read, and values of it are shared: it must not change any more."""
    return _node(doc)


def _node(doc: Object) -> Schema:
    int_or_string = doc.get("x-kubernetes-int-or-string")
    node = Schema(
        type="int-or-string" if int_or_string else doc.get("type") or "",
        format=doc.get("format") or "",
        required=tuple(doc.get("required") or ()),
        enum=tuple(doc.get("enum") or ()),
        nullable=bool(doc.get("nullable")),
        preserve_unknown=bool(doc.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(doc.get("x-kubernetes-embedded-resource")),
        list_type=doc.get("x-kubernetes-list-type") or "atomic",
        list_map_keys=tuple(doc.get("x-kubernetes-list-map-keys") or ()),
        map_type=doc.get("x-kubernetes-map-type") or "granular",
    )
    properties = doc.get("properties")
    if properties:
        node.properties = {key: _node(child) for key, child in properties.items()}
    values = doc.get("additionalProperties")
    if isinstance(values, dict):
        node.values = _node(values)
    elif values is True:
        node.values = _ANYTHING
    items = doc.get("items")
    if isinstance(items, dict):
        node.items = _node(items)
    for key, value in doc.items():
        if key not in _STRUCTURE and value is not None:
            node.rules[key] = _rule(key, value)
    if not int_or_string and not node.type and not node.preserve_unknown and not node.properties:
        node.preserve_unknown = True  # nothing is said of it: a branch of anyOf
    return node


def _rule(key: str, value: Any) -> Any:
    if key in ("allOf", "anyOf", "oneOf"):
        return [_node(sub) for sub in value]
    return _node(value) if key == "not" else value
