"""PodDisruptionBudgets: how many pods may be evicted now. The eviction API takes from that number."""

from __future__ import annotations

from kcore import clock
from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import ApiError, NotFound
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import (
    DEPLOYMENTS,
    GVR,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from kcore_controllers.deployment_sets import scaled_value

EVICTION_TIMEOUT = 120.0  # seconds an evicted pod may take to go before it counts again
_KINDS: dict[str, GVR] = {r.kind: r for r in (REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS, DEPLOYMENTS)}


class DisruptionController(Reconciler):
    name = "disruption"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.budgets = self.watch(PODDISRUPTIONBUDGETS, self.enqueue)
        self.pods = self.watch(PODS, self._pod_changed)
        self.owners = {r.kind: self.watch(r) for r in _KINDS.values()}

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        budgets = self.budgets.by_namespace(meta.namespace(pod))
        if not budgets:
            return
        for budget in budgets:
            selector = selectors.from_object(budget["spec"].get("selector"))
            if any(selector.matches(meta.labels(p)) for p in (old, new) if p is not None):
                self.queue.add_after(meta.key(budget), 0.05)

    async def reconcile(self, key: str) -> float | None:
        budget = self.budgets.get(key)
        if budget is None:
            return None
        selector = selectors.from_object(budget["spec"].get("selector"))
        mine = [p for p in self.pods.by_namespace(meta.namespace(budget)) if selector.matches(meta.labels(p))]
        mine = [p for p in mine if not meta.pod_terminal(p)]
        old = budget.get("status") or {}
        now = clock.now()
        leaving, wait = self._leaving(old.get("disruptedPods") or {}, mine, now)
        healthy = sum(1 for p in mine if meta.pod_ready(p) and not meta.deleting(p) and meta.name(p) not in leaving)
        status: Object = {**old, "observedGeneration": meta.generation(budget), "currentHealthy": healthy}
        problem = ""
        try:
            expected, desired = await self._expected(budget, mine)
        except (ApiError, LookupError) as error:
            problem, expected, desired = str(error), len(mine), len(mine)
        allowed = 0 if problem or not expected else max(healthy - desired, 0)
        status |= {"expectedPods": expected, "desiredHealthy": desired, "disruptionsAllowed": allowed}
        status.pop("disruptedPods", None)
        if leaving:
            status["disruptedPods"] = leaving
        reason, message = ("SufficientPods", "") if allowed else ("InsufficientPods", "")
        if problem:
            reason, message = "SyncFailed", problem
        status["conditions"] = [dict(c) for c in old.get("conditions") or ()]
        meta.set_condition(
            status,
            {
                "type": "DisruptionAllowed",
                "status": str(bool(allowed)),
                "reason": reason,
                "message": message,
                "observedGeneration": meta.generation(budget),
            },
        )
        if status != old:
            await self.client.update(PODDISRUPTIONBUDGETS, {**budget, "status": status}, subresource="status")
        return wait

    @staticmethod
    def _leaving(disrupted: dict[str, str], mine: list[Object], now: float) -> tuple[dict[str, str], float | None]:
        """Evicted pods that are not yet seen to go, with the time of their eviction."""
        names = {meta.name(p) for p in mine if not meta.deleting(p)}
        left = {
            name: at for name, at in disrupted.items() if name in names and clock.parse(at) + EVICTION_TIMEOUT > now
        }
        waits = [clock.parse(at) + EVICTION_TIMEOUT - now for at in left.values()]
        return left, min(waits) if waits else None

    async def _expected(self, budget: Object, mine: list[Object]) -> tuple[int, int]:
        """(how many pods there should be, how many must be healthy)."""
        spec = budget["spec"]
        if "maxUnavailable" in spec:
            expected = self._scale_of_owners(mine)
            return expected, max(expected - scaled_value(spec["maxUnavailable"], expected, True), 0)
        minimum = spec.get("minAvailable", 1)
        if isinstance(minimum, str):
            expected = self._scale_of_owners(mine)
            return expected, scaled_value(minimum, expected, True)
        return len(mine), int(minimum)

    def _scale_of_owners(self, mine: list[Object]) -> int:
        """The sizes of all controllers of these pods (a ReplicaSet's Deployment counts instead of it)."""
        sizes: dict[str, int] = {}
        for pod in mine:
            ref = meta.controller_of(pod)
            if ref is None or ref["kind"] not in _KINDS:
                raise LookupError(f'found no controllers for pod "{meta.name(pod)}"')
            owner = self.owners[ref["kind"]].get(f"{meta.namespace(pod)}/{ref['name']}")
            parent = meta.controller_of(owner) if owner is not None else None
            if parent is not None and parent["kind"] == "Deployment":
                owner = self.owners["Deployment"].get(f"{meta.namespace(pod)}/{parent['name']}") or owner
            if owner is None:
                raise NotFound(f'{ref["kind"]} "{ref["name"]}" not found')
            sizes[meta.uid(owner)] = int(owner["spec"].get("replicas", 1))
        return sum(sizes.values())
