"""Deployments: declarative updates of pods through ReplicaSets, one for each revision of the template."""

from __future__ import annotations

from kcore import clock
from kcore.controller import ControllerContext, owners
from kcore.controller.base import Reconciler
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import DEPLOYMENTS, PODS, REPLICASETS
from kcore_controllers import deployment_progress as progress
from kcore_controllers import deployment_sets as sets
from kcore_controllers.deployment_rollout import Rollout


class DeploymentController(Reconciler):
    name = "deployment"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.deployments = self.watch(DEPLOYMENTS, self._deployment_changed)
        self.sets = self.watch(REPLICASETS, self._set_changed)
        self.pods = self.watch(PODS, self._pod_changed)
        owners.index_owned(self.sets)
        owners.index_owned(self.pods)

    def _deployment_changed(self, old: Object | None, new: Object | None) -> None:
        self.enqueue(old, new)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        for obj in (old, new):
            if obj is not None and (key := owners.owner_key(obj, "Deployment")):
                self.queue.add(key)
        if new is not None and meta.controller_of(new) is None and not meta.deleting(new):
            for d in self.deployments.by_namespace(meta.namespace(new)):
                if selectors.from_object(d["spec"]["selector"]).matches(meta.labels(new)):
                    self.queue.add(meta.key(d))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Only a Recreate deployment waits for pods: to be gone."""
        if new is not None and not meta.pod_terminal(new):
            return
        key = owners.owner_key(old or new or {}, "ReplicaSet")
        replica_set = self.sets.get(key) if key else None
        owner = owners.owner_key(replica_set, "Deployment") if replica_set else ""
        deployment = self.deployments.get(owner) if owner else None
        if deployment is not None and sets.strategy(deployment) == "Recreate":
            self.queue.add(owner)

    async def reconcile(self, key: str) -> float | None:
        d = self.deployments.get(key)
        if d is None:
            return None
        selector = selectors.from_object(d["spec"]["selector"])
        if selector.everything:
            self.recorder.event(
                d,
                "Warning",
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            )
            return None
        mine = await owners.claim(self.client, self.sets, REPLICASETS, d, DEPLOYMENTS, selector)
        rollout = Rollout(self.client, self.recorder, d, mine)
        if meta.deleting(d):
            await self._write_status(rollout, plain=True)
            return None
        if d["spec"].get("paused"):
            await rollout.pause()
            await self._write_status(rollout)
            return None
        if rollout.scaled_by_user():
            await rollout.find_new_set(create=False)
            await rollout.scale_proportionally()
            await self._write_status(rollout)
            return None
        if sets.strategy(d) == "Recreate":
            await rollout.recreate(self._running_pods(rollout))
        else:
            await rollout.find_new_set(create=True)
            await rollout.roll()
        if progress.complete(d, progress.counts(d, rollout.all)):
            await rollout.forget_old_sets()
        return await self._write_status(rollout)

    def _running_pods(self, rollout: Rollout) -> bool:
        """An old pod is still there."""
        return any(not meta.pod_terminal(pod) for s in rollout.old for pod in owners.owned(self.pods, s))

    async def _write_status(self, rollout: Rollout, plain: bool = False) -> float | None:
        d = rollout.d  # as last written: the revision may have been noted
        status = progress.counts(d, rollout.all)
        status["observedGeneration"] = meta.generation(d)
        if rollout.collisions is not None:
            status["collisionCount"] = rollout.collisions
        if plain:
            conditions = list((d.get("status") or {}).get("conditions") or ())
        else:
            conditions = progress.conditions(d, status, rollout)
        status = {k: v for k, v in status.items() if v or k == "terminatingReplicas"}
        if conditions:
            status["conditions"] = conditions
        if not progress.same(status, d.get("status") or {}):
            await self.client.update(DEPLOYMENTS, {**d, "status": status}, subresource="status")
        return None if plain else progress.until_deadline(d, status, clock.now())
