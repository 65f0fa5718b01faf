"""DELETE: preconditions, finalizers, grace, and what garbage collection is told.

A deletion has up to two steps. While finalizers hold the object, or a grace period runs, it is only *marked*:
deletionTimestamp is set and it lives on. It is removed by the write that takes its last hold away: a second
DELETE without grace, or the update that removes the last finalizer (`Storage` does that).

The propagation policy becomes a finalizer that the garbage collector acts on: ``foregroundDeletion`` (dependents
first), ``orphan`` (leave them), or neither (they are collected afterwards).
"""

from __future__ import annotations

from kcore import clock, errors
from kcore.api.cache import Entry, at_revision
from kcore.api.options import Caller, DeleteOptions
from kcore.api.served import Served
from kcore.api.storage import RETRIES, Storage, Written, admission_request
from kcore.errors import CompareFailed
from kcore.objects import Object

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


async def delete(
    storage: Storage,
    served: Served,
    namespace: str,
    name: str,
    options: DeleteOptions,
    caller: Caller,
    *,
    admitted: bool = False,
) -> Written:
    """Delete, or begin to. `Written.deleted` says whether the object is gone; its entry is what to answer with.

    `admitted`: admission has seen the request already (an eviction).
    """
    caller.dry_run = caller.dry_run or options.dry_run
    if not admitted:
        caller.options = options.as_object()
    for _ in range(RETRIES):
        entry = await storage.get(served, namespace, name)
        _check(served, entry, options)
        if not admitted:
            old = served.object(entry)
            request = admission_request("DELETE", served, "", namespace, name, caller, None, old)
            await storage.admitting.validate(request, await storage.admitting.admit(request))
        strategy = served.kind.strategy
        if strategy.orphans_by_default and strategy.orphan_warning and not options.propagation:
            caller.warn(strategy.orphan_warning)
        try:
            return await _attempt(storage, served, entry, options, caller.dry_run)
        except CompareFailed:
            if options.resource_version:
                break
    raise errors.modified(served.kind.plural, name, served.kind.group)


def _check(served: Served, entry: Entry, options: DeleteOptions) -> None:
    kind = served.kind
    if options.uid is not None:
        uid = served.object(entry)["metadata"].get("uid", "")
        if uid != options.uid:
            raise errors.conflict(
                kind.kind,
                entry.name,
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid}). "
                "The object might have been deleted and then recreated",
                kind.group,
            )
    if options.resource_version is not None and options.resource_version != str(entry.revision):
        raise errors.conflict(
            kind.kind,
            entry.name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({entry.revision}). The object might have been modified",
            kind.group,
        )


async def _attempt(storage: Storage, served: Served, entry: Entry, options: DeleteOptions, dry_run: bool) -> Written:
    if "finalize" in served.kind.subresources:
        marked = _mark_namespace(served.copy(entry))
    else:
        obj, hooks = served.copy(entry), storage.hooks.get(served.prefix)
        marked = (obj, False) if hooks is not None and hooks.mark(obj) else mark(served, obj, options)
    if marked is None:
        return Written(entry)  # it is ending already, and this DELETE is no more impatient
    changed, gone = marked
    if changed is not None:
        value = await storage.encode(served, changed)
        if dry_run:
            shown = Entry.stored(entry.namespace, entry.name, entry.revision, value)
            return await storage.readable(served, Written(shown, deleted=gone))
        entry = await storage.put(served, entry.namespace, entry.name, value, entry.revision)
    if not gone:
        return await storage.readable(served, Written(entry))
    if not dry_run:
        await storage.remove(served, entry)
        entry = at_revision(entry, storage.store.revision)
    return await storage.readable(served, Written(entry, deleted=True))


async def expunge(storage: Storage, served: Served, namespace: str, name: str) -> None:
    """Delete an object because its kind goes: nobody is asked, its finalizers are still waited for."""
    while True:
        entry = await storage.find(served, namespace, name)
        if entry is None:
            return
        try:
            await _attempt(storage, served, entry, DeleteOptions(), False)
        except CompareFailed:
            continue
        return


def mark(served: Served, obj: Object, options: DeleteOptions) -> tuple[Object | None, bool] | None:
    """What a DELETE does to an object: (the object to write first, or None; whether it is then removed).

    None: nothing at all, a graceful deletion is already under way.
    """
    strategy, meta = served.kind.strategy, obj["metadata"]
    graceful = False
    period = 0
    if meta.get("deletionTimestamp"):
        left = meta.get("deletionGracePeriodSeconds")
        if strategy.graceful_seconds is not None and left is not None:
            if options.grace is None or options.grace >= left:
                return None
            graceful, period = True, options.grace
            began = clock.parse(meta["deletionTimestamp"]) - left
            meta["deletionTimestamp"] = clock.timestamp(began + period)
            meta["deletionGracePeriodSeconds"] = period
    else:
        asked = strategy.grace_period(obj, options.grace)
        if asked is not None:
            graceful, period = True, asked
            _begin(meta, period)
    finalizers = _finalizers(served, meta, options)
    changed = graceful or finalizers != (meta.get("finalizers") or [])
    if finalizers:
        meta["finalizers"] = finalizers
        if not graceful and not (meta.get("deletionTimestamp") and meta.get("deletionGracePeriodSeconds") == 0):
            changed = True
            if not meta.get("deletionTimestamp"):
                _begin(meta, 0)
            meta["deletionGracePeriodSeconds"] = 0
        return (obj if changed else None), False
    meta.pop("finalizers", None)
    if graceful:
        return obj, period == 0
    return None, True


def _begin(meta: Object, period: int) -> None:
    meta["deletionTimestamp"] = clock.timestamp(clock.now() + period)
    meta["deletionGracePeriodSeconds"] = period
    if meta.get("generation"):
        meta["generation"] += 1


def _finalizers(served: Served, meta: Object, options: DeleteOptions) -> list[str]:
    """The finalizers after this DELETE: the policy asked for replaces the garbage collector's own."""
    old = list(meta.get("finalizers") or ())
    policy = options.propagation
    if not policy:
        if ORPHAN in old:
            policy = "Orphan"
        elif FOREGROUND in old:
            policy = "Foreground"
        elif served.kind.strategy.orphans_by_default:
            policy = "Orphan"
    kept = [f for f in old if f not in (ORPHAN, FOREGROUND)]
    if policy == "Orphan":
        return [*kept, ORPHAN]
    if policy == "Foreground":
        return [*kept, FOREGROUND]
    return kept


def _mark_namespace(obj: Object) -> tuple[Object | None, bool] | None:
    """Namespaces go through a phase of their own: their spec's finalizers hold them, and there is no grace."""
    meta = obj["metadata"]
    held = bool((obj.get("spec") or {}).get("finalizers") or meta.get("finalizers"))
    if not held:
        return None, True
    if meta.get("deletionTimestamp"):
        return None
    meta["deletionTimestamp"] = clock.timestamp()
    obj.setdefault("status", {})["phase"] = "Terminating"
    return obj, False
