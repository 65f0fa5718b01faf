"""ReplicaSet and ReplicationController: so many pods of one template, at all times."""

from __future__ import annotations

from typing import Any

from kcore import clock
from kcore.controller import ControllerContext, owners, pods
from kcore.controller.base import Reconciler
from kcore.controller.expectations import Expectations
from kcore.errors import ApiError
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import GVR, PODS, REPLICASETS, REPLICATIONCONTROLLERS
from kcore.objects.selectors import Selector

BURST = 500  # pods created or deleted in one step
SPACING = 1e-5  # seconds per pod between two looks at one big set: bursts of pod events are counted once


class ReplicaSetController(Reconciler):
    """ReplicaSets; `ReplicationControllerController` differs in its resource and the form of its selector."""

    name = "replicaset"
    resource: GVR = REPLICASETS

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.expectations = Expectations()
        self.control = pods.PodControl(self.client, self.recorder, self.expectations)
        self.sets = self.watch(self.resource, self._set_changed)
        self.pods = self.watch(PODS, self._pod_changed)
        owners.index_owned(self.pods)
        self.pods.add_index("node", lambda pod: (pod["spec"].get("nodeName", ""),))
        self._selectors: dict[str, tuple[Any, Selector]] = {}

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        key = meta.key(new or old or {})
        if new is None or (old is not None and meta.uid(old) != meta.uid(new)):
            self.expectations.forget(key)
            self._selectors.pop(key, None)
        if old is not None and new is not None and _only_status(old, new):
            return
        self.queue.add(key)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        key = owners.owner_key(pod, self.resource.kind)
        if key:
            if old is None:
                self.expectations.created(key)
            if new is None or (meta.deleting(new) and not (old and meta.deleting(old))):
                self.expectations.deleted(key, meta.uid(pod))
            many = self.pods.index_size(owners.BY_CONTROLLER, meta.controller_of(pod)["uid"])  # type: ignore[index]
            self.queue.add_after(key, many * SPACING if many > 100 else 0)
        if old is not None and new is not None:
            before = owners.owner_key(old, self.resource.kind)
            if before and before != key:
                self.queue.add(before)
        if new is not None and not key and not meta.deleting(new):
            self._offer_orphan(new)

    def _offer_orphan(self, pod: Object) -> None:
        if meta.controller_of(pod) is not None:
            return
        for candidate in self.sets.by_namespace(meta.namespace(pod)):
            if self._selector(candidate).matches(meta.labels(pod)):
                self.queue.add(meta.key(candidate))

    def _selector(self, obj: Object) -> Selector:
        raw = obj["spec"].get("selector")
        key = meta.key(obj)
        known = self._selectors.get(key)
        if known is None or (known[0] is not raw and known[0] != raw):
            known = self._selectors[key] = (raw, self.parse_selector(raw))
        return known[1]

    def parse_selector(self, raw: Any) -> Selector:
        return selectors.from_object(raw)

    async def reconcile(self, key: str) -> float | None:
        obj = self.sets.get(key)
        if obj is None:
            self.expectations.forget(key)
            return None
        act = self.expectations.satisfied(key)
        mine = await owners.claim(self.client, self.pods, PODS, obj, self.resource, self._selector(obj))
        active = [p for p in mine if meta.pod_active(p)]
        failure: Exception | None = None
        if act and not meta.deleting(obj):
            try:
                await self._scale(key, obj, active)
            except (ApiError, OSError) as error:
                failure = error
        terminating = sum(1 for p in mine if meta.deleting(p) and not meta.pod_terminal(p))
        wait = await self._write_status(obj, active, terminating, failure)
        if failure is not None:
            raise failure
        return wait

    async def _scale(self, key: str, obj: Object, active: list[Object]) -> None:
        wanted = obj["spec"].get("replicas", 1)
        missing = wanted - len(active)
        if missing > 0:
            template = obj["spec"]["template"]
            count = min(missing, BURST)
            await self.control.create_many(
                key, obj, count, lambda _: pods.pod_from_template(template, obj, self.resource)
            )
        elif missing < 0:
            surplus = min(-missing, BURST)
            if surplus < len(active):
                active = pods.by_dispensability(active, self._neighbours(obj), clock.now())
            await self.control.delete_many(key, obj, active[:surplus])

    def _neighbours(self, obj: Object) -> Any:
        """How many pods of the same owner (all ReplicaSets of a Deployment) share the pod's node."""
        owner = meta.controller_of(obj)
        family = {meta.uid(obj)}
        if owner is not None:
            family |= {meta.uid(s) for s in self.sets.by_namespace(meta.namespace(obj)) if _same(s, owner)}
        counts: dict[str, int] = {}
        for uid in family:
            for pod in self.pods.indexed(owners.BY_CONTROLLER, uid):
                if meta.pod_active(pod):
                    node = pod["spec"].get("nodeName", "")
                    counts[node] = counts.get(node, 0) + 1
        return lambda pod: counts.get(pod["spec"].get("nodeName", ""), 0) if pod["spec"].get("nodeName") else 0

    async def _write_status(
        self, obj: Object, active: list[Object], terminating: int, failure: Exception | None
    ) -> float | None:
        now = clock.now()
        min_ready = obj["spec"].get("minReadySeconds", 0)
        labels = ((obj["spec"].get("template") or {}).get("metadata", {}).get("labels") or {}).items()
        ready = [p for p in active if meta.pod_ready(p)]
        counts = {
            "fullyLabeledReplicas": sum(1 for p in active if labels <= meta.labels(p).items()),
            "readyReplicas": len(ready),
            "availableReplicas": sum(1 for p in ready if pods.available(p, min_ready, now)),
        }
        old = obj.get("status") or {}
        status: Object = {"replicas": len(active)}
        if self.resource is REPLICASETS:
            status["terminatingReplicas"] = terminating
        status.update({k: v for k, v in counts.items() if v})
        status["observedGeneration"] = meta.generation(obj)
        conditions = self._conditions(old, obj, active, failure)
        if conditions:
            status["conditions"] = conditions
        wait = pods.until_available(ready, min_ready, now)
        if status != old:
            await self.client.update(self.resource, {**obj, "status": status}, subresource="status")
        return wait

    def _conditions(self, old: Object, obj: Object, active: list[Object], failure: Exception | None) -> list[Object]:
        others = [c for c in old.get("conditions") or () if c["type"] != "ReplicaFailure"]
        if failure is None:
            return others
        status: Object = {"conditions": list(old.get("conditions") or ())}
        reason = "FailedCreate" if len(active) < obj["spec"].get("replicas", 1) else "FailedDelete"
        meta.set_condition(
            status, {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": str(failure)}
        )
        return list(status["conditions"])


class ReplicationControllerController(ReplicaSetController):
    name = "replicationcontroller"
    resource = REPLICATIONCONTROLLERS

    def parse_selector(self, raw: Any) -> Selector:
        return selectors.from_map(raw)


def _only_status(old: Object, new: Object) -> bool:
    """Nothing but our own status has changed."""
    generation = meta.generation(new)
    return bool(generation) and generation == meta.generation(old) and meta.deleting(old) == meta.deleting(new)


def _same(obj: Object, owner: Object) -> bool:
    ref = meta.controller_of(obj)
    return ref is not None and bool(ref["uid"] == owner["uid"])
