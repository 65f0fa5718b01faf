"""Every error of a custom resource, in the order in which upstream finds them."""

from __future__ import annotations

from typing import Any

from kcore.api import fields, metadata, names, rules
from kcore.api.schema import Schema
from kcore.errors import Cause

Object = dict[str, Any]
VALIDATIONS = "x-kubernetes-validations"
_META = ("apiVersion", "kind", "metadata")


def embedded(value: Any, schema: Schema, path: str = "") -> list[Cause]:
    """What is wrong with the type and metadata of objects inside of the object."""
    found: list[Cause] = []
    if has_embedded(schema):
        _walk(value, schema, path, found, top=True)
    return found


def has_embedded(schema: Schema) -> bool:
    """Whether the schema embeds whole objects anywhere; remembered."""
    known = schema.embeds
    if known is None:
        schema.embeds = False
        children = (*schema.properties.values(), schema.items, schema.values)
        known = schema.embeds = schema.embedded or any(has_embedded(c) for c in children if c is not None)
    return known


def _walk(value: Any, schema: Schema, path: str, found: list[Cause], *, top: bool = False) -> None:
    if type(value) is dict:
        if schema.embedded and not top:
            found += _embedded_object(value, path)
        for key, inner in value.items():
            child = schema.properties.get(key)
            if child is not None:
                if not ((top or schema.embedded) and key in _META) and has_embedded(child):
                    _walk(inner, child, f"{path}.{key}" if path else key, found)
            elif schema.values is not None and has_embedded(schema.values):
                _walk(inner, schema.values, f"{path}[{key}]", found)
    elif type(value) is list and schema.items is not None and has_embedded(schema.items):
        for i, inner in enumerate(value):
            _walk(inner, schema.items, f"{path}[{i}]", found)


def _embedded_object(value: Object, path: str) -> list[Cause]:
    found: list[Cause] = []
    for member in ("apiVersion", "kind"):
        where = f"{path}.{member}"
        if member not in value:
            found.append(fields.required(where, "must not be empty"))
            continue
        text = value[member]
        if not isinstance(text, str):
            found.append(fields.invalid(where, text, "must be a string"))
        elif not text:
            found.append(fields.invalid(where, text, "must not be empty"))
        elif member == "apiVersion":
            if text.count("/") > 1:
                found.append(fields.invalid(where, text, f"unexpected GroupVersion string: {text}"))
        else:
            problems = names.dns_1035_label(text.lower())
            if problems:
                why = "may have mixed case, but should otherwise match: " + ",".join(problems)
                found.append(fields.invalid(where, text, why))
    meta = value.get("metadata")
    if isinstance(meta, dict):
        shown = {"metadata": {**meta, "name": meta.get("name") or "fakename"}}
        for cause in metadata.metadata(shown, bool(meta.get("namespace")), names.path_segment):
            found.append(Cause(cause.reason, cause.message, f"{path}.{cause.field}"))
    return found


def causes(obj: Object, schema: Schema, old: Object | None = None) -> list[Cause]:
    """What the schema says is wrong, but for its CEL rules. `old`: the object before an update."""
    if old is None:
        return rules.mismatches(obj, schema) + embedded(obj, schema) + rules.duplicates(obj, schema)
    found = rules.mismatches(obj, schema, old=old) + embedded(obj, schema)
    twice = rules.duplicates(obj, schema)
    if twice and not rules.duplicates(old, schema):
        found += twice
    return found


def has_rules(schema: Schema) -> bool:
    """Whether there is a CEL rule anywhere in it; remembered."""
    known = schema.ruled
    if known is None:
        schema.ruled = False
        children = (*schema.properties.values(), schema.items, schema.values)
        known = schema.ruled = bool(schema.rules.get(VALIDATIONS)) or any(
            has_rules(child) for child in children if child is not None
        )
    return known
