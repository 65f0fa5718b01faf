"""NodeResourcesFit: a node must have what the pod requests, and rather the least (or most) used one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from kcore.objects.resources import GVR, NODES, PODS
from kcore.scheduler import table
from kcore.scheduler.arrays import Bools, Floats, Ints
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Policy, Refusal
from kcore.scheduler.table import NodeTable
from kcore_policies.config import FitConfig


class NodeResourcesFit(Policy):
    name = "NodeResourcesFit"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {
        NODES: frozenset(("added", "allocatable")),
        PODS: frozenset(("removed", "requests")),
    }

    def __init__(self, config: FitConfig) -> None:
        self._config = config
        self._ignored = frozenset(config.ignored_resources)
        self._ignored_groups = frozenset(config.ignored_resource_groups)
        self._weights = config.resources
        self._shape = np.array(config.shape, np.float64).T
        self._shape[1] *= 10  # points are 0..10, scores 0..100

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        need = nodes.vector(pod)
        mask: Bools | None = None
        for column in self._asked(pod, nodes):
            fits = nodes.requested[column] + need[column] <= nodes.allocatable[column]
            mask = fits if mask is None else mask & fits
        return mask

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        need = nodes.vector(pod)
        names = list(nodes.resources)
        out = []
        for column in self._asked(pod, nodes):
            allocatable = nodes.allocatable[column]
            lacking = refused & (nodes.requested[column] + need[column] > allocatable)
            reason = "Too many pods" if column == table.PODS else f"Insufficient {names[column]}"
            # What an empty node could not hold, no preemption will make room for.
            never = lacking & (need[column] > allocatable)
            for part, preemptible in ((never, False), (lacking & ~never, True)):
                if part.any():
                    out.append(Refusal(reason, part, preemptible))
        return out

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        total: Floats | None = None
        weights: Any = 0.0
        for name, weight in self._weights.items():
            found = scored_columns(pod, nodes, name)
            if found is None:
                continue
            used, allocatable = found
            known = allocatable > 0
            if known.all():
                own = self._one(used, allocatable)
                weights = weights + weight
            else:  # a node without the resource is scored by the others
                own = self._one(used, np.maximum(allocatable, 1)) * known
                weights = weights + known * weight
            if weight != 1:
                own *= weight
            total = own if total is None else total + own
        if total is None:
            return None
        return np.asarray(np.floor(total / np.maximum(weights, 1)))

    def _one(self, used: Ints, allocatable: Ints) -> Floats:
        """The score of one resource on every node, in whole points. (Division of floats is several times as fast as
        that of integers, and exact enough to round the same way up to 2**46 units.)"""
        if self._config.strategy == "LeastAllocated":
            scores = np.floor((allocatable - used) * 100.0 / allocatable)
            return np.asarray(np.maximum(scores, 0.0, out=scores))
        share: Floats = np.floor(used * 100.0 / allocatable)
        if self._config.strategy == "MostAllocated":
            return np.where(share > 100.0, 0.0, share)
        return np.asarray(np.floor(np.interp(share, self._shape[0], self._shape[1])))

    def _asked(self, pod: PodInfo, nodes: NodeTable) -> list[int]:
        """The columns of what the pod asks for, in the order in which the table knows them; `pods` comes first."""
        columns = [table.PODS]
        for name, n in pod.requests.items():
            if n and name != "pods" and not self._ignores(name):
                columns.append(nodes.resources[name])
        return columns

    def _ignores(self, name: str) -> bool:
        return name in self._ignored or ("/" in name and name.partition("/")[0] in self._ignored_groups)


def scored_columns(pod: PodInfo, nodes: NodeTable, name: str) -> tuple[Ints, Ints] | None:
    """(used with this pod, allocatable) of a resource as scores reckon it; None: the pod has no use for it.

    Containers that ask for no cpu or memory are taken for 100m and 200Mi, so that they spread as well.
    """
    nodes.vector(pod)  # makes the columns of resources that nobody has asked for before
    column = nodes.resources.get(name)
    if column is None:
        return None
    if column in (table.CPU, table.MEMORY):
        return nodes.assumed[column] + pod.assumed[column], nodes.allocatable[column]
    asked = pod.requests.get(name, 0)
    if asked == 0 and column > table.PODS:
        return None
    return nodes.requested[column] + asked, nodes.allocatable[column]
