"""PodTopologySpread: pods that are alike spread over zones, hosts or whatever else a label names.

The number of matching pods on each node is a column that the table keeps up to date; summing it by domain is one
`bincount`, whatever the number of pods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import numpy as np

from kcore.objects import Object, selectors
from kcore.objects.meta import controller_of
from kcore.objects.resources import GVR, NODES, PODS, REPLICASETS, REPLICATIONCONTROLLERS, SERVICES, STATEFULSETS
from kcore.objects.selectors import Selector
from kcore.scheduler import terms
from kcore.scheduler.arrays import Bools, Floats, Ints
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Handle, Policy, Refusal
from kcore.scheduler.select import selected, tolerated
from kcore.scheduler.table import NodeTable
from kcore.scheduler.terms import PodTerm, SpreadConstraint
from kcore_policies.config import PodTopologySpreadConfig

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
_SYSTEM = (
    {"topologyKey": HOSTNAME, "maxSkew": 5, "whenUnsatisfiable": "ScheduleAnyway"},
    {"topologyKey": ZONE, "maxSkew": 3, "whenUnsatisfiable": "ScheduleAnyway"},
)
_BY_SELECTOR = "kcore-spread-selector"
_OWNERS = {"ReplicaSet": REPLICASETS, "ReplicationController": REPLICATIONCONTROLLERS, "StatefulSet": STATEFULSETS}


@attrs.frozen
class _Spread:
    """One constraint, counted: domain numbers by row, which nodes count, matching pods by domain."""

    constraint: SpreadConstraint
    domains: Ints
    counted: Bools
    by_domain: Floats
    present: Bools  # by domain: some counted node is in it


class PodTopologySpread(Policy):
    name = "PodTopologySpread"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {
        NODES: frozenset(("added", "removed", "labels", "taints")),
        PODS: frozenset(("added", "removed", "labels", "deleting")),
    }

    def __init__(self, config: PodTopologySpreadConfig) -> None:
        defaults = _SYSTEM if config.defaulting_type == "System" else config.default_constraints
        self._system = config.defaulting_type == "System"
        self._defaults = tuple(terms.spread_constraint(dict(c), {}) for c in defaults)
        self._hard_defaults = any(c.hard for c in self._defaults)
        self._handle: Handle | None = None

    def attach(self, handle: Handle) -> None:
        self._handle = handle
        if self._defaults:
            handle.informer(SERVICES).add_index(_BY_SELECTOR, _selector_keys)
            for resource in _OWNERS.values():
                handle.informer(resource)

    # --- hard constraints -------------------------------------------------------------------------------------------

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        mask: Bools | None = None
        for spread in self._hard(pod, nodes):
            fits = self._fits(spread, pod)
            mask = fits if mask is None else mask & fits
        return mask

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        missing = np.zeros(nodes.size, np.bool_)
        for spread in self._hard(pod, nodes):
            missing |= spread.domains == 0
        reason = "node(s) didn't match pod topology spread constraints"
        out = []
        if (missing & refused).any():
            out.append(Refusal(f"{reason} (missing required label)", missing & refused))
        if (refused & ~missing).any():
            out.append(Refusal(reason, refused & ~missing, preemptible=True))
        return out

    def _hard(self, pod: PodInfo, nodes: NodeTable) -> list[_Spread]:
        if not pod.spread and not self._hard_defaults:
            return []
        constraints = [c for c in self._constraints(pod)[0] if c.hard]
        return _count(constraints, pod, nodes, True) if constraints else []

    @staticmethod
    def _fits(spread: _Spread, pod: PodInfo) -> Bools:
        constraint, found = spread.constraint, spread.by_domain[spread.present]
        least = float(found.min()) if len(found) >= constraint.min_domains and len(found) else 0.0
        self_match = 1 if constraint.selector.matches(pod.labels) else 0
        room = spread.by_domain + self_match - least <= constraint.max_skew
        room[0] = False  # nodes without the label
        return np.asarray(room[spread.domains])

    # --- soft constraints -------------------------------------------------------------------------------------------

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        """Matching pods in the node's domains, weighted by how many domains there are; fewer is better. NaN where a
        label is missing."""
        found, defaulted = self._constraints(pod)
        constraints = [c for c in found if not c.hard]
        if not constraints:
            return None
        strict = not (defaulted and self._system)
        total = np.zeros(nodes.size)
        for spread in _count(constraints, pod, nodes, strict):
            weight = math.log(int(spread.present.sum()) + 2)
            matching = spread.by_domain * weight + (spread.constraint.max_skew - 1)
            matching[0] = np.nan if strict else 0.0
            total += matching[spread.domains]
        return np.asarray(np.round(total))

    def normalize(self, scores: Floats) -> Floats:
        known = scores[~np.isnan(scores)]
        if not len(known):
            return np.zeros(len(scores))
        low, high = float(known.min()), float(known.max())
        if high == 0:
            return np.where(np.isnan(scores), 0.0, 100.0)
        return np.floor(np.nan_to_num(100.0 * (high + low - scores) / high, nan=0.0))

    def may_help(self, pod: PodInfo, change: Change) -> bool:
        return change.resource == NODES or (change.pod is not None and change.pod.namespace == pod.namespace)

    # --- which constraints ------------------------------------------------------------------------------------------

    def _constraints(self, pod: PodInfo) -> tuple[tuple[SpreadConstraint, ...], bool]:
        """The pod's own, or the defaults with the selector of what the pod belongs to: (constraints, defaulted)."""
        if pod.spread or not self._defaults or self._handle is None:
            return pod.spread, False
        selector = self._selector(pod, self._handle)
        if selector.everything:
            return (), True
        return tuple(attrs.evolve(c, selector=selector) for c in self._defaults), True

    def _selector(self, pod: PodInfo, handle: Handle) -> Selector:
        """The selectors of the pod's services and of its owner, all at once. Empty if it has neither."""
        requirements: dict[str, selectors.Requirement] = {}
        services = handle.informer(SERVICES)
        for key, value in pod.labels.items():
            for service in services.indexed(_BY_SELECTOR, f"{pod.namespace}/{key}={value}"):
                own = selectors.from_map(service["spec"]["selector"])
                if own.matches(pod.labels):
                    requirements.update((str(r), r) for r in own.requirements)
        owner = controller_of(pod.obj)
        resource = _OWNERS.get(owner["kind"]) if owner else None
        if owner and resource:
            found = handle.informer(resource).get(f"{pod.namespace}/{owner['name']}")
            if found is not None:
                wanted = found["spec"].get("selector")
                plain = resource is REPLICATIONCONTROLLERS
                own = selectors.from_map(wanted) if plain else selectors.from_object(wanted)
                requirements.update((str(r), r) for r in own.requirements)
        return Selector(tuple(requirements.values()))


def _selector_keys(service: Object) -> tuple[str, ...]:
    """A service under one of the labels that it selects: a pod finds its services by its own labels."""
    for key, value in (service.get("spec", {}).get("selector") or {}).items():
        return (f"{service['metadata'].get('namespace', '')}/{key}={value}",)
    return ()


def _count(constraints: Sequence[SpreadConstraint], pod: PodInfo, nodes: NodeTable, all_keys: bool) -> list[_Spread]:
    """Count matching pods by domain, over the nodes that the inclusion policies let count.

    With `all_keys` a node must have the labels of all constraints to count (as upstream has it).
    """
    labels = [nodes.label(c.topology_key) for c in constraints]
    base = nodes.alive
    if all_keys:
        for label in labels:
            base = base & (label.ids > 0)
    affine = selected(pod, nodes) if any(c.honor_affinity for c in constraints) else None
    tolerant = tolerated(pod.tolerations, nodes) if any(c.honor_taints for c in constraints) else None
    out = []
    for constraint, label in zip(constraints, labels, strict=True):
        counted = base
        if constraint.honor_affinity and affine is not None:
            counted = counted & affine
        if constraint.honor_taints and tolerant is not None:
            counted = counted & tolerant
        term = PodTerm(frozenset((pod.namespace,)), constraint.selector)
        matching = np.where(counted, nodes.count((term,), living=True), 0)
        width = len(label.values)
        by_domain = np.bincount(label.ids, weights=matching, minlength=width).astype(np.float64, copy=False)
        present = np.bincount(label.ids, weights=counted, minlength=width) > 0
        present[0] = False
        out.append(_Spread(constraint, label.ids, counted, by_domain, present))
    return out
