"""The binding cycle: what follows a decision, in tasks of their own, while the next pods are being scheduled."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from kcore.errors import ApiError
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Refused
from kcore.scheduler.profile import PolicyError, Profile
from kcore.scheduler.queue import Queued


@attrs.frozen(eq=False)
class Placement:
    """A pod on its way to a node."""

    queued: Queued
    pod: PodInfo
    profile: Profile
    node: str
    started: float  # perf_counter() at the beginning of the attempt


@attrs.frozen
class BindRefused:
    """A policy said no after all."""

    policy: str
    reason: str


Finished = Callable[[Placement, "BindRefused | Exception | None"], None]
"""``finished(placement, problem)``; None: the pod is bound."""


class Binder:
    """Runs bindings in `nursery`. Only so many talk to the API at once; pods that wait for a permit or a volume do
    not count."""

    def __init__(
        self, nursery: trio.Nursery, parallel: int, finished: Finished, failed: Callable[[PolicyError], None]
    ) -> None:
        """`failed` is told of policies that raise where nothing can be done about it."""
        self._nursery, self._parallel, self._finished, self._failed = nursery, parallel, finished, failed
        self._slots = trio.CapacityLimiter(parallel)
        self._running: dict[str, trio.CancelScope] = {}

    def __len__(self) -> int:
        """Pods on their way."""
        return len(self._running)

    def start(self, placement: Placement) -> None:
        scope = self._running[placement.pod.key] = trio.CancelScope()
        self._nursery.start_soon(self._run, placement, scope, name="bind")

    def cancel(self, key: str) -> None:
        """The pod has been deleted: stop, and undo what was reserved. `finished` is not called."""
        running = self._running.pop(key, None)
        if running is not None:
            running.cancel()

    async def room(self) -> None:
        """Wait while too many bindings queue for the API, so that decisions do not run far ahead of it."""
        if self._slots.statistics().tasks_waiting < 8 * self._parallel:
            await trio.lowlevel.checkpoint()
            return
        async with self._slots:  # fair: our turn comes after those that wait now
            pass

    async def _run(self, placement: Placement, scope: trio.CancelScope) -> None:
        key = placement.pod.key
        with scope:
            problem: BindRefused | Exception | None = None
            bound = False
            try:
                problem = await self._bind(placement)
                bound = problem is None
            finally:
                if self._running.get(key) is scope:
                    del self._running[key]
                if not bound:
                    unreserve(placement, self._failed)
            self._finished(placement, problem)
            if bound:
                await self._after(placement)

    async def _bind(self, placement: Placement) -> BindRefused | Exception | None:
        pod, node, profile = placement.pod, placement.node, placement.profile
        policy = None
        try:
            for policy in profile.permits:
                await policy.permit(pod, node)
            for policy in profile.pre_binders:
                await policy.pre_bind(pod, node)
            async with self._slots:
                for policy in profile.binders:
                    if await policy.bind(pod, node):
                        return None
        except Refused as refused:
            return BindRefused(policy.name if policy else "", refused.reason)
        except (ApiError, OSError, trio.BrokenResourceError) as error:
            return error
        except Exception as error:
            return PolicyError(policy.name if policy else "", "binding", error)
        return PolicyError(", ".join(p.name for p in profile.binders), "bind", "no policy bound the pod")

    async def _after(self, placement: Placement) -> None:
        for policy in placement.profile.post_binders:
            try:
                await policy.post_bind(placement.pod, placement.node)
            except Exception as error:
                self._failed(PolicyError(policy.name, "post_bind", error))


def unreserve(placement: Placement, failed: Callable[[PolicyError], None]) -> None:
    """Undo all reservations, in reverse order; one policy's failure does not keep the others from it."""
    for policy in reversed(placement.profile.unreservers):
        try:
            policy.unreserve(placement.pod, placement.node)
        except Exception as error:
            failed(PolicyError(policy.name, "unreserve", error))
