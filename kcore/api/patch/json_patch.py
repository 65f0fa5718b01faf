"""JSON Patch (RFC 6902), with the liberties of the library that upstream uses (evanphx/json-patch 4).

``replace`` of a missing member adds it, a negative index counts from the end (``-1`` is the last element), ``01`` is
one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from kcore.api.codec import json
from kcore.api.patch import malformed, rejected
from kcore.errors import RequestEntityTooLarge

MAX_OPERATIONS = 10_000
MAX_COPY_BYTES = 3 * 1024 * 1024  # what all ``copy`` operations of a patch may add together
_MEMBERS = frozenset(("op", "path", "from", "value"))


class _Miss(Exception):
    """An operation's target is not there, or a test failed."""


def apply(doc: Any, operations: Any) -> Any:
    """`doc` after all operations; `doc` itself may be left half changed when an error is raised.

    Raises BadRequest for what is no JSON Patch, RequestEntityTooLarge for too many operations, Invalid (422) for one
    that cannot be carried out.
    """
    if operations is None:
        return doc
    if not isinstance(operations, list):
        kind = "object" if isinstance(operations, dict) else "value"
        raise malformed(f"error decoding patch: json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch")
    if len(operations) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        )
    budget = [MAX_COPY_BYTES]
    for operation in operations:
        if not isinstance(operation, dict):
            raise malformed(
                "error decoding patch: json: cannot unmarshal value into Go value of type jsonpatch.Operation"
            )
        name, path = operation.get("op"), operation.get("path")
        run = _RUN.get(name) if isinstance(name, str) else None
        if run is None:
            raise rejected(f"Unexpected kind: {name}")
        if not isinstance(path, str):
            raise rejected(f"{name} operation failed to decode path: missing value")
        try:
            doc = run(doc, _split(path), operation, budget)
        except _Miss:
            raise rejected(_why(doc, str(name), path, operation)) from None
    return doc


def unknown_members(operations: Any) -> list[str]:
    """``unknown field "[1].value2"`` for each member that an operation does not have."""
    found = []
    for i, operation in enumerate(operations if isinstance(operations, list) else ()):
        if type(operation) is dict and not operation.keys() <= _MEMBERS:
            found += [f'unknown field "[{i}].{key}"' for key in operation if key not in _MEMBERS]
    return found


def _why(doc: Any, name: str, path: str, operation: dict[str, Any]) -> str:
    """The library's words for an operation that cannot be carried out."""
    if name == "test":
        return f"testing value {path} failed: test failed"
    if name in ("move", "copy"):
        return f"{name} operation does not apply: doc is missing from path: {operation.get('from')}: missing value"
    parts = _split(path)
    try:
        parent = _parent(doc, parts)
    except _Miss:
        shown = path if name == "replace" else f'"{path}"'
        return f"{name} operation does not apply: doc is missing path: {shown}: missing value"
    if name == "replace":
        return f"replace operation does not apply: doc is missing key: {path}: missing value"
    key = parts[-1] if parts else ""
    if type(parent) is dict:
        return f"error in {name} for path: '{path}': Unable to {name} nonexistent key: {key}: missing value"
    return f"error in {name} for path: '{path}': Unable to access invalid index: {key}: invalid index referenced"


def _split(path: str) -> list[str]:
    if path == "":
        return []
    if path[0] != "/":
        raise rejected()
    parts = path[1:].split("/")
    return [p.replace("~1", "/").replace("~0", "~") for p in parts] if "~" in path else parts


def _index(key: str, length: int) -> int:
    """The position `key` names in a list where positions run from 0 to `length` - 1."""
    try:
        i = int(key)
    except ValueError:
        raise _Miss from None
    if not key.lstrip("+-").isascii() or "_" in key or key.strip() != key:
        raise _Miss
    if i < 0:
        i += length
    if not 0 <= i < length:
        raise _Miss
    return i


def _step(at: Any, key: str) -> Any:
    if type(at) is dict:
        if key not in at:
            raise _Miss
        return at[key]
    if type(at) is list:
        return at[_index(key, len(at))]
    raise _Miss


def _parent(doc: Any, parts: list[str]) -> Any:
    for key in parts[:-1]:
        doc = _step(doc, key)
    if type(doc) is not dict and type(doc) is not list:
        raise _Miss
    return doc


def _put(doc: Any, parts: list[str], value: Any) -> Any:
    if not parts:
        return value
    parent, key = _parent(doc, parts), parts[-1]
    if type(parent) is dict:
        parent[key] = value
    elif key == "-":
        parent.append(value)
    else:
        parent.insert(_index(key, len(parent) + 1), value)
    return doc


def _take(doc: Any, parts: list[str]) -> Any:
    if not parts:
        raise _Miss
    parent, key = _parent(doc, parts), parts[-1]
    if type(parent) is dict:
        if key not in parent:
            raise _Miss
        return parent.pop(key)
    return parent.pop(_index(key, len(parent)))


def _get(doc: Any, parts: list[str]) -> Any:
    for key in parts:
        doc = _step(doc, key)
    return doc


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        return None
    return operation["value"]


def _add(doc: Any, parts: list[str], operation: dict[str, Any], budget: list[int]) -> Any:
    return _put(doc, parts, copy.deepcopy(_value(operation)))


def _remove(doc: Any, parts: list[str], operation: dict[str, Any], budget: list[int]) -> Any:
    _take(doc, parts)
    return doc


def _replace(doc: Any, parts: list[str], operation: dict[str, Any], budget: list[int]) -> Any:
    value = copy.deepcopy(_value(operation))
    if not parts:
        return value
    parent, key = _parent(doc, parts), parts[-1]
    if type(parent) is dict:
        parent[key] = value
    else:
        parent[_index(key, len(parent))] = value
    return doc


def _from(operation: dict[str, Any]) -> list[str]:
    source = operation.get("from")
    if not isinstance(source, str):
        raise _Miss
    return _split(source)


def _move(doc: Any, parts: list[str], operation: dict[str, Any], budget: list[int]) -> Any:
    source = _from(operation)
    if parts[: len(source)] == source and len(parts) > len(source):
        raise _Miss  # into itself
    if parts == source:
        _get(doc, source)
        return doc
    return _put(doc, parts, _take(doc, source))


def _copy(doc: Any, parts: list[str], operation: dict[str, Any], budget: list[int]) -> Any:
    encoded = json.encode(_get(doc, _from(operation)))
    budget[0] -= len(encoded)
    if budget[0] < 0:
        raise _Miss
    return _put(doc, parts, json.loads(encoded))


def _test(doc: Any, parts: list[str], operation: dict[str, Any], budget: list[int]) -> Any:
    wanted = _value(operation)
    try:
        found = _get(doc, parts)
    except _Miss:
        # a missing member of an object is null
        parent = _parent(doc, parts)
        if type(parent) is not dict or wanted is not None:
            raise
        found = None
    if not same(found, wanted):
        raise _Miss
    return doc


def same(a: Any, b: Any) -> bool:
    """Equal as JSON: unlike in Python, 1 is not true."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


_Run = Callable[[Any, list[str], dict[str, Any], list[int]], Any]
_RUN: dict[str, _Run] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
