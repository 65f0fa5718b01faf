"""DefaultPreemption: pods of lower priority make room for one that fits nowhere.

Of the nodes where that would help, the one is taken where it does the least harm: fewest disruption budgets broken,
then the least important victims, then the fewest, then the youngest
(https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import attrs
import numpy as np

from kcore.objects import Object, selectors
from kcore.objects.resources import PODDISRUPTIONBUDGETS
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Attempt, Handle, Nomination, Policy
from kcore.scheduler.table import NodeTable
from kcore_policies.config import PreemptionConfig

_SAID = "no new claims to deallocate, preemption:"  # upstream's DynamicResources has the first words


@attrs.frozen
class _Candidate:
    node: str
    victims: tuple[PodInfo, ...]
    violations: int  # victims whose disruption budget would be broken

    @property
    def harm(self) -> tuple[float, ...]:
        highest = max(v.priority for v in self.victims)
        youngest = min(v.started for v in self.victims if v.priority == highest)
        # Every victim counts, even one of negative priority.
        total = sum(v.priority + 2**31 for v in self.victims)
        return (self.violations, highest, total, len(self.victims), -youngest)


class DefaultPreemption(Policy):
    name = "DefaultPreemption"

    def __init__(self, config: PreemptionConfig) -> None:
        self._config = config
        self._handle: Handle | None = None

    def attach(self, handle: Handle) -> None:
        self._handle = handle
        handle.informer(PODDISRUPTIONBUDGETS)

    def post_filter(self, pod: PodInfo, nodes: NodeTable, attempt: Attempt) -> Nomination | str:
        if attempt.hopeless:
            return "not found"  # what upstream says here, having no state of the filters
        if pod.spec.get("preemptionPolicy") == "Never":
            return f"{_SAID} not eligible due to preemptionPolicy=Never."
        if pod.nominated and any(v.deleting and v.priority < pod.priority for v in nodes.pods_on(pod.nominated)):
            return f"{_SAID} not eligible due to a terminating pod on the nominated node."
        helpful = int(np.count_nonzero(attempt.preemptible))
        best: _Candidate | None = None
        if helpful and nodes.lowest_priority < pod.priority:
            for candidate in self._candidates(pod, nodes, attempt):
                if best is None or candidate.harm < best.harm:
                    best = candidate
        if best is not None:
            return Nomination(best.node, best.victims)
        reasons = []
        if helpful:
            reasons.append(f"{helpful} No preemption victims found for incoming pod")
        if len(nodes) > helpful:
            reasons.append(f"{len(nodes) - helpful} Preemption is not helpful for scheduling")
        return f"{_SAID} 0/{len(nodes)} nodes are available: {', '.join(sorted(reasons))}."

    def _candidates(self, pod: PodInfo, nodes: NodeTable, attempt: Attempt) -> Iterator[_Candidate]:
        """On a bounded number of nodes, starting at a different one for each pod."""
        rows = np.flatnonzero(attempt.preemptible)
        wanted = max(
            len(nodes) * self._config.min_candidate_nodes_percentage // 100, self._config.min_candidate_nodes_absolute
        )
        start = zlib.crc32(pod.key.encode()) % len(rows)
        for row in np.roll(rows, -start):
            name = nodes.names[row]
            lower = [p for p in nodes.pods_on(name) if p.priority < pod.priority]
            if not lower:
                continue
            lower.sort(key=lambda p: (-p.priority, p.started))  # the most important first: they are spared first
            violating = self._violating(lower)
            spared_first = [p for p in lower if p.key in violating] + [p for p in lower if p.key not in violating]
            victims = attempt.victims(int(row), spared_first)
            if victims:
                yield _Candidate(name, tuple(victims), sum(v.key in violating for v in victims))
                wanted -= 1
                if wanted <= 0:
                    return

    def _violating(self, pods: Iterable[PodInfo]) -> set[str]:
        """The keys of those whose removal would break a disruption budget, if they went in this order."""
        out: set[str] = set()
        allowed: dict[str, int] = {}
        for pod in pods:
            for budget in self._budgets(pod):
                uid = budget["metadata"].get("uid", budget["metadata"]["name"])
                status = budget.get("status", {})
                if pod.name in (status.get("disruptedPods") or {}):
                    continue  # its going has been allowed already
                allowed.setdefault(uid, status.get("disruptionsAllowed", 0))
                allowed[uid] -= 1
                if allowed[uid] < 0:
                    out.add(pod.key)
        return out

    def _budgets(self, pod: PodInfo) -> Iterator[Object]:
        if self._handle is None or not pod.labels:
            return
        for budget in self._handle.informer(PODDISRUPTIONBUDGETS).by_namespace(pod.namespace):
            selector = selectors.from_object(budget.get("spec", {}).get("selector"))
            if not selector.everything and selector.matches(pod.labels):
                yield budget
