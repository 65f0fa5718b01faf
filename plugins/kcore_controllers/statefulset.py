"""StatefulSets: pods with lasting names and volumes, created, updated and deleted in order."""

from __future__ import annotations

from kcore import clock
from kcore.controller import ControllerContext, owners, pods, revisions
from kcore.controller.base import Reconciler
from kcore.errors import AlreadyExists, ApiError
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from kcore_controllers import statefulset_pods as identity
from kcore_controllers.deployment_sets import scaled_value
from kcore_controllers.statefulset_claims import Claims


class StatefulSetController(Reconciler):
    name = "statefulset"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.sets = self.watch(STATEFULSETS, self.enqueue)
        self.pods = self.watch(PODS, self._pod_changed)
        self.revisions = self.watch(CONTROLLERREVISIONS)
        self.claims = Claims(self.client, self.watch(PERSISTENTVOLUMECLAIMS), self.recorder)
        owners.index_owned(self.pods)
        owners.index_owned(self.revisions)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        if key := owners.owner_key(pod, "StatefulSet"):
            self.queue.add(key)
        elif new is not None and meta.controller_of(new) is None and identity.parent_name(new):
            self.queue.add(f"{meta.namespace(new)}/{identity.parent_name(new)}")

    async def reconcile(self, key: str) -> float | None:
        s = self.sets.get(key)
        if s is None:
            return None
        selector = selectors.from_object(s["spec"]["selector"])
        known = await revisions.history(self.client, self.revisions, s, STATEFULSETS, selector)
        mine = await owners.claim(self.client, self.pods, PODS, s, STATEFULSETS, selector)
        mine = [p for p in mine if identity.ordinal(p, s) >= 0]
        collisions = (s.get("status") or {}).get("collisionCount", 0)
        update, collisions_now = await revisions.current(
            self.client, s, STATEFULSETS, known, collisions, label=revisions.STATEFUL_LABEL
        )
        by_name = {meta.name(r): r for r in known}
        present = by_name.get((s.get("status") or {}).get("currentRevision", ""), update)
        failure: Exception | None = None
        if not meta.deleting(s):
            await self.claims.keep_policy(s, mine)
            try:
                mine = await _Step(self, s, mine, present, update).take()
            except (ApiError, OSError) as error:
                failure = error
        wait = await self._write_status(s, mine, present, update, collisions_now or 0)
        live = {meta.labels(p).get(revisions.HASH_LABEL, "") for p in mine} | {meta.name(present), meta.name(update)}
        await revisions.truncate(self.client, known, live, s["spec"].get("revisionHistoryLimit", 10))
        if failure is not None:
            raise failure
        return wait

    async def _write_status(
        self, s: Object, mine: list[Object], present: Object, update: Object, collisions: int
    ) -> float | None:
        now, min_ready = clock.now(), s["spec"].get("minReadySeconds", 0)
        wanted = range(identity.start(s), identity.start(s) + identity.replicas(s))
        live = [p for p in mine if not meta.deleting(p)]
        ready = [p for p in mine if _running_ready(p)]
        of_present = [p for p in live if identity.revision(p) == meta.name(present)]
        of_update = [p for p in live if identity.revision(p) == meta.name(update)]
        status: Object = {
            "observedGeneration": meta.generation(s),
            "replicas": len(mine),
            "readyReplicas": len(ready),
            "availableReplicas": sum(1 for p in ready if pods.available(p, min_ready, now)),
            "currentReplicas": len(of_present),
            "updatedReplicas": len(of_update),
            "currentRevision": meta.name(present),
            "updateRevision": meta.name(update),
            "collisionCount": collisions,
        }
        rolling = (s["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
        done = len(of_update) == len(wanted) == len(mine) == status["readyReplicas"]
        if rolling and done:
            status["currentRevision"] = meta.name(update)
            status["currentReplicas"] = status["updatedReplicas"]
        zero = {k for k, v in status.items() if not v} & {"readyReplicas", "currentReplicas", "updatedReplicas"}
        status = {k: v for k, v in status.items() if k not in zero}
        if conditions := (s.get("status") or {}).get("conditions"):
            status["conditions"] = conditions
        if status != (s.get("status") or {}):
            await self.client.update(STATEFULSETS, {**s, "status": status}, subresource="status")
        return pods.until_available(ready, min_ready, now)


class _Step:
    """One step towards the wanted pods of one set."""

    def __init__(self, c: StatefulSetController, s: Object, mine: list[Object], present: Object, update: Object):
        self.c, self.s, self.present, self.update = c, s, present, update
        self.by_ordinal = {identity.ordinal(p, s): p for p in mine}
        self.parallel = s["spec"].get("podManagementPolicy", "OrderedReady") == "Parallel"
        first = identity.start(s)
        self.wanted = range(first, first + identity.replicas(s))

    async def take(self) -> list[Object]:
        """Returns the pods as they are then."""
        if await self._fill() and await self._shrink():
            await self._roll()
        return list(self.by_ordinal.values())

    def _available(self, pod: Object) -> bool:
        return _running_ready(pod) and pods.available(pod, self.s["spec"].get("minReadySeconds", 0), clock.now())

    async def _fill(self) -> bool:
        """Every ordinal has its pod, in order. False: wait for one to become available first."""
        complete = True
        for ordinal in self.wanted:
            pod = self.by_ordinal.get(ordinal)
            if pod is not None and meta.pod_terminal(pod) and not meta.deleting(pod):
                await self._delete(pod, "RecreatingFailedPod", "Warning")
                return False  # it is made anew when it is gone
            if pod is None:
                await self._create(ordinal)
                complete = False
            elif meta.deleting(pod) or not self._available(pod):
                complete = False
            if not complete and not self.parallel:
                return False
        return complete or self.parallel

    async def _create(self, ordinal: int) -> None:
        pod = identity.pod_for(self.s, ordinal, self._revision_for(ordinal))
        await self.c.claims.create(self.s, ordinal)
        try:
            created = await self.c.client.create(PODS, pod, meta.namespace(self.s))
        except AlreadyExists:
            return  # not seen yet, or somebody else's: its event brings the set back
        except ApiError as error:
            self.c.recorder.event(
                self.s,
                "Warning",
                "FailedCreate",
                f"create Pod {pod['metadata']['name']} in StatefulSet {meta.name(self.s)} failed error: {error}",
            )
            raise
        self.by_ordinal[ordinal] = created
        self.c.recorder.event(
            self.s,
            "Normal",
            "SuccessfulCreate",
            f"create Pod {meta.name(created)} in StatefulSet {meta.name(self.s)} successful",
        )

    def _revision_for(self, ordinal: int) -> Object:
        """Ordinals below the partition stay in the present revision, also when they are made anew."""
        strategy = self.s["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return self.update
        partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
        return self.present if ordinal - identity.start(self.s) < partition else self.update

    async def _shrink(self) -> bool:
        """Ordinals beyond the wanted ones go, the highest first. False: one is on its way."""
        surplus = sorted((o for o in self.by_ordinal if o not in self.wanted), reverse=True)
        for ordinal in surplus:
            pod = self.by_ordinal[ordinal]
            if not meta.deleting(pod):
                await self._delete(pod, "SuccessfulDelete")
            if not self.parallel:
                return False
        return not surplus

    async def _roll(self) -> None:
        """RollingUpdate: replace the highest old ordinal, when all above it are available."""
        strategy = self.s["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        rolling = strategy.get("rollingUpdate") or {}
        partition = identity.start(self.s) + rolling.get("partition", 0)
        allowed = max(scaled_value(rolling.get("maxUnavailable", 1), len(self.wanted), True), 1)
        for ordinal in sorted(self.wanted, reverse=True):
            pod = self.by_ordinal.get(ordinal)
            if allowed <= 0:
                return
            if pod is None:
                allowed -= 1
                continue
            old = identity.revision(pod) != meta.name(self.update)
            if ordinal >= partition and old and not meta.deleting(pod):
                await self._delete(pod, "SuccessfulDelete")
                allowed -= 1
            elif not self._available(pod) or meta.deleting(pod):
                allowed -= 1

    async def _delete(self, pod: Object, reason: str, type: str = "Normal") -> None:
        await self.c.client.delete(PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
        name = meta.name(self.s)
        message = (
            f"StatefulSet {meta.key(self.s)} is recreating failed Pod {meta.name(pod)}"
            if reason == "RecreatingFailedPod"
            else f"delete Pod {meta.name(pod)} in StatefulSet {name} successful"
        )
        self.c.recorder.event(self.s, type, reason, message)


def _running_ready(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and meta.pod_ready(pod) and not meta.deleting(pod)
