"""Fields whose managers have written other versions of an object than the one that is written now.

What a manager holds is in the version that it wrote. To compare it with a change, both states of the object are
converted to that version, so a target in autoscaling/v1 and the same target in the metrics of autoscaling/v2 are
one field. (structured-merge-diff, merge/update.go.)
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from kcore.api.patch import fieldset, structured
from kcore.api.patch.fieldset import Set
from kcore.api.schema import Schema
from kcore.errors import ApiError
from kcore.objects import Object

Convert = Callable[[Object, str], "tuple[Object, Schema] | None"]
"""(object with its apiVersion, apiVersion wanted) -> that form and the schema of whole objects; None: no such one."""

Compare = Callable[[Object, Object, Schema], tuple[Set, Set]]
"""(old, new, schema) -> (added or changed, removed)."""


@attrs.define
class Changes:
    """What a write changes, as each version sees it."""

    old: Object
    new: Object
    api_version: str
    own: tuple[Set, Set]  # (added or changed, removed) in `api_version`
    compare: Compare
    convert: Convert | None = None
    _others: dict[str, tuple[Set, Set] | None] = attrs.Factory(dict)

    def seen(self, api_version: str) -> tuple[Set, Set] | None:
        """(added or changed, removed); None if there is no such version any more."""
        if api_version == self.api_version or self.convert is None:
            return self.own
        if api_version not in self._others:
            old, new = self.convert(self.old, api_version), self.convert(self.new, api_version)
            if old is None or new is None:
                self._others[api_version] = None
            else:
                self._others[api_version] = self.compare(old[0], new[0], new[1])
        return self._others[api_version]


def prune(
    merged: Object,
    schema: Schema,
    last: Set,
    last_version: str,
    owned: dict[str, Set],
    convert: Convert | None,
) -> Object:
    """`merged` without what its applier named before (`last`) and nobody holds now (`owned`, by version).

    The result is in the version of `merged`.
    """
    own_version = merged["apiVersion"]
    if convert is None:
        together: Set = {}
        for fields in owned.values():
            together = fieldset.union(together, fields)
        return structured.prune(merged, schema, last, together) or {}
    here, here_schema = merged, schema
    if last_version != own_version:
        converted = _said("failed to convert merged object to last applied version", convert, merged, last_version)
        if converted is None:
            return merged
        here, here_schema = converted
    pruned = structured.prune(here, here_schema, last, owned.get(last_version, {})) or {}
    if pruned == here:
        return merged
    for version, fields in owned.items():
        if version == last_version:
            continue
        why = f"failed add back owned items: failed to convert {{}} object at version {version}"
        before = _said(why.format("merged"), convert, here, version)
        after = _said(why.format("pruned"), convert, _typed(pruned, here), version)
        if before is not None and after is not None:
            held = structured.prune(before[0], before[1], fieldset.of_object(*before), fields) or {}
            whole = _typed(structured.merge(after[0], held, after[1]), after[0])
            back = _said(why.format("pruned"), convert, whole, last_version)
            pruned = back[0] if back is not None else pruned
    if last_version == own_version:
        return pruned
    result = convert(_typed(pruned, here), own_version)
    return result[0] if result is not None else merged


def _said(why: str, convert: Convert, obj: Object, version: str) -> tuple[Object, Schema] | None:
    """Raises ApiError that says what was being done."""
    try:
        return convert(obj, version)
    except ApiError as error:
        raise ApiError(f"failed to prune fields: {why}: {error.message}", code=error.code, reason="") from None


def _typed(obj: Object, like: Object) -> Object:
    """An object of a version keeps its type and has metadata, whoever holds them."""
    meta = obj.get("metadata") or {}
    return {**obj, "apiVersion": like["apiVersion"], "kind": like["kind"], "metadata": {**like["metadata"], **meta}}
