"""Strategic merge patch: a partial object whose lists merge by the keys that the schema names.

Directives, in maps:  ``$patch: replace | delete``, ``$retainKeys: [...]``, and beside a list ``x``:
``$setElementOrder/x: [...]``, ``$deleteFromPrimitiveList/x: [...]``; in items of a list: ``$patch: replace | delete``.
The order of a merged list: the patch's items in the patch's order (or in that of $setElementOrder), the others
in theirs, each side's before the other's where the live list had them so.
https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcore.api.patch import failed, go_text, invalid_result, malformed
from kcore.api.patch.json_patch import same
from kcore.api.schema import ANY, Schema

Json = dict[str, Any]

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def apply(doc: Json, patch: Any, schema: Schema) -> Json:
    """`doc` with `patch` merged in; changes both.

    Raises BadRequest for a patch that breaks the format, a bare 500 for directives upstream does not know or cannot
    carry out, Invalid (422) if a list or map of the object would become something else.
    """
    if not isinstance(patch, dict):
        raise malformed(f"json: cannot unmarshal {_kind(patch)} into Go value of type map[string]interface {{}}")
    shown = go_text(patch)
    merged = _merge_map(doc, patch, schema)
    problem = _misfit(merged, schema)
    if problem:
        raise invalid_result(shown, problem)
    return merged


def _kind(value: Any) -> str:
    return "array" if isinstance(value, list) else "string" if isinstance(value, str) else "number"


# --- maps ----------------------------------------------------------------------------------------


def _merge_map(original: Json, patch: Json, schema: Schema) -> Json:
    directive = patch.get(_DIRECTIVE)
    if _DIRECTIVE in patch:
        if directive == "replace":
            return {k: v for k, v in patch.items() if k != _DIRECTIVE}
        if directive == "delete":
            return {}
        raise failed(f"unknown patch type: {go_text(directive)} in map: {go_text(patch)}")
    if _RETAIN in patch:
        _retain_keys(original, patch)
    for key in [k for k in patch if k.startswith(_ORDER)]:
        _merge_ordered(original, patch, key, schema)
    for key, value in patch.items():
        if key.startswith(_DELETE):
            _delete_primitives(original, key[len(_DELETE) :], value)
        elif value is None:
            original.pop(key, None)
        else:
            _merge_member(original, key, value, schema.child(key) or ANY)
    return original


def _merge_member(original: Json, key: str, value: Any, node: Schema) -> None:
    live = original.get(key)
    strategy = node.patch_strategy
    if type(live) is dict and type(value) is dict:
        original[key] = value if "replace" in strategy else _merge_map(live, value, node)
    elif type(live) is list and type(value) is list:
        original[key] = _merge_list(live, value, node) if "merge" in strategy else _bare(value)
    else:
        original[key] = _bare(value)


def _bare(value: Any) -> Any:
    """A value that has nothing to merge with: without directives, and without the nulls that delete."""
    if type(value) is dict:
        return {
            k: _bare(v)
            for k, v in value.items()
            if v is not None and k not in (_DIRECTIVE, _RETAIN) and not k.startswith((_DELETE, _ORDER))
        }
    if type(value) is list:
        return [_bare(v) for v in value if not (type(v) is dict and _DIRECTIVE in v)]
    return value


def _retain_keys(original: Json, patch: Json) -> None:
    """Drop from `original` what the list does not name; all that the patch sets must be in the list."""
    kept = patch.pop(_RETAIN)
    if not isinstance(kept, list) or not all(isinstance(k, str) for k in kept):
        raise malformed("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith((_DELETE, _ORDER)) and key not in kept:
            raise malformed("invalid patch format of retainKeys")
    for key in [k for k in original if k not in kept]:
        del original[key]


def _delete_primitives(original: Json, key: str, values: Any) -> None:
    if not isinstance(values, list):
        raise malformed("invalid patch format of primitive list")
    live = original.get(key)
    if isinstance(live, list):
        original[key] = [v for v in live if not any(same(v, gone) for gone in values)]


# --- lists ---------------------------------------------------------------------------------------


def _merge_ordered(original: Json, patch: Json, directive: str, schema: Schema) -> None:
    """Merge the list that a $setElementOrder directive orders, and take both out of the patch."""
    key = directive[len(_ORDER) :]
    order = patch.pop(directive)
    node = schema.child(key) or ANY
    merge_key = node.patch_merge_key
    given, live = patch.get(key), original.get(key)
    if not isinstance(order, list) or not isinstance(given or [], list) or not isinstance(live or [], list):
        raise malformed("invalid patch format of setElementOrder list")
    if given is not None:
        _check_order(given, order, merge_key)
    merged: list[Any]
    if given is None:
        if live is None:
            return
        merged = live
    elif live is None:
        merged = _bare(given)
    else:
        merged = _merge_list(live, given, node) if "merge" in node.patch_strategy else _bare(given)
    original[key] = _arrange(merged, order, live or [], merge_key)
    patch.pop(key, None)


def _check_order(given: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's items must come in the order list, in the same order."""
    wanted = [v for v in given if not (type(v) is dict and v.get(_DIRECTIVE) == "delete")]
    at = 0
    for item in order:
        if at < len(wanted) and _matches(wanted[at], item, merge_key):
            at += 1
    if at < len(wanted):
        raise failed(
            f"The order in patch list:\n{go_text(given)}\n doesn't match $setElementOrder list:\n{go_text(order)}\n"
        )


def _matches(a: Any, b: Any, merge_key: str) -> bool:
    if type(a) is dict and type(b) is dict and merge_key:
        return merge_key in a and merge_key in b and same(a[merge_key], b[merge_key])
    return same(a, b)


def _merge_list(live: list[Any], patch: list[Any], node: Schema) -> list[Any]:
    if not live and not patch:
        return live
    kinds = {type(v) for v in live} | {type(v) for v in patch}
    if list in kinds:
        raise malformed("lists of lists are not supported")
    if len(kinds) > 1 and dict in kinds:
        raise failed("list element types are not identical")
    if kinds != {dict}:
        merged: list[Any] = []
        for value in [*live, *patch]:
            if not any(same(value, v) for v in merged):
                merged.append(value)
        return _arrange(merged, patch, live, "")
    merge_key = node.patch_merge_key
    if not merge_key:
        raise failed(f"cannot merge lists without merge key for {node.name or 'list'}")
    before = live
    live, patch = _list_directives(live, patch, merge_key)
    return _arrange(_merge_items(list(live), patch, merge_key, node.items or ANY), patch, before, merge_key)


def _list_directives(live: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """Carry out the ``$patch`` items; what is left of both lists."""
    plain, replace = [], False
    for item in patch:
        if _DIRECTIVE not in item:
            plain.append(item)
            continue
        directive = item[_DIRECTIVE]
        if directive == "replace":
            replace = True
        elif directive == "delete":
            if merge_key not in item:
                raise _no_key(item, merge_key)
            live = [v for v in live if merge_key not in v or not same(v[merge_key], item[merge_key])]
        elif directive == "merge":
            raise failed("merging lists cannot yet be specified in the patch")
        else:
            raise failed(f"unknown patch type: {go_text(directive)} in map: {go_text(item)}")
    return ([], plain) if replace else (live, plain)


def _no_key(item: Json, merge_key: str) -> Exception:
    return failed(f"map: {go_text(item)} does not contain declared merge key: {merge_key}")


def _merge_items(live: list[Any], patch: list[Any], merge_key: str, node: Schema) -> list[Any]:
    at: dict[str, int] = {}
    for i, item in enumerate(live):
        if merge_key in item:
            at.setdefault(_identity(item[merge_key]), i)
    for item in patch:
        if merge_key not in item:
            raise _no_key(item, merge_key)
        identity = _identity(item[merge_key])
        found = at.get(identity)
        if found is None:
            at[identity] = len(live)
            live.append(_bare(item))
        else:
            live[found] = _merge_map(live[found], item, node)
    return live


def _identity(value: Any) -> str:
    return f"{type(value).__name__}:{value}"


def _arrange(merged: list[Any], order: list[Any], live_order: list[Any], merge_key: str) -> list[Any]:
    """`merged` with the items of `order` in that order, the others in the live list's, the two woven together."""
    rank = _ranks(order, merge_key)
    live_rank = _ranks(live_order, merge_key)
    end = len(order) + len(live_order)

    def ident(v: Any) -> str:
        return _item_identity(v, merge_key)

    def by(ranks: dict[str, int]) -> Callable[[Any], int]:
        return lambda v: ranks.get(ident(v), end)

    patched = sorted((v for v in merged if ident(v) in rank), key=by(rank))
    others = sorted((v for v in merged if ident(v) not in rank), key=by(live_rank))
    out: list[Any] = []
    i = j = 0
    while i < len(others) and j < len(patched):
        left, right = live_rank.get(ident(others[i])), live_rank.get(ident(patched[j]))
        if left is not None and right is not None and left < right:
            out.append(others[i])
            i += 1
        else:
            out.append(patched[j])
            j += 1
    return out + others[i:] + patched[j:]


def _ranks(items: list[Any], merge_key: str) -> dict[str, int]:
    ranks: dict[str, int] = {}
    for i, item in enumerate(items):
        ranks.setdefault(_item_identity(item, merge_key), i)
    return ranks


def _item_identity(item: Any, merge_key: str) -> str:
    return _identity(item.get(merge_key)) if merge_key and type(item) is dict else _identity(item)


# --- the result ----------------------------------------------------------------------------------


def _misfit(value: Any, schema: Schema) -> str:
    """Upstream's sentence for the first list or map that has become something else; "" if there is none."""
    if value is None or (not schema.type and not schema.properties):
        return ""
    if schema.type == "array" and not isinstance(value, list):
        return f"cannot restore slice from {_go_type(value)}"
    if schema.type == "object":
        if not isinstance(value, dict):
            return f"cannot restore {'struct from:' if schema.properties else 'map from'} {_go_type(value)}"
        for key, item in value.items():
            if type(item) is not str or schema.properties:
                node = schema.child(key)
                problem = _misfit(item, node) if node is not None else ""
                if problem:
                    return problem
    elif schema.type == "array":
        for item in value if schema.items is not None else ():
            problem = _misfit(item, schema.items or ANY)
            if problem:
                return problem
    else:
        return _unlike(value, schema)
    return ""


def _unlike(value: Any, schema: Schema) -> str:
    """Upstream's sentence for a number, flag or string where Go has another, which its conversion cannot make."""
    kind = {"integer": schema.format or "int64", "boolean": "bool", "string": "string"}.get(schema.type, "")
    given = _go_type(value)
    if not kind or kind == given or schema.name or (kind == "string" and (schema.format or given == "string")):
        return ""
    if kind in ("int32", "int64"):
        if given == "int64" or (given == "float64" and value == int(value)):
            return ""
        return f"cannot convert float64 to {kind}" if given == "float64" else f"unrecognized type: {kind}"
    return "cannot convert int64 to string" if (kind, given) == ("string", "int64") else f"unrecognized type: {kind}"


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "slice"
    return {str: "string", int: "int64"}.get(type(value), "float64")
