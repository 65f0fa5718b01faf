"""The queue of pods that wait for a node.

    add --> gated            until its scheduling gates are removed
        --> active           a heap, in the order of the profile's `key`
              pop --> an attempt --> bound: `done`
                                 --> refused: unschedulable, until a change may help, or five minutes have passed
                                 --> failed:  back-off, 1 s doubling to 10 s
        unschedulable --> back-off (if it still runs) --> active

A change in the cluster is shown to those policies only that watch it, for those pods only that they have refused.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from kcore import clock
from kcore.scheduler.pods import PodInfo, same_but_status
from kcore.scheduler.policy import Change, Policy
from kcore.scheduler.profile import PolicyError, Profile

BACKOFF_FIRST, BACKOFF_MAX = 1.0, 10.0  # seconds, doubling
FLUSH = 300.0  # seconds after which an unschedulable pod is tried again, whatever has happened

ACTIVE, BACKOFF, UNSCHEDULABLE, GATED = "active", "backoff", "unschedulable", "gated"
OUT = ""  # popped, or gone


@attrs.define(eq=False)
class Queued:
    """A waiting pod."""

    pod: PodInfo
    since: float  # wall time when it was added
    key: Any = None  # its place in the order
    where: str = OUT
    attempts: int = 0
    popped: float = 0.0  # trio time of the last attempt
    parked: float = 0.0  # trio time when it was found unschedulable
    ready: float = 0.0  # trio time when its back-off ends
    refused_by: frozenset[str] = frozenset()
    gate: str = ""  # why it is gated
    entry: int = 0  # number of its valid heap entry


Incoming = Callable[[str, str], None]
"""``incoming(event, queue)``: a pod has entered a queue, for the metric."""


class Queue:
    """Synchronous, but for `pop`."""

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        incoming: Incoming = lambda event, queue: None,
        failed: Callable[[PolicyError], None] = lambda error: None,
    ) -> None:
        """`failed` is told of policies that raise: their pods are tried later, or again."""
        self._profiles = profiles
        self._incoming, self._failed = incoming, failed
        self._pods: dict[str, Queued] = {}
        self._active: list[tuple[Any, int, Queued]] = []
        self._backoff: list[tuple[float, int, Queued]] = []
        self._parked: dict[str, Queued] = {}  # in the order in which they were parked
        self._by_policy: dict[str, dict[str, Queued]] = {}
        self._number = itertools.count(1)
        self._wake = trio.Event()
        self.sizes = {ACTIVE: 0, BACKOFF: 0, UNSCHEDULABLE: 0, GATED: 0}

    def __len__(self) -> int:
        return len(self._pods)

    def get(self, key: str) -> Queued | None:
        """The pod if it waits, or is being tried right now."""
        return self._pods.get(key)

    def refused_by(self, policy: str, profile: str) -> int:
        """How many pods of a profile wait for this policy."""
        waiting = self._by_policy.get(policy, {}).values()
        return sum(queued.pod.scheduler_name == profile for queued in waiting)

    def add(self, pod: PodInfo) -> Queued:
        """A new pod, or a new version of one that waits. A gated one has `gate` set afterwards."""
        queued = self._pods.get(pod.key)
        if queued is None:
            queued = self._pods[pod.key] = Queued(pod, clock.now())
            self._place(queued, "PodAdd")
            return queued
        old, queued.pod = queued.pod, pod
        if queued.where in (ACTIVE, GATED):
            self._leave(queued)
            self._place(queued, "PodUpdate")
        elif queued.where == UNSCHEDULABLE and not same_but_status(old.obj, pod.obj):
            self._activate(queued, "PodUpdate")
        return queued

    def remove(self, key: str) -> None:
        queued = self._pods.pop(key, None)
        if queued is not None:
            self._leave(queued)

    async def pop(self) -> Queued:
        """The next pod to try; waits until there is one. It stays known until `done`, `park` or `retry`."""
        while (queued := self.pop_nowait()) is None:
            self._wake = trio.Event()
            with trio.move_on_at(self._next_time()):
                await self._wake.wait()
        return queued

    def pop_nowait(self) -> Queued | None:
        self._tick()
        while self._active:
            _, number, queued = heapq.heappop(self._active)
            if queued.entry == number:
                self._leave(queued)
                queued.attempts += 1
                queued.popped = trio.current_time()
                return queued
        return None

    def done(self, queued: Queued) -> None:
        """It has a node."""
        if self._pods.get(queued.pod.key) is queued:
            del self._pods[queued.pod.key]

    def park(self, queued: Queued, refused_by: frozenset[str]) -> None:
        """No node will do: wait for a change that these policies care about."""
        if not self._known(queued):
            return
        queued.refused_by, queued.parked = refused_by, trio.current_time()
        self._enter(queued, UNSCHEDULABLE, "ScheduleAttemptFailure")
        self._parked[queued.pod.key] = queued
        for name in refused_by:
            self._by_policy.setdefault(name, {})[queued.pod.key] = queued
        if len(self._parked) == 1:
            self._wake.set()

    def retry(self, queued: Queued) -> None:
        """Something failed that was not the pod's fault: try again after its back-off."""
        if self._known(queued):
            self._activate(queued, "ScheduleAttemptFailure")

    def on_change(self, change: Change) -> None:
        """Give those another chance that may be schedulable now."""
        helped: dict[str, Queued] = {}
        for name, waiting in self._by_policy.items():
            if not waiting:
                continue
            for key, queued in waiting.items():
                policy = self._profiles[queued.pod.scheduler_name].policy(name)
                if policy is None:
                    continue
                wanted = policy.watches.get(change.resource)
                if wanted is None or (wanted and not wanted & change.what):
                    break
                if key not in helped and self._may_help(policy, queued.pod, change):
                    helped[key] = queued
        for queued in helped.values():
            self._activate(queued, f"{change.resource.kind}{'Add' if change.old is None else 'Update'}")

    def activate(self, key: str) -> None:
        """Try this pod again, as soon as its back-off allows."""
        queued = self._pods.get(key)
        if queued is not None and queued.where == UNSCHEDULABLE:
            self._activate(queued, "ForceActivate")

    # --- within -----------------------------------------------------------------------------------------------------

    def _known(self, queued: Queued) -> bool:
        return self._pods.get(queued.pod.key) is queued and queued.where == OUT

    def _place(self, queued: Queued, event: str) -> None:
        profile = self._profiles[queued.pod.scheduler_name]
        queued.gate, policy = "", profile.order
        try:
            for policy in profile.gates:
                queued.gate = policy.gate(queued.pod)
                if queued.gate:
                    self._enter(queued, GATED, event)
                    return
            policy = profile.order
            queued.key = policy.key(queued.pod, queued.since)
        except Exception as error:
            self._failed(PolicyError(policy.name, "queueing", error))
            queued.ready = trio.current_time() + BACKOFF_MAX
            self._push_backoff(queued, event)
            return
        self._enter(queued, ACTIVE, event)
        heapq.heappush(self._active, (queued.key, queued.entry, queued))
        self._wake.set()

    def _may_help(self, policy: Policy, pod: PodInfo, change: Change) -> bool:
        try:
            return policy.may_help(pod, change)
        except Exception as error:
            self._failed(PolicyError(policy.name, "may_help", error))
            return True

    def _activate(self, queued: Queued, event: str) -> None:
        self._leave(queued)
        delay = min(BACKOFF_FIRST * 2 ** min(queued.attempts - 1, 10), BACKOFF_MAX) if queued.attempts else 0.0
        queued.ready = queued.popped + delay
        if queued.attempts == 0 or queued.ready <= trio.current_time():
            self._place(queued, event)
            return
        self._push_backoff(queued, event)

    def _push_backoff(self, queued: Queued, event: str) -> None:
        self._enter(queued, BACKOFF, event)
        heapq.heappush(self._backoff, (queued.ready, queued.entry, queued))
        if self._backoff[0][2] is queued:
            self._wake.set()

    def _enter(self, queued: Queued, where: str, event: str) -> None:
        queued.where, queued.entry = where, next(self._number)
        self.sizes[where] += 1
        self._incoming(event, where)

    def _leave(self, queued: Queued) -> None:
        if queued.where == OUT:
            return
        if queued.where == UNSCHEDULABLE:
            key = queued.pod.key
            self._parked.pop(key, None)
            for name in queued.refused_by:
                self._by_policy[name].pop(key, None)
        self.sizes[queued.where] -= 1
        queued.where, queued.entry = OUT, 0

    def _tick(self) -> None:
        """Move what has waited long enough."""
        now = trio.current_time()
        while self._backoff and (self._backoff[0][0] <= now or self._backoff[0][2].entry != self._backoff[0][1]):
            _, number, queued = heapq.heappop(self._backoff)
            if queued.entry == number:
                self._leave(queued)
                self._place(queued, "BackoffComplete")
        while self._parked:
            queued = next(iter(self._parked.values()))
            if queued.parked + FLUSH > now:
                break
            self._activate(queued, "UnschedulableTimeout")

    def _next_time(self) -> float:
        times = [self._backoff[0][0]] if self._backoff else []
        if self._parked:
            times.append(next(iter(self._parked.values())).parked + FLUSH)
        return min(times, default=float("inf"))
