"""Server-side apply, and keeping track of who has set which fields.

`apply` merges what a manager wants into the live object: fields of others that it would change are conflicts (unless
forced), fields that it held before and does not name any more go away if nobody else holds them.
`update_managed_fields` does the bookkeeping for all other writes. Both work on the object before admission and after
defaulting, as upstream does, so that defaults belong to whoever created the object and what admission adds belongs
to nobody. https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from kcore.api import typed
from kcore.api.codec import json
from kcore.api.patch import fieldset, managers, structured
from kcore.api.patch.fieldset import Set
from kcore.api.patch.managers import Entry, Manager, Managers
from kcore.api.patch.versions import Changes, Convert, prune
from kcore.api.schema import Schema
from kcore.errors import ApiError, BadRequest, Conflict
from kcore.objects import Object
from kcore.objects.remembered import Remembered

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"  # the only manager that takes over from client-side apply
_BEFORE = "before-first-apply"
_ANNOTATIONS_SIZE = 256 * 1024
_UNTRACKED = frozenset(managers.UNTRACKED)
_new = Remembered(512)


# --- every write but apply -----------------------------------------------------------------------


def update_managed_fields(
    old: Object | None,
    new: Object,
    schema: Schema,
    *,
    manager: str,
    api_version: str,
    time: str,
    subresource: str = "",
    reset: tuple[str, ...] | None = None,
    convert: Convert | None = None,
) -> None:
    """Set ``new.metadata.managedFields`` to what it is after `manager` turned `old` (None: nothing) into `new`.

    `reset` names the top-level members that this endpoint does not write; None takes the usual ones of built-in kinds:
    status of the object itself, everything but metadata and status of /status. `convert` reaches the versions that
    other managers have written. An object whose managers were
    wiped, or that never had any, is not tracked again before its first apply.
    """
    meta = new["metadata"]
    known = _live_or_new(old, meta, subresource)
    if old is not None and not known:
        meta.pop("managedFields", None)
        return
    ignored = _ignored(schema, subresource) if reset is None else reset
    changed, removed = _all(new, schema, ignored) if old is None else _changes(old, new, schema, ignored)
    if not changed and not removed:
        _keep(meta, known)
        return
    me = managers.updater(manager or "unknown", api_version, subresource)
    mine = known.get(me)
    own = mine.fields if mine is not None else {}
    compare = partial(_changes, ignored=ignored)
    _subtract(known, Changes(old or {}, new, api_version, (changed, removed), compare, convert if old else None))
    if removed:
        own = fieldset.difference(own, removed)
    own = fieldset.union(own, changed)
    if own:
        known[me] = Entry(own, api_version, time if changed or mine is None else mine.time)
    managers.cap(known)
    _keep(meta, known)


def _live_or_new(old: Object | None, meta: dict[str, Any], subresource: str) -> Managers:
    """The managers to go on from: those the client sent, unless none or nonsense; ``[]`` and ``[{}]`` wipe them."""
    live = old["metadata"].get("managedFields") if old is not None else None
    given = meta.get("managedFields")
    if given is not None and not subresource:
        if given in ([], [{}]):
            return {}
        decoded = managers.decode(given)
        if decoded and (given == live or all(fieldset.wellformed(entry.fields) for entry in decoded.values())):
            return decoded
    return managers.decode(live) or {}


def _keep(meta: dict[str, Any], known: Managers) -> None:
    if known:
        meta["managedFields"] = managers.encode(known)
    else:
        meta.pop("managedFields", None)


def _ignored(schema: Schema, subresource: str) -> tuple[str, ...]:
    if not schema.name or "status" not in schema.properties:
        return ()
    if subresource == "status":
        return tuple(k for k in schema.properties if k not in ("status", "metadata"))
    return ("status",) if not subresource else ()


def _changes(old: Object, new: Object, schema: Schema, ignored: tuple[str, ...]) -> tuple[Set, Set]:
    """(added or changed, removed), of what is tracked."""
    skip = ("apiVersion", "kind", "metadata", *ignored)
    changed, removed = fieldset.compare(
        {k: v for k, v in old.items() if k not in skip}, {k: v for k, v in new.items() if k not in skip}, schema
    )
    _metadata_changes(old, new, schema, changed, removed)
    return changed, removed


def _all(new: Object, schema: Schema, ignored: tuple[str, ...]) -> tuple[Set, Set]:
    """The same of a new object."""
    skip = ("apiVersion", "kind", "metadata", *ignored)
    body = {k: v for k, v in new.items() if k not in skip}
    empty = typed.empty(schema)

    def find() -> tuple[Set, Set]:
        return fieldset.compare({k: v for k, v in empty.items() if k not in skip}, body, schema)

    # schemas of definitions come and go, and are not to be held on to
    changed, removed = _new.of(body, find, (schema, ignored)) if schema.name else find()
    _metadata_changes(empty, new, schema, changed, removed)
    return changed, removed


def _metadata_changes(old: Object, new: Object, schema: Schema, changed: Set, removed: Set) -> None:
    before = {k: v for k, v in (old.get("metadata") or {}).items() if k not in _UNTRACKED}
    after = {k: v for k, v in (new.get("metadata") or {}).items() if k not in _UNTRACKED}
    if before != after:
        more, less = fieldset.compare(before, after, whole_schema(schema).properties["metadata"])
        if more:
            changed["f:metadata"] = more
        if less:
            removed["f:metadata"] = less


def _subtract(known: Managers, changes: Changes) -> None:
    """Take what changes away from all managers; those left with nothing, or of a version that is gone, are gone."""
    for who in list(known):
        entry = known[who]
        seen = changes.seen(entry.api_version)
        left = entry.fields
        for fields in seen or ():
            left = fieldset.difference(left, fields) if fields else left
        if not left or seen is None:
            del known[who]
        elif left is not entry.fields:
            known[who] = Entry(left, entry.api_version, entry.time)


# --- apply ---------------------------------------------------------------------------------------


def apply(
    live: Object | None,
    applied: Object,
    schema: Schema,
    *,
    manager: str,
    api_version: str,
    time: str,
    force: bool,
    subresource: str = "",
    reset: tuple[str, ...] | None = None,
    convert: Convert | None = None,
) -> Object:
    """The object after `manager` applied `applied` to `live` (None: it does not exist). Changes neither.

    Raises Conflict with a cause for each field that another manager holds and that would change, BadRequest for what
    cannot be applied. The result is neither defaulted nor in canonical form yet. `reset`, `convert`: see
    `update_managed_fields`.
    """
    _check(applied, schema, api_version)
    tracked = whole_schema(schema)
    ignored = _ignored(schema, subresource) if reset is None else reset
    base = live if live is not None else typed.empty(schema)
    known = managers.decode((live or {}).get("metadata", {}).get("managedFields")) or {}
    if live is not None and not known:
        _claim(live, schema, known, api_version, time, subresource)
    me = managers.applier(manager or "unknown", subresource)
    mine = known.get(me)
    wanted = {k: v for k, v in applied.items() if k not in ignored}
    owned = fieldset.of_object(wanted, tracked)
    fields = managers.strip(owned)
    merged = structured.merge(base, wanted, tracked)
    if mine is not None:
        held = {api_version: owned}
        for who, entry in known.items():
            if who != me:
                held[entry.api_version] = fieldset.union(held.get(entry.api_version, {}), entry.fields)
        alike = held.keys() | {mine.api_version} == {api_version}
        merged = prune(merged, tracked, mine.fields, mine.api_version, held, None if alike else convert)
    changed, removed = _changes(base, merged, schema, ())
    compare = partial(_changes, ignored=())
    changes = Changes(base, merged, api_version, (changed, removed), compare, convert if live is not None else None)
    others = {who: entry for who, entry in known.items() if who != me}
    if not force and (changed or removed):
        _raise_conflicts(others, changes, live, schema, manager)
    _subtract(others, changes)
    if fields:
        stamp = time if changed or removed else mine.time if mine is not None else ""
        others[me] = Entry(fields, api_version, stamp)
    out: Object = {**merged, "apiVersion": applied["apiVersion"], "kind": applied["kind"]}
    meta = out["metadata"] = dict(out.get("metadata") or {})
    _sync_last_applied(meta, applied, manager)
    _keep(meta, others)
    return out


def _check(applied: Object, schema: Schema, api_version: str) -> None:
    given, kind = applied.get("apiVersion") or "", applied.get("kind") or ""
    if given != api_version or not kind:
        group, _, version = given.rpartition("/")
        raise BadRequest(f"invalid object type: {group}/{version}, Kind={kind}")
    meta = applied.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    try:
        structured.check_applied(applied, whole_schema(schema))
    except ApiError as e:
        group, _, version = given.rpartition("/")
        name = meta if isinstance(meta, dict) else {}
        where = f"{name.get('namespace', '')}/{name.get('name', '')}; {group}/{version}, Kind={kind}"
        raise ApiError(f"failed to create typed patch object ({where}): {e.message}", code=500, reason="") from None


_whole: WeakKeyDictionary[Schema, Schema] = WeakKeyDictionary()  # custom resources come and go


def whole_schema(schema: Schema) -> Schema:
    """The schema of whole objects: a CRD's own need not mention type and metadata."""
    own = schema.properties.get("metadata")
    if own is not None and own.name and "kind" in schema.properties:
        return schema
    whole = _whole.get(schema)
    if whole is None:
        text = Schema(type="string")
        extra = {"apiVersion": text, "kind": text, "metadata": structured.METADATA}
        whole = Schema(
            type="object",
            properties={**schema.properties, **extra},
            values=schema.values,
            preserve_unknown=schema.preserve_unknown,
        )
        _whole[schema] = whole
    return whole


def _claim(live: Object, schema: Schema, known: Managers, version: str, time: str, subresource: str) -> None:
    """Give all fields of an object that nobody holds to a manager of their own, so that applying meets conflicts."""
    changed, _ = _changes(typed.empty(schema), live, schema, ())
    if changed:
        known[managers.updater(_BEFORE, version, subresource)] = Entry(changed, version, time)


def _raise_conflicts(others: Managers, changes: Changes, live: Object | None, schema: Schema, manager: str) -> None:
    """Raise Conflict if fields of others would change, unless taken over from client-side apply."""
    found = {}
    for who, entry in others.items():
        seen = changes.seen(entry.api_version)
        fields = fieldset.intersection(entry.fields, seen[0]) if seen is not None else {}
        if fields:
            found[who] = fields
    if found and manager == _KUBECTL and live is not None:
        allowed = _from_last_applied(live, schema)
        found = {who: left for who, fields in found.items() if (left := fieldset.difference(fields, allowed))}
    if found:
        raise _conflict(found)


def _conflict(found: dict[Manager, Set]) -> Conflict:
    ordered = sorted(found, key=lambda who: (who.name, who.operation, who.subresource, who.api_version))
    texts = {who: [fieldset.path_text(p) for p in fieldset.paths(found[who])] for who in ordered}
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who.text()}", "field": path}
        for who in ordered
        for path in texts[who]
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = [
            line
            for who in ordered
            for line in (f"conflicts with {who.text()}:", *(f"- {path}" for path in texts[who]))
        ]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return Conflict(message, details={"causes": causes})


# --- taking over from client-side apply ----------------------------------------------------------


def _from_last_applied(live: Object, schema: Schema) -> Set:
    """The fields that client-side apply has set and that still have the value it gave them."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if not text:
        return {}
    try:
        last = json.loads(text.encode())
    except ValueError:
        return {}
    if not isinstance(last, dict):
        return {}
    changed, removed = _changes(last, live, schema, ())
    fields = fieldset.of_object(last, whole_schema(schema))
    return fieldset.difference(fieldset.difference(fields, changed), removed)


def _sync_last_applied(meta: dict[str, Any], applied: Object, manager: str) -> None:
    """Keep client-side apply's record true when kubectl applies on the server."""
    notes = meta.get("annotations") or {}
    if manager != _KUBECTL or LAST_APPLIED not in notes:
        return
    record = {**applied, "metadata": dict(applied.get("metadata") or {})}
    own = {k: v for k, v in (record["metadata"].get("annotations") or {}).items() if k != LAST_APPLIED}
    record["metadata"].pop("annotations", None)
    if own:
        record["metadata"]["annotations"] = own
    text = json.encode(record).decode() + "\n"
    if sum(len(k) + len(v) for k, v in notes.items()) - len(notes[LAST_APPLIED]) + len(text) <= _ANNOTATIONS_SIZE:
        meta["annotations"] = {**notes, LAST_APPLIED: text}
