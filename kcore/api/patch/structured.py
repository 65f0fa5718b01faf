"""Merging and pruning by schema: what server-side apply does to objects (structured-merge-diff).

Nothing here changes its arguments; results share what did not change.
"""

from __future__ import annotations

from typing import Any

from kcore.api.patch import fieldset, malformed
from kcore.api.patch.fieldset import Set, item_key
from kcore.api.schema import ANY, Schema

_MISSING: Any = object()


def merge(live: Any, applied: Any, schema: Schema) -> Any:
    """`live` with what `applied` says: maps and keyed lists merge, everything else is replaced."""
    if type(applied) is dict and type(live) is dict and not fieldset.is_atomic_map(schema):
        if not applied:
            return live
        out = dict(live)
        for key, value in applied.items():
            before = out.get(key, _MISSING)
            node = schema.child(key) or ANY
            out[key] = value if before is _MISSING else merge(before, value, node)
        return out
    if type(applied) is list and type(live) is list and not fieldset.is_atomic_list(schema):
        return _merge_list(live, applied, schema) if live and applied else (live or applied)
    if applied is None and _mergeable(live, schema):
        return live  # a null map or list has nothing to say
    return applied


def _mergeable(live: Any, schema: Schema) -> bool:
    if type(live) is dict:
        return bool(live) and not fieldset.is_atomic_map(schema)
    return type(live) is list and bool(live) and not fieldset.is_atomic_list(schema)


def _merge_list(live: list[Any], applied: list[Any], schema: Schema) -> list[Any]:
    """Items of both lists; those of `applied` keep their order, those of `live` alone stay before their followers."""
    items = schema.items or ANY
    left = [item_key(v, schema, i) for i, v in enumerate(live)]
    right = [item_key(v, schema, i) for i, v in enumerate(applied)]
    in_left: dict[str, Any] = {}
    for key, value in zip(left, live, strict=True):
        in_left.setdefault(key, value)
    in_right = dict(zip(right, applied, strict=True))
    shared = [key for key in right if key in in_left]
    out: list[Any] = []
    done: set[str] = set()
    i = j = s = 0

    def take(key: str) -> None:
        done.add(key)
        out.append(merge(in_left[key], in_right[key], items) if key in in_left else in_right[key])

    while i < len(left) or j < len(right):
        if i < len(left) and j < len(right):
            if left[i] == right[j]:
                take(left[i])
                i, j, s = i + 1, j + 1, s + 1
                continue
            if left[i] in in_right and s < len(shared) and shared[s] != left[i]:
                i += 1  # shared, but its turn comes later
                continue
        if i < len(left):
            if left[i] not in in_right:
                out.append(live[i])
                i += 1
                continue
            if left[i] in done:
                i += 1
        if j < len(right):
            take(right[j])
            if s < len(shared) and shared[s] == right[j]:
                s += 1
            j += 1
    return out


# --- pruning -------------------------------------------------------------------------------------


def prune(merged: Any, schema: Schema, last: Set, owned: Set) -> Any:
    """`merged` without what `last` (the applier's previous set) held and nobody holds any more.

    `owned` is the union of all managers' sets, the applier's new one included.
    """
    if not fieldset.difference(last, owned):
        return merged
    last = _ensure_named(last, schema)
    owned = _ensure_named(owned, schema)
    everything = _fields(merged, schema)
    pruned = _remove(merged, last, schema)
    keep = fieldset.union(_fields(pruned, schema), owned)
    pruned = _remove(merged, fieldset.difference(everything, keep), schema)
    gone = fieldset.difference(fieldset.difference(everything, _fields(pruned, schema)), owned)
    return _remove(merged, fieldset.intersection(gone, last), schema)


def _fields(obj: Any, schema: Schema) -> Set:
    return _ensure_named(fieldset.of_object(obj or {}, schema), schema)


def _ensure_named(fields: Set, schema: Schema) -> Set:
    """A declared member on the way to a field counts as held; a key of a map does not."""
    out: Set = {}
    for key, node in fields.items():
        if not node or key == ".":
            out[key] = node
            continue
        if key[:2] == "f:":
            name = key[2:]
            declared = schema.properties.get(name)
            inner = _ensure_named(node, declared or schema.values or ANY)
            if declared is not None and "." not in inner:
                inner = {".": {}, **inner}
        else:
            inner = _ensure_named(node, schema.items or ANY)
        out[key] = inner
    return out


def _remove(value: Any, fields: Set, schema: Schema) -> Any:
    """`value` without the fields of a set; None if nothing is left of a list. An emptied map is owned: it stays."""
    if not fields:
        return value
    if type(value) is dict:
        out = {}
        for key, item in value.items():
            node = fields.get("f:" + key)
            if node is None:
                out[key] = item
            elif node and "." not in node:
                left = _remove(item, node, schema.child(key) or ANY)
                if left is not None:
                    out[key] = left
        return out
    if type(value) is list:
        kept = []
        for i, item in enumerate(value):
            node = fields.get(item_key(item, schema, i))
            if node is None:
                kept.append(item)
            elif node and "." not in node:
                kept.append(_remove(item, node, schema.items or ANY))
        return kept or None
    return value


def metadata() -> Schema:
    """Of objects whose schema does not spell it out (custom resources): what of it does not merge as plain maps do."""
    text = Schema(type="string")
    return Schema(
        type="object",
        properties={
            "finalizers": Schema(type="array", items=text, list_type="set"),
            "ownerReferences": Schema(
                type="array",
                items=Schema(type="object", values=text, map_type="atomic"),
                list_type="map",
                list_map_keys=("uid",),
            ),
            "labels": Schema(type="object", values=text),
            "annotations": Schema(type="object", values=text),
        },
    )


METADATA = metadata()
METADATA.properties |= dict.fromkeys(
    ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
     "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"), ANY,
)  # fmt: skip
"""All that there is of it: nothing else may be applied."""


# --- what may be applied -------------------------------------------------------------------------


def check_applied(applied: Any, schema: Schema) -> None:
    """Refuse what cannot be merged: members nobody declared, wrong types, items of the same key.

    Raises BadRequest with structured-merge-diff's sentences, one for each mistake.
    """
    found: list[str] = []
    _check(applied, schema, (), found)
    if found:
        raise malformed(found[0] if len(found) == 1 else "\n  ".join(("errors:", *found[:_MOST])))


def _check(applied: Any, schema: Schema, path: tuple[str, ...], found: list[str]) -> None:
    if type(applied) is dict:
        if schema.type and schema.type != "object":
            _problem(found, path, f"expected {_EXPECTED.get(schema.type, schema.type)}, got map")
            return
        closed = bool(schema.properties) and schema.values is None and not schema.preserve_unknown
        for key, value in applied.items():
            node = schema.child(key)
            if node is not None:
                _check(value, node, (*path, "f:" + key), found)
            elif schema.embedded and key in _TYPE_AND_META:
                if key == "metadata":
                    _check(value, METADATA, (*path, "f:metadata"), found)
            elif closed:
                _problem(found, (*path, "f:" + key), "field not declared in schema")
    elif type(applied) is list:
        if schema.type and schema.type != "array":
            _problem(found, path, f"expected {_EXPECTED.get(schema.type, schema.type)}, got list")
        else:
            _check_items(applied, schema, path, found)
    elif applied is not None and schema.type in ("object", "array"):
        _problem(found, path, f"expected {_EXPECTED[schema.type]}, got {_go_value(applied)}")


_MOST = 1000  # mistakes that are told
_TYPE_AND_META = ("apiVersion", "kind", "metadata")
_EXPECTED = {
    "object": "map",
    "array": "list",
    "integer": "numeric (int or float)",
    "number": "numeric (int or float)",
    "quantity": "string",
    "int-or-string": "string",
}


def _check_items(applied: list[Any], schema: Schema, path: tuple[str, ...], found: list[str]) -> None:
    items = schema.items or ANY
    seen: set[str] = set()
    for i, value in enumerate(applied):
        key = item_key(value, schema, i) if schema.list_type != "atomic" else f"i:{i}"
        if key == "k:{}":
            names = ", ".join(f'"{k}"' for k in schema.list_map_keys)
            why = f"associative list with keys has an element that omits all key fields [{names}]"
            _problem(found, path, f"element {i}: {why} (and doesn't have default values for any key fields)")
            continue
        if key in seen:
            _problem(found, path, f"duplicate entries for key {fieldset.path_text((key,))}")
        seen.add(key)
        _check(value, items, (*path, key), found)


def _problem(found: list[str], path: tuple[str, ...], why: str) -> None:
    found.append(f"{fieldset.path_text(path)}: {why}")


def _go_value(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"
