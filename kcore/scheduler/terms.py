"""Taints, tolerations and selectors as pods and nodes declare them, parsed once into hashable values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from kcore.objects import Object, selectors
from kcore.objects.selectors import NOTHING, Requirement, Selector

NO_SCHEDULE = "NoSchedule"
PREFER_NO_SCHEDULE = "PreferNoSchedule"
NO_EXECUTE = "NoExecute"

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


@attrs.frozen(slots=True)
class Taint:
    """A node's taint (without ``timeAdded``, which matters to eviction only)."""

    key: str
    value: str
    effect: str


@attrs.frozen(slots=True)
class Toleration:
    """A pod's toleration; an empty key with Exists tolerates every key, an empty effect every effect."""

    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        if not self.key:
            return False
        if self.operator in ("Lt", "Gt"):
            return _numbers_compare(self.operator, taint.value, self.value)
        return self.value == taint.value


def _numbers_compare(operator: str, left: str, right: str) -> bool:
    try:
        a, b = int(left), int(right)
    except ValueError:
        return False
    return a < b if operator == "Lt" else a > b


@attrs.frozen(slots=True)
class NodeTerm:
    """One NodeSelectorTerm: every requirement on labels and on ``metadata.name`` must hold.

    A term without requirements matches no node, as the API documents it.
    """

    labels: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]


@attrs.frozen(slots=True)
class PreferredNodeTerm:
    weight: int
    term: NodeTerm


@attrs.frozen(slots=True, cache_hash=True)
class PodTerm:
    """Which pods are meant: those in `namespaces`, or in a namespace that `namespace_selector` matches, whose
    labels `selector` matches."""

    namespaces: frozenset[str]
    selector: Selector
    namespace_selector: Selector = NOTHING

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, Any]) -> bool:
        """`namespace_labels` maps the name of each namespace to its labels."""
        if namespace not in self.namespaces and (
            self.namespace_selector.nothing or not self.namespace_selector.matches(namespace_labels.get(namespace, {}))
        ):
            return False
        return self.selector.matches(labels)


@attrs.frozen(slots=True, cache_hash=True)
class AffinityTerm:
    """A PodAffinityTerm: pods like `pods` in the same domain of `topology_key`. `weight` is 0 if required."""

    topology_key: str
    pods: PodTerm
    weight: int = 0


@attrs.frozen(slots=True)
class SpreadConstraint:
    """A TopologySpreadConstraint with its defaults filled in and ``matchLabelKeys`` merged into the selector."""

    topology_key: str
    max_skew: int
    selector: Selector
    hard: bool  # DoNotSchedule, else ScheduleAnyway
    min_domains: int = 1
    honor_affinity: bool = True  # nodeAffinityPolicy: Honor
    honor_taints: bool = False  # nodeTaintsPolicy: Ignore


def taints(node: Object) -> tuple[Taint, ...]:
    found = node.get("spec", {}).get("taints")
    if not found:
        return ()
    return tuple(Taint(t["key"], t.get("value", ""), t["effect"]) for t in found)


def tolerations(spec: Object) -> tuple[Toleration, ...]:
    found = spec.get("tolerations")
    if not found:
        return ()
    return tuple(
        Toleration(t.get("key", ""), t.get("operator") or "Equal", t.get("value", ""), t.get("effect", ""))
        for t in found
    )


def requirements(expressions: Iterable[Object] | None) -> tuple[Requirement, ...]:
    """NodeSelectorRequirements. Raises KeyError for an operator that does not exist."""
    return tuple(
        Requirement(e["key"], _OPERATORS[e["operator"]], frozenset(e.get("values") or ())) for e in expressions or ()
    )


def node_term(term: Object) -> NodeTerm:
    return NodeTerm(requirements(term.get("matchExpressions")), requirements(term.get("matchFields")))


def node_terms(selector: Object | None) -> tuple[NodeTerm, ...] | None:
    """A NodeSelector (any of its terms must match), or None where there is none."""
    if selector is None:
        return None
    return tuple(node_term(t) for t in selector.get("nodeSelectorTerms") or ())


def affinity_term(term: Object, namespace: str, labels: Mapping[str, str], weight: int = 0) -> AffinityTerm:
    """`namespace` and `labels` are those of the pod that carries the term."""
    names = term.get("namespaces")
    chooser = term.get("namespaceSelector")
    own = frozenset(names) if names else (frozenset() if chooser is not None else frozenset((namespace,)))
    wanted = selectors.from_object(term.get("labelSelector"))
    if not wanted.nothing:
        extra = _from_keys(term.get("matchLabelKeys"), labels, "in")
        extra += _from_keys(term.get("mismatchLabelKeys"), labels, "notin")
        if extra:
            wanted = Selector(wanted.requirements + tuple(r for r in extra if r not in wanted.requirements))
    return AffinityTerm(term["topologyKey"], PodTerm(own, wanted, selectors.from_object(chooser)), weight)


def spread_constraint(constraint: Object, labels: Mapping[str, str]) -> SpreadConstraint:
    selector = selectors.from_object(constraint.get("labelSelector"))
    if not selector.nothing:
        extra = _from_keys(constraint.get("matchLabelKeys"), labels, "in")
        if extra:
            selector = Selector(selector.requirements + extra)
    return SpreadConstraint(
        topology_key=constraint["topologyKey"],
        max_skew=int(constraint["maxSkew"]),
        selector=selector,
        hard=constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        min_domains=int(constraint.get("minDomains") or 1),
        honor_affinity=constraint.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=constraint.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _from_keys(keys: Iterable[str] | None, labels: Mapping[str, str], op: str) -> tuple[Requirement, ...]:
    return tuple(Requirement(k, op, frozenset((labels[k],))) for k in keys or () if k in labels)
