"""The settings of the policies, with upstream's argument names and defaults (KubeSchedulerConfiguration v1)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
from attrs.validators import ge, in_, le


def _positive_weights(instance: Any, attribute: attrs.Attribute[Any], value: dict[str, int]) -> None:
    for resource, weight in value.items():
        if not isinstance(weight, int) or weight < 1 or weight > 100:
            raise ValueError(f"{attribute.name}: the weight of {resource!r} must be 1..100, not {weight!r}")


def _shape(instance: Any, attribute: attrs.Attribute[Any], value: list[list[int]]) -> None:
    points = [tuple(p) for p in value]
    if any(len(p) != 2 or not 0 <= p[0] <= 100 or not 0 <= p[1] <= 10 for p in points):
        raise ValueError(f"{attribute.name}: points are [utilization 0..100, score 0..10], not {value!r}")
    if any(a[0] >= b[0] for a, b in pairwise(points)):
        raise ValueError(f"{attribute.name}: utilization must rise from point to point")


def _weights() -> dict[str, int]:
    return {"cpu": 1, "memory": 1}


def _list() -> list[Any]:
    return []


@attrs.frozen
class FitConfig:
    """NodeResourcesFit."""

    strategy: str = attrs.field(
        default="LeastAllocated", validator=in_(("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"))
    )
    """How free resources are scored: LeastAllocated, MostAllocated or RequestedToCapacityRatio."""
    resources: dict[str, int] = attrs.field(factory=_weights, validator=_positive_weights)
    """The resources that are scored, with their weights."""
    shape: list[list[int]] = attrs.field(factory=lambda: [[0, 0], [100, 10]], validator=_shape)
    """For RequestedToCapacityRatio: points [utilization in per cent, score 0..10]."""
    ignored_resources: list[str] = attrs.Factory(_list)
    """Extended resources that are not this scheduler's business."""
    ignored_resource_groups: list[str] = attrs.Factory(_list)
    """The same for all resources ``GROUP/...``."""


@attrs.frozen
class BalancedConfig:
    """NodeResourcesBalancedAllocation."""

    resources: dict[str, int] = attrs.field(factory=_weights, validator=_positive_weights)
    """The resources whose use should be in balance (their weights mean nothing here)."""


@attrs.frozen
class NodeAffinityConfig:
    """NodeAffinity."""

    added_affinity: dict[str, Any] = attrs.Factory(dict)
    """A NodeAffinity that all pods of the profile get in addition to their own."""


@attrs.frozen
class InterPodAffinityConfig:
    """InterPodAffinity."""

    hard_pod_affinity_weight: int = attrs.field(default=1, validator=[ge(0), le(100)])
    """What the required affinity of a pod already placed is worth to the pods that it means."""
    ignore_preferred_terms_of_existing_pods: bool = False
    """Look at the incoming pod's own preferences only, unless it has affinity of its own."""


@attrs.frozen
class PodTopologySpreadConfig:
    """PodTopologySpread."""

    defaulting_type: str = attrs.field(default="System", validator=in_(("System", "List")))
    """System: softly over hosts (skew 5) and zones (skew 3). List: as `default_constraints` says."""
    default_constraints: list[dict[str, Any]] = attrs.Factory(_list)
    """Constraints, without a labelSelector, for pods that bring none; only with defaulting_type List."""

    def __attrs_post_init__(self) -> None:
        if self.default_constraints and self.defaulting_type != "List":
            raise ValueError("default_constraints: give defaulting_type = 'List' with it")
        if any("labelSelector" in c for c in self.default_constraints):
            raise ValueError("default_constraints: must not have a labelSelector, it comes from the pod's owners")


@attrs.frozen
class VolumeBindingConfig:
    """VolumeBinding."""

    bind_timeout_seconds: int = attrs.field(default=600, validator=ge(1))
    """How long to wait for the volumes of a pod before it is tried elsewhere."""


@attrs.frozen
class PreemptionConfig:
    """DefaultPreemption."""

    min_candidate_nodes_percentage: int = attrs.field(default=10, validator=[ge(0), le(100)])
    """Look for victims on at least this share of the nodes..."""
    min_candidate_nodes_absolute: int = attrs.field(default=100, validator=ge(0))
    """...and on at least so many."""
