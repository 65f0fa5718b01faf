"""Following the definitions: names, conditions, kinds, and the end of them.

One task reads the changes of all definitions in their order and brings the server's table of kinds up to date before
it says so in a definition's status: what is Established is served already. A definition that is deleted gets a task
of its own, which deletes its objects and lets it go when the last of them is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore import clock, errors
from kcore.api import deletion, layout
from kcore.api.cache import Cache, Entry
from kcore.api.patch import apply
from kcore.api.server import ApiServer
from kcore.api.storage import Hooks
from kcore.errors import CompareFailed
from kcore_custom_resources import definitions, naming
from kcore_custom_resources.definitions import Definition, Names

if TYPE_CHECKING:
    from kcore_custom_resources.conversion import Lineage
    from kcore_custom_resources.declare import Declared

Object = dict[str, Any]
GROUP, VERSION, PLURAL = "apiextensions.k8s.io", "v1", "customresourcedefinitions"
MANAGER = "kube-apiserver"
_MARKED = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"


@attrs.define(eq=False)
class _Known:
    """What is remembered of a definition."""

    group: str
    spec: bytes = b""  # a digest
    uid: str = ""
    accepted: Names = attrs.Factory(Names)
    terminating: bool = False
    lineage: Lineage | None = None
    declared: Declared | None = None
    ending: bool = False  # a task is deleting its objects


class CustomResources(Hooks):
    def __init__(self, server: ApiServer, log: logging.Logger) -> None:
        kind = server.kinds.get(GROUP, VERSION, PLURAL)
        if kind is None:
            raise ValueError(f"the API does not serve {PLURAL}.{GROUP}: custom resources need it")
        self._server, self._log = server, log
        self._kind = kind
        self._prefix = layout.prefix(kind)
        self._known: dict[str, _Known] = {}
        self._nursery: trio.Nursery

    @property
    def _cache(self) -> Cache:
        return self._server.feed.cache(self._prefix)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started when the kinds of all definitions that are there are served."""
        self._server.storage.hooks[self._prefix] = self
        try:
            async with trio.open_nursery() as self._nursery:
                started = False
                while True:
                    watcher = self._cache.watch()
                    try:
                        await self._all()
                        if not started:
                            task_status.started()
                            started = True
                        while not (watcher.closed or watcher.ended):
                            for name in {change.entry.name: None for change in await watcher.next()}:
                                await self._one(name)
                        if watcher.ended:
                            await trio.sleep_forever()
                    finally:
                        watcher.close()
        finally:
            self._server.storage.hooks.pop(self._prefix, None)

    async def _all(self) -> None:
        """Every definition there is, and those that have gone meanwhile. The oldest first: they have their names."""
        entries = sorted(self._cache.entries.values(), key=lambda entry: entry.revision)
        for name in [*(e.name for e in entries), *self._known]:
            await self._one(name)

    async def _one(self, name: str) -> None:
        """Bring everything in line with a definition's present state."""
        entry = self._cache.get("", name)
        if entry is None:
            await self._gone(name)
            return
        try:
            await self._follow(entry)
        except CompareFailed:
            pass  # it has changed again: that change is on its way here
        except Exception:  # one definition must not keep the others from being followed
            self._log.exception("custom resource definition %s", name)

    async def _follow(self, entry: Entry) -> None:
        definition = definitions.read(entry.tail)
        name, uid = entry.name, definition.metadata.uid
        known = self._known.get(name)
        if known is not None and known.uid != uid:
            await self._gone(name)
            known = None
        if known is None:
            known = self._known[name] = _Known(definition.spec.group, uid=uid)
        if definition.metadata.deletion_timestamp and definition.holds(naming.TERMINATING):
            self._declare(entry, definition, known)
            if not known.ending and naming.FINALIZER in (definition.metadata.finalizers or ()):
                known.ending = True
                self._nursery.start_soon(self._end, name, uid)
            return
        if await self._name(entry, definition):
            return  # the change of its status comes back here
        self._declare(entry, definition, known)
        if definition.holds(naming.ACCEPTED) and not definition.holds(naming.ESTABLISHED):
            await self._write(entry, _establish)

    # --- names and conditions -----------------------------------------------------------------------------------

    async def _name(self, entry: Entry, definition: Definition) -> bool:
        """Write what has changed of a definition's accepted names and conditions; whether anything has."""
        group = definition.spec.group
        others = [k.accepted for n, k in self._known.items() if k.group == group and n != entry.name]
        names, verdict = naming.judge(definition, others)
        self._known[entry.name].accepted = names
        approval = naming.approval(definition)
        found = definition.condition(naming.ACCEPTED)
        policy = definition.condition(naming.CONFORMANT)
        same = found is not None and (found.status, found.reason, found.message) == verdict
        same = same and definition.status.accepted_names == names
        same = same and definition.condition(naming.NON_STRUCTURAL) is None
        same = same and (None if policy is None else (policy.status, policy.reason, policy.message)) == approval
        if same:
            return False

        def change(obj: Object) -> None:
            obj["status"]["acceptedNames"] = naming.names_object(names)
            naming.set_condition(obj, naming.ACCEPTED, *verdict)
            naming.drop_condition(obj, naming.NON_STRUCTURAL)
            if not definition.holds(naming.ESTABLISHED):
                reason = ("Installing", "the initial names have been accepted")
                if verdict[0] != "True":
                    reason = ("NotAccepted", "not all names are accepted")
                naming.set_condition(obj, naming.ESTABLISHED, "False", *reason)
            if approval is None:
                naming.drop_condition(obj, naming.CONFORMANT)
            else:
                naming.set_condition(obj, naming.CONFORMANT, *approval)

        await self._write(entry, change)
        return True

    async def _write(self, entry: Entry, change: Callable[[Object], None]) -> Entry | None:
        """Change a definition's status; None if it is gone with that. Raises CompareFailed.

        Nothing of the decoded object is kept: with its schemas it takes megabytes.
        """
        served = self._server.table.of(self._kind)
        old = entry.copy(served.head)
        new = {**old, "metadata": {**old["metadata"]}, "status": {**old.get("status", {})}}
        change(new)
        apply.update_managed_fields(
            old,
            new,
            self._kind.schema,
            manager=MANAGER,
            api_version=self._kind.api_version,
            time=clock.timestamp(),
            subresource="status",
        )
        storage = self._server.storage
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            await storage.remove(served, entry)
            return None
        value = await storage.encode(served, new)
        return await storage.put(served, "", entry.name, value, entry.revision)

    # --- kinds --------------------------------------------------------------------------------------------------

    def _declare(self, entry: Entry, definition: Definition, known: _Known) -> None:
        """Serve what a definition says, once its names are its own."""
        if not (definition.holds(naming.ACCEPTED) or definition.holds(naming.ESTABLISHED)):
            return
        terminating = definition.holds(naming.TERMINATING)
        spec = naming.digest(definitions.spec_bytes(entry.tail))
        names = definition.status.accepted_names
        if known.declared is not None and (known.spec, known.accepted, known.terminating) == (
            spec,
            names,
            terminating,
        ):
            return
        # a cluster without definitions needs nothing of all this
        from kcore_custom_resources.conversion import Lineage
        from kcore_custom_resources.declare import declare

        lineage = known.lineage = known.lineage or Lineage()
        if known.spec != spec:
            lineage.settled = max(lineage.settled, entry.revision)
        known.spec, known.accepted, known.terminating = spec, names, terminating
        declared = declare(
            definition, lineage, lambda version: self._schema(entry.name, version), self._server.webhooks
        )
        lineage.current = declared.declaration
        self._install(known.declared, declared)
        known.declared = declared

    def _install(self, old: Declared | None, new: Declared | None) -> None:
        table = self._server.kinds
        before = {k.version: k for k in old.kinds} if old is not None else {}
        after = {k.version: k for k in new.kinds} if new is not None else {}
        for version, kind in before.items():
            if version not in after and table.get(kind.group, kind.version, kind.plural) is kind:
                table.remove(kind)
        for kind in after.values():
            present = table.get(kind.group, kind.version, kind.plural)
            if present is None or present.conversion is not None:  # what is built in stays what it is
                table.add(kind)
        if old is not None:
            self._server.feed.cache(layout.prefix(old.storage)).renew()

    def _schema(self, name: str, version: str) -> bytes:
        entry = self._cache.get("", name)
        if entry is None:
            return b""
        for declared in definitions.read(entry.tail).spec.versions:
            if declared.name == version and declared.schema is not None:
                return bytes(declared.schema.doc)
        return b""

    # --- the end ------------------------------------------------------------------------------------------------

    def mark(self, obj: Object) -> bool:
        """A definition's first DELETE: its objects go before it does."""
        meta = obj["metadata"]
        if not meta.get("deletionTimestamp"):
            meta["deletionTimestamp"] = clock.timestamp()
            if naming.FINALIZER not in (meta.get("finalizers") or ()):
                meta["finalizers"] = [*(meta.get("finalizers") or ()), naming.FINALIZER]
            naming.set_condition(obj, naming.TERMINATING, "True", "InstanceDeletionPending", _MARKED)
        return True

    async def _end(self, name: str, uid: str) -> None:
        """Delete everything of a kind, then let its definition go."""
        try:
            progress = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
            if not await self._tell(name, uid, lambda obj: naming.set_condition(obj, naming.TERMINATING, *progress)):
                return
            declared = self._known[name].declared
            outcome = ("False", "NeverEstablished", "resource was never established")
            if declared is not None:
                await self._empty(declared)
                outcome = ("False", "InstanceDeletionCompleted", "removed all instances")

            def let_go(obj: Object) -> None:
                naming.set_condition(obj, naming.TERMINATING, *outcome)
                meta = obj["metadata"]
                meta["finalizers"] = [f for f in meta.get("finalizers") or () if f != naming.FINALIZER]

            await self._tell(name, uid, let_go)
        except errors.ApiError:
            self._log.exception("cannot delete all objects of %s", name)
            await trio.sleep(1.0)
        finally:
            known = self._known.get(name)
            if known is not None:
                known.ending = False

    async def _tell(self, name: str, uid: str, change: Callable[[Object], None]) -> bool:
        """Write a definition's status until that succeeds; False if it is not there any more."""
        feed = self._server.feed
        while True:
            await feed.caught_up()
            entry = self._cache.get("", name)
            if entry is None or definitions.read(entry.tail).metadata.uid != uid:
                return False
            try:
                await self._write(entry, change)
            except CompareFailed:
                continue
            return True

    async def _empty(self, declared: Declared) -> None:
        """Delete all objects, and wait until their finalizers let the last of them go."""
        served = self._server.table.of(declared.storage)
        cache = served.cache
        watcher = cache.watch()
        try:
            await self._server.feed.caught_up()
            for entry in list(cache.entries.values()):
                await deletion.expunge(self._server.storage, served, entry.namespace, entry.name)
            await self._server.feed.caught_up()
            while cache.entries and not watcher.closed and not watcher.ended:
                await watcher.next()
        finally:
            watcher.close()

    async def _gone(self, name: str) -> None:
        """A definition is not there any more: neither are its kinds, and others may have its names."""
        known = self._known.pop(name, None)
        if known is None:
            return
        if known.declared is not None:
            self._install(known.declared, None)
            self._server.feed.forget(layout.prefix(known.declared.storage))
        for other in [n for n, k in self._known.items() if k.group == known.group]:
            await self._one(other)


def _establish(obj: Object) -> None:
    naming.set_condition(
        obj, naming.ESTABLISHED, "True", "InitialNamesAccepted", "the initial names have been accepted"
    )
