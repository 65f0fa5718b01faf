"""What a mutation's expression came to, applied: a partial object that is merged, or JSON Patch operations.

Each raises `Unpatchable`.
"""

from __future__ import annotations

from typing import Any

from kcore import errors
from kcore.api.patch import Rejected, fieldset, json_patch, structured
from kcore.api.patch.apply import whole_schema
from kcore.api.schema import Schema
from kcore.cel.libraries.mutation import mismatches, plain
from kcore.objects import Object


class Unpatchable(Exception):
    """A mutation's outcome cannot be applied. ``str()`` is upstream's text."""


def apply_configuration(live: Object, applied: Any, schema: Schema) -> Object:
    """Merge as server-side apply does: lists by their keys, maps by theirs. Nobody comes to own the fields."""
    wrong = mismatches(applied)
    if wrong:
        raise Unpatchable(f"type mismatch: {wrong[0]}")
    schema = whole_schema(schema)
    patch = plain(applied)
    patch["apiVersion"], patch["kind"] = live.get("apiVersion"), live.get("kind")
    try:
        structured.check_applied(patch, schema)
    except errors.ApiError as error:
        raise Unpatchable(
            f"error applying patch: failed to convert patch object to typed object: {error.message}"
        ) from None
    atomics = list(_atomics(patch, schema, ""))
    if atomics:
        raise Unpatchable(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
            + ", ".join(atomics)
        )
    merged: Object = structured.merge(live, patch, schema)
    return merged


def json_patched(doc: Object, operations: Any) -> Object | None:
    """None when a ``test`` did not hold: then the object stays as it is."""
    if not isinstance(operations, list):
        raise Unpatchable("type mismatch: JSONPatchType.expression should evaluate to array")
    wanted = []
    for operation in operations:
        value = operation.get("value")
        wrong = mismatches(value, getattr(value, "type_name", ""))
        if wrong:
            raise Unpatchable(f"type mismatch: {wrong[0]}")
        wanted.append({k: v for k, v in plain(operation).items() if not (k == "from" and not v)})
    try:
        made = json_patch.apply(doc, wanted)
    except Rejected as error:
        if error.why.endswith("test failed"):
            return None
        raise Unpatchable(f"JSONPath: {error.why or error.message}") from None
    except errors.ApiError as error:
        raise Unpatchable(f"JSONPath: {error.message}") from None
    if not isinstance(made, dict):
        raise Unpatchable("JSONPath: the patched object is no object")
    return made


def _atomics(value: Any, schema: Schema, path: str) -> Any:
    """The paths of atomic lists and maps in a partial object: half of one would take the other half away."""
    if isinstance(value, dict):
        if path and fieldset.is_atomic_map(schema):
            yield path
        for key, member in value.items():
            node = schema.properties.get(key)
            if node is not None:
                yield from _atomics(member, node, f"{path}.{key}")
    elif isinstance(value, list):
        if fieldset.is_atomic_list(schema):
            yield path
        for index, item in enumerate(value):
            if schema.items is not None:
                yield from _atomics(item, schema.items, f"{path}[{index}]")
