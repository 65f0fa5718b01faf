"""ImageLocality: rather a node that already holds the pod's images."""

from __future__ import annotations

import numpy as np

from kcore.scheduler.arrays import Floats
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Policy
from kcore.scheduler.table import NodeTable

LOW = 23 * 1024 * 1024
"""Bytes of present images that are worth nothing."""
HIGH = 1000 * 1024 * 1024
"""Bytes for each container that are worth the full score."""


class ImageLocality(Policy):
    name = "ImageLocality"

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        """By the bytes present, each image scaled by the share of nodes that have it (so that one node with a rare
        image does not draw all pods)."""
        present: Floats | None = None
        for image in pod.images:
            holders = nodes.image(image)
            if not holders:
                continue
            if present is None:
                present = np.zeros(nodes.size)
            rows = np.fromiter(holders.keys(), np.int64, len(holders))
            sizes = np.fromiter(holders.values(), np.float64, len(holders))
            present[rows] += np.floor(sizes * (len(holders) / len(nodes)))
        if present is None:
            return None
        high = HIGH * len(pod.images)
        return np.asarray(np.floor(100.0 * (np.clip(present, LOW, high) - LOW) / (high - LOW)))
