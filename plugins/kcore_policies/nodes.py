"""Policies about the node itself: its name, whether it is cordoned, its taints, its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from kcore.objects.resources import GVR, NODES
from kcore.scheduler import terms
from kcore.scheduler.arrays import Bools, Floats
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Policy, Refusal
from kcore.scheduler.select import any_term_mask, selected, term_mask, tolerated
from kcore.scheduler.table import NodeTable
from kcore.scheduler.terms import PREFER_NO_SCHEDULE, PreferredNodeTerm, Taint
from kcore_policies.config import NodeAffinityConfig

_CORDONED = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeName(Policy):
    """A pod that names its node in its spec goes nowhere else."""

    name = "NodeName"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset(("added",))}

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        if not pod.node:
            return None
        mask = np.zeros(nodes.size, np.bool_)
        if pod.node in nodes.rows:
            mask[nodes.rows[pod.node]] = True
        return mask

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        return (Refusal("node(s) didn't match the requested node name", refused),)


class NodeUnschedulable(Policy):
    """A cordoned node takes only pods that tolerate it."""

    name = "NodeUnschedulable"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset(("added", "unschedulable", "taints"))}

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        if not nodes.unschedulable.any() or any(t.tolerates(_CORDONED) for t in pod.tolerations):
            return None
        return ~nodes.unschedulable

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        return (Refusal("node(s) were unschedulable", refused),)


class TaintToleration(Policy):
    """NoSchedule and NoExecute taints keep pods away that do not tolerate them; PreferNoSchedule ones cost points."""

    name = "TaintToleration"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset(("added", "taints"))}

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        return tolerated(pod.tolerations, nodes)

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        return (Refusal("node(s) had untolerated taint(s)", refused),)

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        """The negative number of soft taints that the pod does not tolerate."""
        tolerations = [t for t in pod.tolerations if t.effect in ("", PREFER_NO_SCHEDULE)]
        bad = [
            sum(t.effect == PREFER_NO_SCHEDULE and not any(o.tolerates(t) for o in tolerations) for t in taints)
            for taints in nodes.taint_sets
        ]
        if not any(bad):
            return None
        return -np.array(bad, np.float64)[nodes.taint_ids]

    def normalize(self, scores: Floats) -> Floats:
        worst = scores.min()
        return scores + 100.0 if worst == 0 else np.floor(100.0 - scores * (100.0 / worst))


class NodeAffinity(Policy):
    """nodeSelector and node affinity, the profile's added affinity included."""

    name = "NodeAffinity"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset(("added", "labels"))}

    def __init__(self, config: NodeAffinityConfig) -> None:
        added = config.added_affinity
        self._required = terms.node_terms(added.get("requiredDuringSchedulingIgnoredDuringExecution"))
        self._preferred = tuple(
            PreferredNodeTerm(p["weight"], terms.node_term(p["preference"]))
            for p in added.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        )

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        mask = selected(pod, nodes)
        if self._required is not None:
            added = any_term_mask(self._required, nodes)
            mask = added if mask is None else mask & added
        return mask

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        out = []
        if self._required is not None:
            enforced = refused & ~any_term_mask(self._required, nodes)
            refused = refused & ~enforced
            if enforced.any():
                out.append(Refusal("node(s) didn't match scheduler-enforced node affinity", enforced))
        if refused.any():
            out.append(Refusal("node(s) didn't match Pod's node affinity/selector", refused))
        return out

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        preferred = (*self._preferred, *pod.preferred_nodes)
        if not preferred:
            return None
        total = np.zeros(nodes.size)
        for preference in preferred:
            if preference.weight:
                total += term_mask(preference.term, nodes) * float(preference.weight)
        return total

    def normalize(self, scores: Floats) -> Floats:
        best = scores.max()
        return np.floor(scores * (100.0 / best)) if best > 0 else scores
