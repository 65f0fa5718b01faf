"""Reads and writes of objects: the steps between a decoded request and the store.

    create:  names and metadata -> prepare -> default -> managed fields -> admit -> validate -> admit -> put(expect=0)
    update:  read -> produce -> carry over -> default -> prepare -> managed fields -> admit -> validate -> admit -> CAS

Reads come from the watch cache once it has caught up with the store. A write that loses the race for a revision starts
again from the newer object, unless the client named the version it wanted to change.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import attrs
import trio

from kcore import clock, errors
from kcore.api import layout, managing
from kcore.api.admission import Admission, AdmissionRequest
from kcore.api.admission_metrics import AdmissionMetrics
from kcore.api.admitting import Admitting
from kcore.api.atrest import sealed
from kcore.api.cache import Entry
from kcore.api.checks import metadata_causes, one_owner_each, refuse, update_causes, wrong_uid
from kcore.api.feed import Feed
from kcore.api.managing import manage
from kcore.api.options import Caller
from kcore.api.served import Served
from kcore.errors import CompareFailed
from kcore.metrics import Metrics
from kcore.objects import Object
from kcore.objects.names import random_suffix, random_uuid
from kcore.store import Store

MAX_VALUE = 1_572_864  # etcd's default request limit: a bigger object is refused there, and so it is here
RETRIES = 8

_KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "name",
    "namespace",
)


class Reservation:
    """What a write has taken for itself beside its object. The base class has taken nothing."""

    async def undo(self) -> None:
        """The write does not happen: give everything back."""

    async def done(self, obj: Object) -> None:
        """The write has happened."""


class Hooks:
    """What a resource does beside its own write: Services take addresses. The base class does nothing."""

    async def reserve(self, obj: Object, old: Object | None, dry_run: bool) -> Reservation:
        """Called before a write, with the valid object, which may be completed. Raises Invalid."""
        return _NOTHING

    async def deleted(self, obj: Object) -> None:
        """Called after the object has been removed."""

    def mark(self, obj: Object) -> bool:
        """Called with a copy of an object that a DELETE names: mark it and return True if this kind ends in a way
        of its own. It is then written, and whoever marked it removes it. False: the rules of all kinds apply.
        """
        return False


_NOTHING = Reservation()


def _whole(reservation: Reservation) -> AbstractContextManager[object]:
    """Around a write: one that has reserved something happens wholly or not at all, even if its client goes."""
    return nullcontext() if reservation is _NOTHING else trio.CancelScope(shield=True)


_NO_HOOKS = Hooks()


@attrs.frozen(slots=True)
class Written:
    """The outcome of a write: what to answer with."""

    entry: Entry
    created: bool = False
    deleted: bool = False


Produce = Callable[[Object], Object]
"""From the current object (a copy, to be changed) to the wanted one."""


Prepare = Callable[[Object, Object], None]
"""(new, old): carry over what this write may not change."""


class Storage:
    def __init__(
        self, store: Store, feed: Feed, admission: list[Admission], observed: AdmissionMetrics | None = None
    ) -> None:
        self.store, self.feed = store, feed
        self.observed = observed or AdmissionMetrics(Metrics("apiserver"))
        self.admitting = Admitting(admission, self.observed)
        self.hooks: dict[str, Hooks] = {}  # by store prefix

    # --- reading ------------------------------------------------------------------------------------------------

    async def find(self, served: Served, namespace: str, name: str) -> Entry | None:
        """The newest committed state of an object."""
        if self.feed.revision < self.store.revision:
            await self.feed.caught_up()
        found = served.cache.get(namespace, name)
        if found is None and served.cache.sealed:
            path = f"{namespace}/{name}" if namespace else name
            if path in served.cache.sealed:
                raise sealed(served.key(namespace, name), served.cache.sealed[path])
        if found is not None and served.remote:
            await served.ready([found])
        return found

    async def get(self, served: Served, namespace: str, name: str) -> Entry:
        """Raises NotFound."""
        found = await self.find(served, namespace, name)
        if found is None:
            raise errors.not_found(served.kind.plural, name, served.kind.group)
        return found

    # --- creating -----------------------------------------------------------------------------------------------

    async def create(
        self, served: Served, namespace: str, obj: Object, caller: Caller, *, managed: bool = True
    ) -> Written:
        """Store a new object; `obj` is changed. Raises AlreadyExists, Invalid, Forbidden, BadRequest.

        Without `managed` the object's managedFields are right already (server-side apply).
        """
        meta = self._new_metadata(served, namespace, obj)
        generated = not meta.get("name")
        for attempt in range(RETRIES):
            if generated:
                meta["name"] = _generate(meta.get("generateName", "")) if meta.get("generateName") else ""
            try:
                return await self._create(served, namespace, obj, caller, managed, generated)
            except errors.AlreadyExists:
                if not generated or attempt == RETRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _new_metadata(self, served: Served, namespace: str, obj: Object) -> Object:
        meta = obj.setdefault("metadata", {})
        if served.kind.namespaced:
            if meta.setdefault("namespace", namespace) not in (namespace, ""):
                raise errors.BadRequest(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            meta["namespace"] = namespace
        else:
            meta.pop("namespace", None)
        version = meta.get("resourceVersion") or ""
        if version.strip("0") and version.isdecimal():
            raise errors.ApiError("resourceVersion should not be set on objects to be created", reason="")
        for field in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            meta.pop(field, None)
        meta["uid"] = random_uuid()
        meta["creationTimestamp"] = clock.timestamp()
        return meta  # type: ignore[no-any-return]

    async def _create(
        self, served: Served, namespace: str, obj: Object, caller: Caller, managed: bool, generated: bool
    ) -> Written:
        strategy, meta = served.kind.strategy, obj["metadata"]
        strategy.prepare_create(obj)
        strategy.prepare_owner(obj, caller.user)
        strategy.default(obj)
        one_owner_each(obj, caller)
        if strategy.has_generation:
            meta["generation"] = 1
        else:
            meta.pop("generation", None)
        if managed:
            manage(None, obj, served, caller)
        asked = "" if generated else meta.get("name", "")
        request = admission_request("CREATE", served, "", namespace, asked, caller, obj)
        plugins = await self.admitting.admit(request)
        obj = request.obj  # type: ignore[assignment]  # a CREATE has an object
        if request.mutated:
            self._prepare_again(served, namespace, obj, meta)
            one_owner_each(obj, caller, late=True)
        name = request.name = obj["metadata"].get("name", "")
        refuse(served, name, metadata_causes(served, obj) + list(strategy.validate(obj)))
        reservation = await self.hooks.get(served.prefix, _NO_HOOKS).reserve(obj, None, caller.dry_run)
        try:
            self._warn(served, obj, None, caller)
            await self.admitting.validate(request, plugins)
            value = await self.encode(served, obj)
            with _whole(reservation):
                written = await self._insert(served, namespace, name, value, caller.dry_run)
        except CompareFailed:
            with trio.CancelScope(shield=True):
                await reservation.undo()
            raise await self._exists(served, namespace, obj["metadata"]) from None
        except BaseException:
            with trio.CancelScope(shield=True):
                await reservation.undo()
            raise
        if reservation is not _NOTHING:
            with trio.CancelScope(shield=True):
                await (reservation.undo() if caller.dry_run else reservation.done(obj))
        return await self.readable(served, written)

    async def _insert(self, served: Served, namespace: str, name: str, value: bytes, dry_run: bool) -> Written:
        if dry_run:
            if await self.find(served, namespace, name) is not None:
                raise CompareFailed(name, 0, 1)
            return Written(Entry.stored(namespace, name, 0, value), created=True)
        return Written(await self.put(served, namespace, name, value, 0), created=True)

    async def put(self, served: Served, namespace: str, name: str, value: bytes, expect: int) -> Entry:
        """Raises CompareFailed."""
        kv = await self.store.put(served.key(namespace, name), value, expect=expect)
        if served.kind.conversion is not None:
            served.kind.conversion.written(kv.mod_revision)
        return Entry.stored(namespace, name, kv.mod_revision, value)

    async def readable(self, served: Served, written: Written) -> Written:
        """What was written, in the form in which it can be answered with."""
        if served.remote:
            await served.ready([written.entry])
        return written

    async def _exists(self, served: Served, namespace: str, meta: Object) -> errors.AlreadyExists:
        name, refuse = meta["name"], errors.name_taken if meta.get("generateName") else errors.already_exists
        error = refuse(served.kind.plural, name, served.kind.group)
        found = await self.find(served, namespace, name)
        if found is not None and b'"deletionTimestamp":' in found.tail:
            error = errors.AlreadyExists(f"object is being deleted: {error.message}", details=error.details)
        return error

    # --- changing -----------------------------------------------------------------------------------------------

    async def update(
        self,
        served: Served,
        namespace: str,
        name: str,
        produce: Produce,
        caller: Caller,
        *,
        subresource: str = "",
        prepare: Prepare | None = None,
    ) -> Written:
        """Change an object until the change sticks. `produce` may be called several times.

        Raises NotFound, Conflict (the produced object names another resourceVersion or uid), Invalid, Forbidden.
        """
        for _ in range(RETRIES):
            entry = await self.get(served, namespace, name)
            new = produce(served.copy(entry))
            asked = new["metadata"].get("resourceVersion")
            try:
                return await self.replace(served, entry, new, caller, subresource=subresource, prepare=prepare)
            except CompareFailed:
                if asked and asked != str(entry.revision):
                    break
        raise errors.modified(served.kind.plural, name, served.kind.group)

    async def replace(
        self,
        served: Served,
        entry: Entry,
        new: Object,
        caller: Caller,
        *,
        subresource: str = "",
        prepare: Prepare | None = None,
        managed: bool = True,
    ) -> Written:
        """One attempt to put `new` in the place of `entry`. Raises CompareFailed if that is not current any more.

        `prepare(new, old)` stands in for the strategy's own where a subresource has rules of its own.
        """
        strategy = served.kind.strategy
        old = served.object(entry)
        self._carry_over(served, entry, new, old)
        strategy.default(new)
        _prepare_update(served, new, old, subresource, prepare)
        one_owner_each(new, caller, late=caller.patches)
        if managed:
            if served.remote:
                await managing.asking(old, new, served, caller, subresource)
            else:
                manage(old, new, served, caller, subresource)
        request = admission_request("UPDATE", served, subresource, entry.namespace, entry.name, caller, new, old)
        plugins = await self.admitting.admit(request)
        new = request.obj  # type: ignore[assignment]  # an UPDATE has an object
        if request.mutated:
            self._carry_over(served, entry, new, old)
            _prepare_update(served, new, old, subresource, prepare)
            one_owner_each(new, caller, late=True)
        refuse(served, entry.name, update_causes(served, new, old, subresource))
        reservation = _NOTHING
        if not subresource:
            reservation = await self.hooks.get(served.prefix, _NO_HOOKS).reserve(new, old, caller.dry_run)
        try:
            self._warn(served, new, old, caller)
            await self.admitting.validate(request, plugins)
            with _whole(reservation):
                written = await self._commit(served, entry, new, old, caller)
        except BaseException:
            with trio.CancelScope(shield=True):
                await reservation.undo()
            raise
        if reservation is not _NOTHING:
            with trio.CancelScope(shield=True):
                await (reservation.undo() if caller.dry_run else reservation.done(new))
        return await self.readable(served, written)

    def _carry_over(self, served: Served, entry: Entry, new: Object, old: Object) -> None:
        """Metadata that no client may change; the checks of resourceVersion and uid."""
        kind, meta, was = served.kind, new["metadata"], old["metadata"]
        version = meta.get("resourceVersion")
        if version and version != "0":
            if not version.isdecimal():
                raise errors.ApiError(f'strconv.ParseUint: parsing "{version}": invalid syntax', reason="")
            if version != str(entry.revision):
                raise errors.modified(kind.plural, entry.name, kind.group)
        elif not kind.strategy.allow_unconditional_update:
            cause = errors.Cause(
                "FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion"
            )
            raise errors.invalid(kind.plural, entry.name, [cause], kind.group)  # upstream has the resource here
        if meta.get("uid") and meta["uid"] != was["uid"]:
            raise wrong_uid(served, entry.namespace, entry.name, meta["uid"], was["uid"])
        for field in _KEPT:
            if field in was:
                meta[field] = was[field]
            else:
                meta.pop(field, None)
        meta["resourceVersion"] = was["resourceVersion"]
        meta.pop("selfLink", None)
        if "generateName" in was:
            meta.setdefault("generateName", was["generateName"])

    async def modify(
        self, served: Served, namespace: str, name: str, change: Callable[[Object], None], *, dry_run: bool = False
    ) -> Entry:
        """Change an object on the machinery's own account: no admission, no validation. `change` may raise."""
        for _ in range(RETRIES):
            entry = await self.get(served, namespace, name)
            obj = served.copy(entry)
            change(obj)
            if dry_run or _unchanged(obj, served.object(entry)):
                return entry
            try:
                value = await self.encode(served, obj)
                return await self.put(served, namespace, name, value, entry.revision)
            except CompareFailed:
                continue
        raise errors.modified(served.kind.plural, name, served.kind.group)

    async def _commit(self, served: Served, entry: Entry, new: Object, old: Object, caller: Caller) -> Written:
        if _unchanged(new, old) and served.settled(entry) and entry.path not in served.cache.stale:
            return Written(entry)  # no write, no event
        finished = served.finished(new)
        value = await self.encode(served, new)
        if served.kind.conversion is not None and served.lies(entry, value):
            return Written(entry)
        shown = Entry.stored(entry.namespace, entry.name, entry.revision, value)
        if caller.dry_run:
            return Written(shown, deleted=finished)
        if finished:
            await self.remove(served, entry)
            return Written(shown, deleted=True)
        return Written(await self.put(served, entry.namespace, entry.name, value, entry.revision))

    async def remove(self, served: Served, entry: Entry) -> None:
        """Take an object out of the store. Raises CompareFailed if it is not as `entry` says any more."""
        await self.store.delete(served.key(entry.namespace, entry.name), expect=entry.revision)
        hooks = self.hooks.get(served.prefix)
        if hooks is not None:
            await self.feed.caught_up()
            await hooks.deleted(served.object(entry))

    async def encode(self, served: Served, obj: Object) -> bytes:
        """The bytes to be stored. Raises ApiError for what is too large or cannot be converted."""
        conversion = served.kind.conversion
        value = served.encode(obj) if conversion is None else layout.encode(await conversion.write(obj))
        if len(value) > MAX_VALUE:
            raise errors.ApiError("etcdserver: request is too large", reason="")
        return value

    def _warn(self, served: Served, new: Object, old: Object | None, caller: Caller) -> None:
        for text in served.kind.strategy.warnings(new, old):
            caller.warn(text)

    def _prepare_again(self, served: Served, namespace: str, obj: Object, meta: Object) -> None:
        """A webhook or policy has changed a new object: what nobody may choose is put right (`meta` knows it)."""
        mine = obj["metadata"]
        if served.kind.namespaced and mine.setdefault("namespace", namespace) not in (namespace, ""):
            raise errors.BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        for field in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
            mine.pop(field, None)
        for field in ("uid", "creationTimestamp", "generation", "namespace"):
            if field in meta:
                mine[field] = meta[field]
            else:
                mine.pop(field, None)
        if not mine.get("name") and meta.get("name"):
            mine["name"] = meta["name"]
        served.kind.strategy.prepare_create(obj)
        served.kind.strategy.default(obj)


def admission_request(
    operation: str,
    served: Served,
    subresource: str,
    namespace: str,
    name: str,
    caller: Caller,
    obj: Object | None,
    old: Object | None = None,
) -> AdmissionRequest:
    """What admission is asked about a write; its warnings and annotations are the caller's."""
    return AdmissionRequest(
        operation,
        served.kind,
        subresource,
        namespace,
        name,
        caller.user,
        obj,
        old,
        caller.options,
        caller.dry_run,
        caller.warnings,
        caller.annotations,
    )


def _prepare_update(served: Served, new: Object, old: Object, subresource: str, prepare: Prepare | None) -> None:
    """Carry over what this write may not change, and count the generation."""
    strategy = served.kind.strategy
    if prepare is not None:
        prepare(new, old)
    elif subresource == "status":
        strategy.prepare_status(new, old)
    else:
        strategy.prepare_update(new, old)
    if strategy.has_generation and strategy.spec_changed(new, old):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _generate(prefix: str) -> str:
    return prefix[:58] + random_suffix()


def _unchanged(new: Object, old: Object) -> bool:
    """Nothing but the times in managedFields differs: upstream writes nothing then."""
    if len(new) != len(old):
        return False
    for key, value in new.items():
        if key != "metadata" and old.get(key) != value:
            return False
    return _timeless(new["metadata"]) == _timeless(old["metadata"])


def _timeless(meta: Object) -> Object:
    managed = [{k: v for k, v in f.items() if k != "time"} for f in meta.get("managedFields") or ()]
    return {**meta, "managedFields": managed}
