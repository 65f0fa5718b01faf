"""Node selectors and tolerations as masks over all nodes. Shared by the policies that need them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kcore.objects.selectors import Requirement
from kcore.scheduler.arrays import Bools
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.table import NodeTable
from kcore.scheduler.terms import NO_EXECUTE, NO_SCHEDULE, NodeTerm, Toleration

HARD = (NO_SCHEDULE, NO_EXECUTE)


def requirement_mask(requirement: Requirement, nodes: NodeTable) -> Bools:
    """The nodes whose label meets one requirement."""
    label = nodes.label(requirement.key)
    ids, op = label.ids, requirement.op
    if op in ("exists", "!"):
        present: Bools = ids > 0
        return present if op == "exists" else ~present
    if op in ("in", "notin"):
        wanted = [label.id(v) for v in requirement.values]
        if len(wanted) > 1:
            return np.isin(ids, wanted, invert=op == "notin")
        same: Bools = ids == wanted[0]
        return same if op == "in" else ~same
    good = np.fromiter((requirement.matches({requirement.key: v}) for v in label.values), np.bool_, len(label.values))
    good[0] = False
    return np.asarray(good[ids])


def term_mask(term: NodeTerm, nodes: NodeTable) -> Bools:
    """The nodes that meet every requirement of a term; none for an empty term."""
    if not term.labels and not term.fields:
        return np.zeros(nodes.size, np.bool_)
    mask: Bools | None = None
    for requirement in term.labels:
        own = requirement_mask(requirement, nodes)
        mask = own if mask is None else mask & own
    for requirement in term.fields:
        named = np.zeros(nodes.size, np.bool_)
        if requirement.key == "metadata.name":
            named[[nodes.rows[name] for name in requirement.values if name in nodes.rows]] = True
            if requirement.op == "notin":
                named = ~named
        mask = named if mask is None else mask & named
    assert mask is not None
    return mask


def any_term_mask(terms: Iterable[NodeTerm], nodes: NodeTable) -> Bools:
    mask = np.zeros(nodes.size, np.bool_)
    for term in terms:
        mask |= term_mask(term, nodes)
    return mask


def selected(pod: PodInfo, nodes: NodeTable) -> Bools | None:
    """The nodes that the pod's nodeSelector and required node affinity allow; None: all."""
    mask: Bools | None = None
    for key, value in pod.node_selector:
        label = nodes.label(key)
        own: Bools = label.ids == label.id(value)
        mask = own if mask is None else mask & own
    if pod.required_nodes is not None:
        own = any_term_mask(pod.required_nodes, nodes)
        mask = own if mask is None else mask & own
    return mask


def tolerated(tolerations: tuple[Toleration, ...], nodes: NodeTable) -> Bools | None:
    """The nodes none of whose NoSchedule and NoExecute taints is left untolerated; None: all."""
    if len(nodes.taint_sets) == 1:
        return None
    good = [
        all(t.effect not in HARD or any(o.tolerates(t) for o in tolerations) for t in taints)
        for taints in nodes.taint_sets
    ]
    if all(good):
        return None
    return np.array(good, np.bool_)[nodes.taint_ids]
