"""The scheduler: wires watches, queue, cycle and binding together. One part of a cluster, on a `Client` alone."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from functools import partial
from time import perf_counter
from typing import Any

import attrs
import trio

from kcore import clock
from kcore.client import Client
from kcore.client.informer import Informer, Informers
from kcore.errors import ApiError, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import GVR, NAMESPACES, NODES, PODS
from kcore.scheduler.binding import Binder, BindRefused, Placement, unreserve
from kcore.scheduler.cache import Cache
from kcore.scheduler.cycle import Decision, Failure, schedule
from kcore.scheduler.metrics import SchedulerMetrics
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Nomination, Refused
from kcore.scheduler.profile import PolicyError, Profile
from kcore.scheduler.queue import Queue, Queued
from kcore.scheduler.reports import Events, Statuses
from kcore.scheduler.table import NodeTable

SLICE = 32
"""Pods scheduled before other tasks get a turn: a count, not a time, so that a history can be repeated."""

_REMOVED = frozenset(("removed",))


@attrs.frozen
class Settings:
    parallel_binds: int = 64
    """Bindings written at the same time."""
    seed: int = 0
    """Of the random choice between nodes that are equally good."""


class Scheduler:
    """Implements `kcore.scheduler.policy.Handle` for its policies. `run` it once; to start over, make a new one."""

    def __init__(
        self,
        client: Client,
        profiles: Mapping[str, Profile],
        *,
        metrics: SchedulerMetrics,
        log: logging.Logger,
        settings: Settings | None = None,
    ) -> None:
        self.client = client
        self._profiles = profiles
        self._log = log
        self._settings = settings or Settings()
        self._random = random.Random(self._settings.seed)
        self._informers = Informers(client)
        self._cache = Cache()
        self._metrics = metrics
        self._observe = {name: self._metrics.observer(name) for name in profiles}
        self._queue = Queue(profiles, self._metrics.incoming, self._policy_failed)
        self._statuses = Statuses(client, log)
        self._events = {name: Events(client, name, log) for name in profiles}
        self._binder: Binder
        self._nursery: trio.Nursery
        self._metrics.show(
            self._queue.sizes,
            {
                "nodes": lambda: len(self.nodes),
                "pods": lambda: self._cache.pods,
                "assumed_pods": lambda: self._cache.assumed_pods,
            },
            {
                (policy.name, profile.name): partial(self._queue.refused_by, policy.name, profile.name)
                for profile in profiles.values()
                for policy in (*profile.preparers, *profile.filters)
            },
        )

    # --- for policies -----------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> NodeTable:
        return self._cache.nodes

    def informer(self, resource: GVR) -> Informer:
        return self._informers.get(resource)

    # --- the part ---------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Schedule until cancelled. Started when the cluster's state has been read and the first pod may be tried."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._binder = Binder(nursery, self._settings.parallel_binds, self._bound, self._policy_failed)
            for profile in self._profiles.values():
                profile.attach(self)
            self._watch()
            await nursery.start(self._informers.run)
            await self._informers.wait_synced()
            nursery.start_soon(self._statuses.run)
            for events in self._events.values():
                nursery.start_soon(events.run)
            nursery.start_soon(self._expire)
            task_status.started()
            while True:
                self._try(await self._queue.pop())
                for _ in range(SLICE):
                    queued = self._queue.pop_nowait()
                    if queued is None:
                        break
                    self._try(queued)
                await self._binder.room()

    # --- what changes -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._informers.get(NODES).on_change(self._node_changed)
        self._informers.get(NAMESPACES).on_change(self._namespace_changed)
        self._informers.get(PODS).on_change(self._pod_changed)
        others = {r for profile in self._profiles.values() for p in profile.policies for r in p.watches}
        for resource in sorted(others - {NODES, PODS, NAMESPACES}, key=str):
            self._informers.get(resource).on_change(partial(self._other_changed, resource))

    def _other_changed(self, resource: GVR, old: Object | None, new: Object | None) -> None:
        self._queue.on_change(Change(resource, old, new))

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.nodes.set_namespace(meta.name(new), meta.labels(new))
        elif old is not None:
            self.nodes.set_namespace(meta.name(old), None)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            what = self.nodes.set_node(new)
        else:
            assert old is not None
            self.nodes.remove_node(meta.name(old))
            what = _REMOVED
        if what:
            self._queue.on_change(Change(NODES, old, new, what))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod waits, is on a node, or has gone (finished ones count as gone)."""
        if new is None or meta.pod_terminal(new):
            self._pod_gone(old, new)
        elif new["spec"].get("nodeName"):
            key = meta.key(new)
            if old is None or not old["spec"].get("nodeName"):
                self._forget_pending(key, cancel=False)
            what, pod = self._cache.pod_set(new)
            if what:
                self._queue.on_change(Change(PODS, old, new, what, pod))
        elif meta.deleting(new):
            self._pod_gone(old, new)
        else:
            self._pod_waits(PodInfo(new))

    def _pod_gone(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        key = meta.key(obj)
        self._forget_pending(key, cancel=True)
        pod = self._cache.pod_gone(key)
        if pod is not None:
            self._queue.on_change(Change(PODS, old, new, _REMOVED, pod))

    def _forget_pending(self, key: str, *, cancel: bool) -> None:
        self._queue.remove(key)
        self._statuses.forget(key)
        self._cache.unnominate(key)
        if cancel:
            self._binder.cancel(key)

    def _pod_waits(self, pod: PodInfo) -> None:
        if pod.scheduler_name not in self._profiles:
            return
        if pod.nominated and not self._cache.is_assumed(pod.key):
            self._cache.nominate(pod, pod.nominated)
        queued = self._queue.add(pod)
        if queued.gate:
            self._statuses.refused(pod, "SchedulingGated", queued.gate)

    async def _expire(self) -> None:
        """Assumptions that nothing has confirmed: the pod waits again if it is still there without a node."""
        while True:
            key = await self._cache.next_expired()
            self._log.warning("the binding of %s was never confirmed", key)
            obj = self._informers.get(PODS).get(key)
            if obj is not None and not obj["spec"].get("nodeName"):
                self._pod_changed(None, obj)

    # --- attempts ---------------------------------------------------------------------------------------------------

    def _try(self, queued: Queued) -> None:
        """One attempt to find a node."""
        pod, start = queued.pod, perf_counter()
        profile = self._profiles[pod.scheduler_name]
        try:
            outcome = schedule(
                profile, pod, self.nodes, self._cache.nominated, self._random, self._observe[profile.name]
            )
        except PolicyError as error:
            self._failed(queued, profile, error, start)
            return
        self._metrics.algorithm_seconds.observe(perf_counter() - start)
        if isinstance(outcome, Failure):
            self._refused(queued, profile, outcome, start)
        else:
            self._chosen(queued, profile, outcome, start)

    def _chosen(self, queued: Queued, profile: Profile, decision: Decision, start: float) -> None:
        pod = queued.pod
        placement = Placement(queued, pod, profile, decision.node, start)
        self._cache.assume(pod, decision.node)
        policy = None
        try:
            for policy in profile.reservers:
                policy.reserve(pod, decision.node)
        except Exception as error:
            unreserve(placement, self._policy_failed)
            self._cache.forget(pod)
            name = policy.name if policy else ""
            if isinstance(error, Refused):
                message = f"0/{len(self.nodes)} nodes are available: {decision.feasible} {error.reason}."
                self._refused(queued, profile, Failure(message, frozenset((name,))), start)
            else:
                self._failed(queued, profile, PolicyError(name, "reserve", error), start)
            return
        self._cache.unnominate(pod.key)
        self._binder.start(placement)

    def _refused(self, queued: Queued, profile: Profile, failure: Failure, start: float) -> None:
        """No node: say why, make room if that helps, and wait."""
        pod = queued.pod
        self._metrics.attempted("unschedulable", profile.name, perf_counter() - start)
        self._events[profile.name].say(pod, "Warning", "FailedScheduling", "Scheduling", failure.message)
        nominated: str | None = None
        if failure.nomination is not None:
            nominated = failure.nomination.node
            self._preempt(pod, profile, failure.nomination)
        self._queue.park(queued, failure.refused_by)
        self._statuses.refused(pod, "Unschedulable", failure.message, nominated)

    def _failed(self, queued: Queued, profile: Profile, error: Exception, start: float) -> None:
        """Something broke: say so, and try again after the back-off."""
        if isinstance(error, PolicyError):
            self._policy_failed(error)
        else:
            self._log.warning("binding %s: %s", queued.pod.key, error)
        self._metrics.attempted("error", profile.name, perf_counter() - start)
        self._events[profile.name].say(queued.pod, "Warning", "FailedScheduling", "Scheduling", str(error))
        self._statuses.refused(queued.pod, "SchedulerError", str(error))
        self._queue.retry(queued)

    def _policy_failed(self, error: PolicyError) -> None:
        self._metrics.policy_failed(error.policy, error.point)
        self._log.error("%s", error, exc_info=error.__cause__ or error)

    def _bound(self, placement: Placement, problem: BindRefused | Exception | None) -> None:
        """A binding has ended; reservations are already undone if it failed."""
        queued, pod, profile = placement.queued, placement.pod, placement.profile
        if problem is None:
            self._cache.bound(pod.key)
            self._queue.done(queued)
            self._statuses.forget(pod.key)
            self._metrics.attempted("scheduled", profile.name, perf_counter() - placement.started)
            self._metrics.scheduled(queued.attempts, clock.now() - queued.since)
            message = f"Successfully assigned {pod.key} to {placement.node}"
            self._events[profile.name].say(pod, "Normal", "Scheduled", "Binding", message)
            return
        self._cache.forget(pod)
        # What was reserved for it is free again.
        self._queue.on_change(Change(PODS, pod.obj, None, _REMOVED, pod))
        if self._queue.get(pod.key) is not queued:
            return  # deleted, or bound by somebody else
        if isinstance(problem, BindRefused):
            failure = Failure(problem.reason, frozenset((problem.policy,)))
            self._refused(queued, profile, failure, placement.started)
        elif isinstance(problem, NotFound):
            self._queue.done(queued)  # the watch will tell that it has been deleted
        else:
            self._failed(queued, profile, problem, placement.started)

    # --- preemption -------------------------------------------------------------------------------------------------

    def _preempt(self, pod: PodInfo, profile: Profile, nomination: Nomination) -> None:
        """The node is promised to the pod; its victims go. Less important pods lose a promise of the same node."""
        self._metrics.preemption_attempts.inc()
        for other in list(self._cache.nominated.get(nomination.node, {}).values()):
            if other.priority < pod.priority:
                self._cache.unnominate(other.key)
                self._nursery.start_soon(self._unpromise, other)
                self._queue.activate(other.key)
        self._cache.nominate(pod, nomination.node)
        if nomination.victims:
            self._metrics.preemption_victims.observe(len(nomination.victims))
            for victim in nomination.victims:
                self._nursery.start_soon(self._evict, victim, pod, profile.name, nomination.node)

    async def _unpromise(self, pod: PodInfo) -> None:
        try:
            await self._statuses.patch(pod, {"nominatedNodeName": None})
        except (ApiError, OSError) as error:
            self._log.debug("status of %s not written: %s", pod.key, error)

    async def _evict(self, victim: PodInfo, preemptor: PodInfo, scheduler: str, node: str) -> None:
        """Delete a victim, with the condition that tells its controller why."""
        if self._cache.is_assumed(victim.key):
            self._binder.cancel(victim.key)
        condition: dict[str, Any] = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{scheduler}: preempting to accommodate a higher priority pod",
            "lastProbeTime": None,
            "lastTransitionTime": clock.timestamp(),
        }
        if meta.generation(victim.obj):
            condition["observedGeneration"] = meta.generation(victim.obj)
        try:
            await self._statuses.patch(victim, {"conditions": [condition]})
            await self.client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
        except NotFound:
            return
        except (ApiError, OSError) as error:
            self._log.warning("%s could not be preempted: %s", victim.key, error)
            self._queue.activate(preemptor.key)
            return
        message = f"Preempted by pod {preemptor.uid} on node {node}"
        self._events[scheduler].say(victim, "Normal", "Preempted", "Preempting", message)
