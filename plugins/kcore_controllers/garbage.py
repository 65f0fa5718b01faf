"""Garbage collection: what has lost all its owners goes; foreground and orphaning deletion of owners.

A graph of everything in the cluster is kept up to date by the events of all resources: who owns whom. Work arises
only from changes of it; an owner that the graph does not know is asked for at the API before anything is deleted.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import trio

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.controller.resources import Resources
from kcore.errors import NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import APISERVICES, CUSTOMRESOURCEDEFINITIONS, EVENTS, GVR
from kcore_controllers.ownership import Graph, Node

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
SYNC_TIMEOUT = 30.0  # seconds; a resource that is not served must not keep the others waiting
DISCOVER = 30.0  # seconds after which other servers, if there are any, are asked again what they have
ABSENT_REMEMBERED = 500  # owners known not to exist


class GarbageCollector(Reconciler):
    """Keys are uids."""

    name = "garbagecollector"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.graph = Graph()
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._foreign: dict[GVR, Callable[[], None]] = {}  # how to stop following what other servers have
        crds = self.informers.get(CUSTOMRESOURCEDEFINITIONS, outline=True)
        self.resources = Resources(crds, self.informers.get(APISERVICES))
        self._stops.append(self.resources.stop)
        self.resources.follow(self._follow, self._unfollow)

    def _follow(self, resource: GVR) -> None:
        if resource == EVENTS or not self.resources.can(resource, "list", "watch", "delete"):
            return
        informer = self.informers.get(resource)
        stop = informer.on_change(lambda old, new: self._changed(resource, old, new))
        self._stops.append(stop)
        if self.resources.is_elsewhere(resource):
            self._foreign[resource] = stop
        for uid in self.graph.waiting_for(resource.group, resource.kind):  # now it can be told whether there are any
            self.queue.add(uid)

    def _unfollow(self, resource: GVR) -> None:
        stop = self._foreign.pop(resource, None)
        if stop is not None:  # another server's objects have not gone: only nothing is heard of them any more
            stop()
            for obj in self.informers.get(resource).items():
                self.graph.remove(meta.uid(obj))
        self.informers.stop(resource)

    def _changed(self, resource: GVR, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None and (node := self.graph.remove(meta.uid(old))):
                self._remember_absent(node.uid)
                for uid in node.dependents:
                    self.queue.add(uid)
                self._wake_waiting_owners(node)
            return
        before, after = self.graph.put(resource, new)
        if before is not None and before == after:
            return
        self._absent.pop(after.uid, None)
        if after.state == FOREGROUND or after.state == ORPHAN:
            self.queue.add(after.uid)
        if before is not None and (before.deleting != after.deleting or before.owners != after.owners):
            self._wake_waiting_owners(before)  # those too that it has left: they may have waited for it alone
        if after.owners and self._owners_need_a_look(after):
            self.queue.add(after.uid)

    def _owners_need_a_look(self, node: Node) -> bool:
        for ref in node.owners:
            owner = self.graph.get(ref.uid)
            if owner is None or owner.state == FOREGROUND or not owner.may_own(node, ref):
                return True
        return False

    def _wake_waiting_owners(self, node: Node) -> None:
        for ref in node.owners:
            owner = self.graph.get(ref.uid)
            if owner is not None and owner.state == FOREGROUND:
                self.queue.add(owner.uid)

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > ABSENT_REMEMBERED:
            self._absent.popitem(last=False)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.move_on_after(SYNC_TIMEOUT):
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            for informer in self.informers:
                await informer.synced.wait()
        await super().run(task_status)

    async def background(self) -> None:
        """Other servers may come, go, and have more or less than before."""
        while True:
            await self.resources.discover(self.client)
            with trio.move_on_after(DISCOVER if self.resources.elsewhere else math.inf):
                await self.resources.changed.wait()

    # --- the work ---

    async def reconcile(self, key: str) -> float | None:
        node = self.graph.get(key)
        if node is None:
            return None
        if node.state == ORPHAN:
            await self._orphan(node)
        elif node.state == FOREGROUND:
            await self._wait_for_dependents(node)
        elif not node.deleting and node.owners:
            await self._check_owners(node)
        return None

    async def _orphan(self, node: Node) -> None:
        """Set the dependents free, then let the owner go."""
        for uid in list(node.dependents):
            dependent = self.graph.get(uid)
            if dependent is not None:
                await self._drop_references(dependent, {node.uid})
        await self._drop_finalizer(node, ORPHAN)

    async def _wait_for_dependents(self, node: Node) -> None:
        blocking = [d for d in map(self.graph.get, node.dependents) if d is not None and d.blocks(node.uid)]
        if not blocking:
            await self._drop_finalizer(node, FOREGROUND)
            return
        for uid in node.dependents:
            dependent = self.graph.get(uid)
            if dependent is not None and not dependent.deleting:
                self.queue.add(uid)

    async def _check_owners(self, node: Node) -> None:
        solid, gone, waiting = [], set(), set()
        for ref in node.owners:
            state = await self._owner_state(node, ref.uid)
            if state == "gone":
                gone.add(ref.uid)
            elif state == "waiting":
                waiting.add(ref.uid)
            else:
                solid.append(ref.uid)
        if solid:
            if gone or waiting:
                await self._drop_references(node, gone | waiting)
            return
        if waiting and node.dependents:
            dependents = (self.graph.get(uid) for uid in node.dependents)
            if any(d is not None and d.state == FOREGROUND for d in dependents):
                await self._unblock(node)  # a circle: each would wait for the other
            await self._delete(node, "Foreground")
        else:
            await self._delete(node, "Background")

    async def _owner_state(self, node: Node, uid: str) -> str:
        """solid (it exists), waiting (it is being deleted in the foreground) or gone."""
        ref = next(r for r in node.owners if r.uid == uid)
        owner = self.graph.get(uid)
        if owner is not None:
            if not owner.may_own(node, ref):
                return "gone"
            return "waiting" if owner.state == FOREGROUND else "solid"
        if uid in self._absent:
            return "gone"
        resource = self.resources.of_kind(ref.api_version, ref.kind)
        if resource is None:
            return "solid"  # of a kind that nobody serves: it cannot be told, so nothing is deleted
        try:
            found = await self.client.get(resource, ref.name, node.namespace if resource.namespaced else "")
        except NotFound:
            found = {"metadata": {}}
        if meta.uid(found) != uid:
            self._remember_absent(uid)
            return "gone"
        return "solid"

    async def _delete(self, node: Node, propagation: str) -> None:
        """Only if its owners are as known: an informer may be behind, and the object have been set free.

        Raises Conflict if it changes meanwhile.
        """
        try:
            live = await self.client.get(node.resource, node.name, node.namespace)
            references = live["metadata"].get("ownerReferences") or ()
            if meta.uid(live) != node.uid or {r["uid"] for r in references} != {r.uid for r in node.owners}:
                return  # its event is on the way, and brings it back here if there is still something to do
            await self.client.delete(
                node.resource,
                node.name,
                node.namespace,
                propagation=propagation,
                uid=node.uid,
                resource_version=meta.resource_version(live),
            )
        except NotFound:
            pass

    async def _drop_references(self, node: Node, uids: set[str]) -> None:
        try:
            obj = await self.client.get(node.resource, node.name, node.namespace)
            if meta.uid(obj) != node.uid:
                return
            kept = [r for r in obj["metadata"].get("ownerReferences") or () if r["uid"] not in uids]
            await self._patch_metadata(node, obj, {"ownerReferences": kept or None})
        except NotFound:
            pass

    async def _unblock(self, node: Node) -> None:
        """From now on no owner's deletion waits for this one."""
        try:
            obj = await self.client.get(node.resource, node.name, node.namespace)
            references = obj["metadata"].get("ownerReferences") or []
            if meta.uid(obj) == node.uid and any(r.get("blockOwnerDeletion") for r in references):
                freed = [{**r, "blockOwnerDeletion": False} for r in references]
                await self._patch_metadata(node, obj, {"ownerReferences": freed})
        except NotFound:
            pass

    async def _drop_finalizer(self, node: Node, finalizer: str) -> None:
        try:
            obj = await self.client.get(node.resource, node.name, node.namespace)
            present = obj["metadata"].get("finalizers") or []
            if meta.uid(obj) == node.uid and finalizer in present:
                kept = [f for f in present if f != finalizer]
                await self._patch_metadata(node, obj, {"finalizers": kept or None})
        except NotFound:
            pass

    async def _patch_metadata(self, node: Node, obj: Object, change: Object) -> None:
        guarded = {"uid": node.uid, "resourceVersion": meta.resource_version(obj), **change}
        await self.client.patch(node.resource, node.name, {"metadata": guarded}, node.namespace)
