"""DaemonSets: one pod on every node that fits. The pods are pinned by node affinity and go through the scheduler."""

from __future__ import annotations

from collections import defaultdict

import trio

from kcore import clock
from kcore.controller import ControllerContext, owners, pods, revisions
from kcore.controller.base import Reconciler
from kcore.controller.expectations import Expectations
from kcore.controller.hashing import template_hash
from kcore.errors import ApiError
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from kcore_controllers import daemonset_nodes as nodes
from kcore_controllers.daemonset_backoff import FailedPods
from kcore_controllers.deployment_sets import scaled_value

BURST = 250
_COUNTS = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")  # never left out


class DaemonSetController(Reconciler):
    name = "daemonset"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.expectations = Expectations()
        self.control = pods.PodControl(self.client, self.recorder, self.expectations)
        self._failed = FailedPods()
        self.sets = self.watch(DAEMONSETS, self.enqueue)
        self.nodes = self.watch(NODES, self._node_changed)
        self.pods = self.watch(PODS, self._pod_changed)
        self.revisions = self.watch(CONTROLLERREVISIONS)
        owners.index_owned(self.pods)
        owners.index_owned(self.revisions)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and nodes.same_for_daemons(old, new):
            return
        for ds in self.sets.items():
            self.queue.add(meta.key(ds))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        key = owners.owner_key(pod, "DaemonSet")
        if not key:
            if new is not None and meta.controller_of(new) is None:
                for ds in self.sets.by_namespace(meta.namespace(new)):
                    if selectors.from_object(ds["spec"]["selector"]).matches(meta.labels(new)):
                        self.queue.add(meta.key(ds))
            return
        if old is None:
            self.expectations.created(key)
        if new is None or meta.deleting(new):
            self.expectations.deleted(key, meta.uid(pod))
        self.queue.add_after(key, len(self.nodes) * 1e-5 if len(self.nodes) > 100 else 0)

    async def reconcile(self, key: str) -> float | None:
        ds = self.sets.get(key)
        if ds is None:
            self.expectations.forget(key)
            self._failed.forget(key)
            return None
        selector = selectors.from_object(ds["spec"]["selector"])
        if selector.everything or meta.deleting(ds):
            return None
        known = await revisions.history(self.client, self.revisions, ds, DAEMONSETS, selector)
        collisions = (ds.get("status") or {}).get("collisionCount")
        current, collisions = await revisions.current(
            self.client,
            ds,
            DAEMONSETS,
            known,
            collisions,
            hash_of=lambda _, n: template_hash(ds["spec"]["template"], n),
        )
        wanted_hash = meta.labels(current)[revisions.HASH_LABEL]
        mine = await owners.claim(self.client, self.pods, PODS, ds, DAEMONSETS, selector)
        by_node: dict[str, list[Object]] = defaultdict(list)
        for pod in mine:
            by_node[nodes.target(pod)].append(pod)
        failure: Exception | None = None
        if self.expectations.satisfied(key):
            try:
                await self._manage(key, ds, by_node, wanted_hash)
                if self.expectations.satisfied(key):
                    await self._update(key, ds, by_node, wanted_hash)
            except (ApiError, OSError) as error:
                failure = error
        live = {meta.labels(p).get(revisions.HASH_LABEL, "") for p in mine} | {wanted_hash}
        names = {meta.name(r) for r in known if meta.labels(r).get(revisions.HASH_LABEL) in live}
        limit = ds["spec"].get("revisionHistoryLimit", 10)
        await revisions.truncate(self.client, known, names | {meta.name(current)}, limit)
        wait = await self._write_status(ds, by_node, wanted_hash, collisions)
        if failure is not None:
            raise failure
        return wait

    async def _manage(self, key: str, ds: Object, by_node: dict[str, list[Object]], wanted_hash: str) -> None:
        """A pod where one should run, none where none should; failed ones are replaced."""
        create: list[str] = []
        delete: list[Object] = []
        for node in self.nodes.items():
            name = meta.name(node)
            here = [p for p in by_node.get(name, ()) if not meta.deleting(p)]
            run, stay = nodes.should_run(ds, node)
            if not stay:
                delete += here
                continue
            failed = [p for p in here if meta.pod_terminal(p)]
            if failed and (wait := self._failed.wait(key, meta.generation(ds), name, trio.current_time())):
                self.queue.add_after(key, wait)
                continue
            for pod in failed:
                delete.append(pod)
                self.recorder.event(
                    ds,
                    "Warning",
                    "FailedDaemonPod",
                    f"Found failed daemon pod {meta.key(pod)} on node {name}, will try to kill it",
                )
            running = [p for p in here if not meta.pod_terminal(p)]
            if run and not running and not failed and not self._surging(by_node.get(name, ())):
                create.append(name)
            elif len(running) > 1:
                delete += self._surplus(ds, running, wanted_hash)
        gone = [p for name, found in by_node.items() if self.nodes.get(name) is None for p in found]
        delete += [p for p in gone if not meta.deleting(p) and not p["spec"].get("nodeName")]
        if delete:
            await self.control.delete_many(key, ds, delete[:BURST])
        if create:
            create = create[:BURST]
            await self.control.create_many(
                key, ds, len(create), lambda i: nodes.daemon_pod(ds, create[i], wanted_hash)
            )

    @staticmethod
    def _surging(found: object) -> bool:
        """A pod that is being deleted still holds its place."""
        return any(meta.deleting(p) for p in found)  # type: ignore[attr-defined]  # a list of pods

    def _surplus(self, ds: Object, running: list[Object], wanted_hash: str) -> list[Object]:
        """Of several pods on a node the oldest stays; during a surge an old one that is available stays until the new
        one is, too."""
        new = [p for p in running if meta.labels(p).get(revisions.HASH_LABEL) == wanted_hash]
        old = [p for p in running if p not in new]
        if old and new and nodes.surge(ds, len(self.nodes)):
            min_ready, now = ds["spec"].get("minReadySeconds", 0), clock.now()
            old.sort(key=lambda p: not pods.available(p, min_ready, now))
            needed = pods.available(old[0], min_ready, now) and not any(pods.available(p, min_ready, now) for p in new)
            return (old[1:] if needed else old) + new[1:]
        running.sort(key=lambda p: (not p["spec"].get("nodeName"), p["metadata"].get("creationTimestamp", "")))
        return running[1:]

    async def _update(self, key: str, ds: Object, by_node: dict[str, list[Object]], wanted_hash: str) -> None:
        """RollingUpdate: replace old pods, at most maxUnavailable at once (or maxSurge beside the old ones)."""
        strategy = ds["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        min_ready, now = ds["spec"].get("minReadySeconds", 0), clock.now()
        unavailable = 0
        replaceable: list[Object] = []
        useless: list[Object] = []
        candidates: list[str] = []
        at_once: list[str] = []  # nodes where nothing can be lost
        wanted = [n for n in self.nodes.items() if nodes.should_run(ds, n)[0]]
        for node in wanted:
            here = [p for p in by_node.get(meta.name(node), ()) if meta.pod_active(p)]
            old = [p for p in here if meta.labels(p).get(revisions.HASH_LABEL) != wanted_hash]
            available = any(pods.available(p, min_ready, now) for p in here)
            unavailable += not available
            if not old:
                continue
            if len(here) == len(old):
                (candidates if available else at_once).append(meta.name(node))
            (replaceable if available else useless).append(old[0])
        surge = nodes.surge(ds, len(wanted))
        if surge:
            surging = sum(1 for n in wanted if len([*filter(meta.pod_active, by_node.get(meta.name(n), ()))]) > 1)
            names = at_once + candidates[: max(surge - surging, 0)]
            if names:
                await self.control.create_many(
                    key, ds, len(names), lambda i: nodes.daemon_pod(ds, names[i], wanted_hash)
                )
            return
        allowed = scaled_value((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), len(wanted), True)
        delete = useless + replaceable[: max(allowed - unavailable, 0)]
        if delete:
            await self.control.delete_many(key, ds, delete)

    async def _write_status(
        self, ds: Object, by_node: dict[str, list[Object]], wanted_hash: str, collisions: int | None
    ) -> float | None:
        now, min_ready = clock.now(), ds["spec"].get("minReadySeconds", 0)
        status: Object = dict.fromkeys(_COUNTS, 0)
        available = updated = 0
        ready_pods: list[Object] = []
        for node in self.nodes.items():
            run, _ = nodes.should_run(ds, node)
            here = [p for p in by_node.get(meta.name(node), ()) if not meta.deleting(p)]
            if not run:
                status["numberMisscheduled"] += bool(here)
                continue
            status["desiredNumberScheduled"] += 1
            if not here:
                continue
            status["currentNumberScheduled"] += 1
            best = max(here, key=meta.pod_ready)
            if meta.pod_ready(best):
                status["numberReady"] += 1
                ready_pods.append(best)
                available += pods.available(best, min_ready, now)
            updated += any(meta.labels(p).get(revisions.HASH_LABEL) == wanted_hash for p in here)
        status["observedGeneration"] = meta.generation(ds)
        optional = {
            "updatedNumberScheduled": updated,
            "numberAvailable": available,
            "numberUnavailable": status["desiredNumberScheduled"] - available,
        }
        status |= {k: v for k, v in optional.items() if v}
        if collisions is not None:
            status["collisionCount"] = collisions
        if conditions := (ds.get("status") or {}).get("conditions"):
            status["conditions"] = conditions
        if status != (ds.get("status") or {}):
            await self.client.update(DAEMONSETS, {**ds, "status": status}, subresource="status")
        return pods.until_available(ready_pods, min_ready, now)
