"""The policy itself: two vector operations for each dataset that a pod reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from kcore.objects import quantity
from kcore.objects.resources import GVR, NODES
from kcore.scheduler.arrays import Bools, Floats
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Policy, Refusal
from kcore.scheduler.table import NodeTable
from kcore_policy_data_locality import Config

UNKNOWN_SIZE = 10**9
"""Bytes that a dataset counts for whose label has no size."""


class DataLocality(Policy):
    name = "DataLocality"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset(("added", "labels"))}

    def __init__(self, config: Config) -> None:
        self._config = config

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        datasets = self._datasets(pod)
        if not datasets or pod.annotations.get(self._config.annotation_prefix + "required") != "true":
            return None
        mask = np.ones(nodes.size, np.bool_)
        for dataset in datasets:
            mask &= nodes.label(self._config.label_prefix + dataset).ids > 0
        return mask

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        return (Refusal("node(s) didn't hold all required datasets", refused),)

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        """Bytes of the pod's datasets on each node, or in its zone at a discount."""
        datasets = self._datasets(pod)
        if not datasets:
            return None
        zone = nodes.label(self._config.topology_key)
        total = np.zeros(nodes.size)
        for dataset in datasets:
            held = nodes.label(self._config.label_prefix + dataset)
            sizes = np.array([0.0, *(_size(text) for text in held.values[1:])])
            here = sizes[held.ids]
            nearby = np.zeros(len(zone.values))
            np.maximum.at(nearby, zone.ids, here)
            nearby[0] = 0.0  # nodes without a zone are near nobody
            total += np.maximum(here, nearby[zone.ids] * self._config.nearby_share)
        return total

    def normalize(self, scores: Floats) -> Floats:
        most = float(scores.max())
        return scores * (100.0 / most) if most > 0 else scores

    def _datasets(self, pod: PodInfo) -> list[str]:
        text = pod.annotations.get(self._config.annotation_prefix + "reads", "")
        return [name for name in (part.strip() for part in text.split(",")) if name]


def _size(text: str) -> float:
    try:
        return float(max(quantity.value(text), 1))
    except ValueError:
        return float(UNKNOWN_SIZE)
