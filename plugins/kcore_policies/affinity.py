"""InterPodAffinity: near the pods that it likes, far from those that it does not, and the other way round.

Both directions are counts that the table keeps: how many pods that a term means are on each node, and how many pods
on each node carry a term that means this one. A domain's count is the sum over its nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from kcore.objects.resources import GVR, NODES, PODS
from kcore.scheduler.arrays import Bools, Floats, Ints
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Policy, Refusal, spread_out
from kcore.scheduler.table import NodeTable
from kcore.scheduler.terms import AffinityTerm
from kcore_policies.config import InterPodAffinityConfig


class InterPodAffinity(Policy):
    name = "InterPodAffinity"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {
        NODES: frozenset(("added", "labels")),
        PODS: frozenset(("added", "removed", "labels")),
    }

    def __init__(self, config: InterPodAffinityConfig) -> None:
        self._hard_weight = config.hard_pod_affinity_weight
        self._own_only = config.ignore_preferred_terms_of_existing_pods

    # --- required --------------------------------------------------------------------------------------------------

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        parts = (self._existing(pod, nodes), self._affine(pod, nodes), self._apart(pod, nodes))
        mask: Bools | None = None
        for part in parts:
            if part is not None:
                mask = part if mask is None else mask & part
        return mask

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        out = []
        reasons = (
            ("node(s) didn't match pod affinity rules", self._affine(pod, nodes), False),
            ("node(s) didn't match pod anti-affinity rules", self._apart(pod, nodes), True),
            ("node(s) didn't satisfy existing pods anti-affinity rules", self._existing(pod, nodes), True),
        )
        for reason, mask, preemptible in reasons:
            if mask is not None:
                own = refused & ~mask
                refused = refused & mask
                if own.any():
                    out.append(Refusal(reason, own, preemptible))
        return out

    def _affine(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        """Nodes in whose domains there are pods that match all terms. The first pod of a group that likes itself
        may go to any node that has the labels, or it could never be placed."""
        if not pod.affinity:
            return None
        matching = nodes.count(tuple(term.pods for term in pod.affinity))
        labelled = np.ones(nodes.size, np.bool_)
        mask = labelled.copy()
        for term in pod.affinity:
            domains = nodes.label(term.topology_key).ids
            labelled &= domains > 0
            mask &= _in_domain(nodes, term.topology_key, matching) > 0
        mask &= labelled
        if not self._anywhere(pod, nodes, matching) and _means(pod.affinity, pod, nodes):
            return labelled
        return mask

    @staticmethod
    def _anywhere(pod: PodInfo, nodes: NodeTable, matching: Ints) -> bool:
        """Some matching pod is in a domain of some term."""
        return any(bool(matching[nodes.label(t.topology_key).ids > 0].any()) for t in pod.affinity)

    @staticmethod
    def _apart(pod: PodInfo, nodes: NodeTable) -> Bools | None:
        """Nodes in whose domains there is no pod that this one keeps away from."""
        mask: Bools | None = None
        for term in pod.anti_affinity:
            free = _in_domain(nodes, term.topology_key, nodes.count((term.pods,))) == 0
            mask = free if mask is None else mask & free
        return mask

    @staticmethod
    def _existing(pod: PodInfo, nodes: NodeTable) -> Bools | None:
        """Nodes in whose domains there is no pod that keeps away from this one."""
        mask: Bools | None = None
        for term, carriers in nodes.carried("anti-affinity", pod):
            free = _in_domain(nodes, term.topology_key, carriers) == 0
            mask = free if mask is None else mask & free
        return mask

    # --- preferred -------------------------------------------------------------------------------------------------

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        """The sum of the weights of the terms that hold, once for each pod that they hold for."""
        total: Floats | None = None
        for topology_key, weight, counts in self._weighted(pod, nodes):
            if counts.any():
                own = weight * _in_domain(nodes, topology_key, counts)
                total = own if total is None else total + own
        return total

    def normalize(self, scores: Floats) -> Floats:
        return np.floor(spread_out(scores))

    def _weighted(self, pod: PodInfo, nodes: NodeTable) -> Iterable[tuple[str, int, Ints]]:
        for term in (*pod.preferred_affinity, *pod.preferred_anti_affinity):
            yield term.topology_key, term.weight, nodes.count((term.pods,))
        if self._own_only and not (pod.preferred_affinity or pod.preferred_anti_affinity):
            return
        for term, carriers in nodes.carried("preferred", pod):
            yield term.topology_key, term.weight, carriers
        if self._hard_weight:
            for term, carriers in nodes.carried("affinity", pod):
                yield term.topology_key, self._hard_weight, carriers

    # --- hints -----------------------------------------------------------------------------------------------------

    def may_help(self, pod: PodInfo, change: Change) -> bool:
        return change.what != {"added"} or change.resource == NODES or bool(pod.affinity)


def _in_domain(nodes: NodeTable, topology_key: str, counts: Ints) -> Floats:
    """By row: the sum of `counts` over all nodes in the same domain; 0 for nodes without the label."""
    label = nodes.label(topology_key)
    by_domain = np.bincount(label.ids, weights=counts, minlength=len(label.values)).astype(np.float64, copy=False)
    by_domain[0] = 0
    return by_domain[label.ids]


def _means(affinity: Iterable[AffinityTerm], pod: PodInfo, nodes: NodeTable) -> bool:
    """All terms mean the pod itself."""
    return all(t.pods.matches(pod.namespace, pod.labels, nodes.namespaces) for t in affinity)
