"""Sets of fields, and what the differences between objects are in them (structured-merge-diff).

A set is kept in the form in which ``metadata.managedFields`` writes it (FieldsV1), so that nothing is converted:

    {"f:data": {".": {}, "f:a": {}}, "f:spec": {"f:ports": {'k:{"port":80}': {...}}}}

A key is a path element: ``f:`` a member, ``k:`` an item of a list by its keys, ``v:`` an item of a set by its value,
``i:`` an item by its index. A node that is ``{}`` or holds ``.`` is itself in the set; other nodes are only on the
way. Sets are never changed once made, so they share nodes freely.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from kcore.api.patch.json_patch import same
from kcore.api.schema import ANY, Schema

Set = dict[str, Any]

_MISSING: Any = object()
LEAF: Set = {}  # a node that is in the set, without children
_SELF = "."


def wellformed(fields: Any) -> bool:
    """Whether this is a set: a client may write anything."""
    return type(fields) is dict and all(_is_element(key) and wellformed(node) for key, node in fields.items())


def _is_element(key: str) -> bool:
    kind, value = key[:2], key[2:]
    if kind == "i:":
        return value.lstrip("-").isdecimal()
    if kind in ("k:", "v:"):
        try:
            return type(json.loads(value)) is dict or kind == "v:"
        except ValueError:
            return False
    return kind == "f:" or key == _SELF


# --- set operations ------------------------------------------------------------------------------


def _holds(node: Set) -> bool:
    """Whether a node is itself in the set."""
    return not node or _SELF in node


def union(a: Set, b: Set) -> Set:
    """Neither argument may be a node that stands for itself: these are roots (or inner nodes with children)."""
    if not a:
        return b
    if not b:
        return a
    out = dict(a)
    for key, node in b.items():
        mine = out.get(key)
        out[key] = node if mine is None else _union_node(mine, node)
    return out


def _union_node(a: Set, b: Set) -> Set:
    if a is b or a == b:
        return a
    if not a:
        return b if _SELF in b else {_SELF: {}, **b}
    if not b:
        return a if _SELF in a else {_SELF: {}, **a}
    return union(a, b)


def difference(a: Set, b: Set) -> Set:
    """What is in `a` and not in `b`."""
    if not b:
        return a
    out: Set = {}
    for key, node in a.items():
        theirs = b.get(key)
        if theirs is None:
            out[key] = node
        elif key != _SELF:
            left = _difference_node(node, theirs)
            if left is not None:
                out[key] = left
    return out


def _difference_node(a: Set, b: Set) -> Set | None:
    own = _holds(a) and not _holds(b)
    inner = difference({k: v for k, v in a.items() if k != _SELF}, b) if a else {}
    if own:
        return {_SELF: {}, **inner} if inner else LEAF
    return inner or None


def intersection(a: Set, b: Set) -> Set:
    """What is in both."""
    out: Set = {}
    for key, node in a.items():
        theirs = b.get(key)
        if theirs is None or key == _SELF:
            continue
        own = _holds(node) and _holds(theirs)
        inner = intersection(node, theirs)
        if own:
            out[key] = {_SELF: {}, **inner} if inner else LEAF
        elif inner:
            out[key] = inner
    return out


def without(a: Set, path: tuple[str, ...], *, deep: bool = False) -> Set:
    """`a` without the field at `path` (path elements); with `deep`, without all that is under it either."""
    node = a.get(path[0])
    if node is None:
        return a
    left: Set | None
    if len(path) == 1:
        left = None if deep else {k: v for k, v in node.items() if k != _SELF} or None
    else:
        left = without(node, path[1:], deep=deep)
        if left is node:
            return a
        left = LEAF if left.keys() == {_SELF} else left or None
    out = dict(a)
    if left is None:
        del out[path[0]]
    else:
        out[path[0]] = left
    return out


# --- path elements -------------------------------------------------------------------------------


def item_key(item: Any, schema: Schema, index: int) -> str:
    """The path element of a list's item. A list-map's missing keys take their defaults."""
    if schema.list_type == "set":
        return _value_key(item)
    if type(item) is not dict:
        return f"i:{index}"
    keys = schema.list_map_keys
    if len(keys) == 1:
        name = keys[0]
        value = item.get(name)
        if type(value) is str:
            return _string_key(name, value)
    values = [item.get(name) for name in keys]
    if None in values:
        values = [_default(schema.items, name) if v is None else v for name, v in zip(keys, values, strict=True)]
    try:
        return _keys(keys, *values)
    except TypeError:  # a key that is a list or a map
        return _keys.__wrapped__(keys, *values)


@lru_cache(maxsize=4096, typed=True)
def _keys(names: tuple[str, ...], *values: Any) -> str:
    picked = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return "k:" + json.dumps(picked, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


@lru_cache(maxsize=4096)
def _string_key(name: str, value: str) -> str:
    return "k:" + json.dumps({name: value}, separators=(",", ":"), ensure_ascii=False)


def _value_key(value: Any) -> str:
    return "v:" + json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def _default(items: Schema | None, name: str) -> Any:
    """A key's default. The published schemas have just one that matters, and not all of them carry it."""
    node = items.properties.get(name) if items is not None else None
    default = node.rules.get("default") if node is not None else None
    if default is None and name == "protocol" and items is not None and items.name.startswith("io.k8s.api.core."):
        return "TCP"
    return default


def path_text(path: tuple[str, ...]) -> str:
    """A path as conflicts show it: ``.spec.containers[name="a"].image``."""
    out = []
    for element in path:
        kind, text = element[:2], element[2:]
        if kind == "f:":
            out.append("." + text)
        elif kind == "k:":
            pairs = json.loads(text)
            inner = ",".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in sorted(pairs.items()))
            out.append(f"[{inner}]")
        else:
            out.append(f"[={text}]" if kind == "v:" else f"[{text}]")
    return "".join(out)


def paths(a: Set, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All fields of a set, in order: at each level first what is in it, then what is below."""
    out = [(*prefix, key) for key in sorted(a) if key != _SELF and _holds(a[key])]
    for key in sorted(a):
        if key != _SELF and a[key]:
            out += paths(a[key], (*prefix, key))
    return out


# --- objects -------------------------------------------------------------------------------------


def of_object(obj: Any, schema: Schema) -> Set:
    """The fields that a (partial) object sets: leaves, items of lists, empty maps."""
    return _of_map(obj, schema)


def _of_map(obj: dict[str, Any], schema: Schema) -> Set:
    out: Set = {}
    for key, value in obj.items():
        declared = schema.properties.get(key)
        node = declared if declared is not None else (schema.values or ANY)
        inner = _of_value(value, node)
        if inner is None:
            continue
        if inner and declared is None and _SELF not in inner:
            inner = {_SELF: {}, **inner}
        out["f:" + key] = inner
    return out


def _of_value(value: Any, schema: Schema) -> Set | None:
    """The node of a value: LEAF if it is a field of its own, None if there is nothing to own."""
    if type(value) is dict:
        if not value or is_atomic_map(schema):
            return LEAF
        return _of_map(value, schema) or None
    if type(value) is list:
        if is_atomic_list(schema):
            return LEAF
        out: Set = {}
        for i, item in enumerate(value):
            inner = _of_value(item, schema.items or ANY)
            out[item_key(item, schema, i)] = {_SELF: {}, **inner} if inner else LEAF
        return out or None
    return LEAF


def is_atomic_list(schema: Schema) -> bool:
    return schema.list_type == "atomic"


def is_atomic_map(schema: Schema) -> bool:
    """A map that is owned whole. A free-form object in a built-in kind is; one in a custom resource is not."""
    if schema.map_type == "atomic":
        return True
    return schema.preserve_unknown and not schema.type and not schema.properties and bool(schema.name)


# --- comparing -----------------------------------------------------------------------------------


def compare(old: Any, new: Any, schema: Schema) -> tuple[Set, Set]:
    """(fields added or changed, fields removed) between two objects. Equal parts cost one comparison in C."""
    changed: Set = {}
    removed: Set = {}
    _compare_map(old, new, schema, changed, removed)
    return changed, removed


def _compare_map(old: dict[str, Any], new: dict[str, Any], schema: Schema, changed: Set, removed: Set) -> None:
    properties, values = schema.properties, schema.values
    for key, value in new.items():
        before = old.get(key, _MISSING)
        if before is value or (before == value and type(before) is type(value)):
            continue
        _compare(before, value, properties.get(key) or values or ANY, "f:" + key, changed, removed)
    for key, value in old.items():
        if key not in new:
            gone = _whole(value, properties.get(key) or values or ANY)
            removed["f:" + key] = gone


def _compare(old: Any, new: Any, schema: Schema, key: str, changed: Set, removed: Set) -> None:
    """Put the difference between two values that are not equal under `key`."""
    if old is _MISSING:
        changed[key] = _whole(new, schema)
        return
    inner_changed: Set = {}
    inner_removed: Set = {}
    kind = dict if type(old) is dict or type(new) is dict else list if type(old) is list or type(new) is list else None
    if kind is dict and not is_atomic_map(schema) and (old or new) and _plain(old, dict) and _plain(new, dict):
        _compare_map(old or {}, new or {}, schema, inner_changed, inner_removed)
    elif kind is list and not is_atomic_list(schema) and (old or new) and _plain(old, list) and _plain(new, list):
        _compare_list(old or [], new or [], schema, inner_changed, inner_removed)
    else:
        changed[key] = LEAF
        return
    if inner_changed:
        changed[key] = inner_changed
    if inner_removed:
        removed[key] = inner_removed


def _plain(value: Any, kind: type) -> bool:
    """A null is a map or list without anything."""
    return value is None or type(value) is kind


def _compare_list(old: list[Any], new: list[Any], schema: Schema, changed: Set, removed: Set) -> None:
    before = _index(old, schema)
    after = _index(new, schema)
    items = schema.items or ANY
    for key, values in after.items():
        was = before.get(key)
        if was is None:
            changed[key] = _whole(values[0], items) if len(values) == 1 else LEAF
        elif len(was) == 1 and len(values) == 1:
            if was[0] != values[0]:
                _compare(was[0], values[0], items, key, changed, removed)
        elif not same(was, values):
            changed[key] = LEAF
    for key, values in before.items():
        if key not in after:
            removed[key] = _whole(values[0], items) if len(values) == 1 else LEAF


def _index(items: list[Any], schema: Schema) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for i, item in enumerate(items):
        out.setdefault(item_key(item, schema, i), []).append(item)
    return out


def _whole(value: Any, schema: Schema) -> Set:
    """The node of a value that is new or gone as a whole: itself, and all that is in it."""
    kind = type(value)
    if kind is dict and value and not is_atomic_map(schema):
        out: Set = {_SELF: LEAF}
        properties, values = schema.properties, schema.values
        for key, item in value.items():
            kind = type(item)
            if kind is dict or kind is list:
                out["f:" + key] = _whole(item, properties.get(key) or values or ANY)
            else:  # most members: not worth a call
                out["f:" + key] = LEAF
        return out
    if kind is list and value and not is_atomic_list(schema):
        out = {_SELF: LEAF}
        items = schema.items or ANY
        for i, item in enumerate(value):
            key = item_key(item, schema, i)
            out[key] = LEAF if key in out else _whole(item, items)
        return out
    return LEAF
