"""NodeResourcesBalancedAllocation: rather the node whose cpu and memory will be used in equal measure."""

from __future__ import annotations

import numpy as np

from kcore.scheduler.arrays import Floats
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Policy
from kcore.scheduler.table import NodeTable
from kcore_policies.config import BalancedConfig


class NodeResourcesBalancedAllocation(Policy):
    name = "NodeResourcesBalancedAllocation"

    def __init__(self, config: BalancedConfig) -> None:
        self._resources = list(config.resources)

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        """100 less the standard deviation of the shares in use, in per cent. A pod that asks for nothing
        changes no balance."""
        if not any(pod.requests.get(name) for name in self._resources):
            return None
        need = nodes.vector(pod)
        shares = []
        for name in self._resources:
            column = nodes.resources.get(name)
            if column is None or (column > 3 and not need[column]):
                continue
            used = nodes.requested[column] + need[column]
            share = used / np.maximum(nodes.allocatable[column], 1)
            shares.append(np.minimum(share, 1.0, out=share))
        if len(shares) == 2:  # the usual case, without building a matrix
            deviation = np.abs(shares[0] - shares[1]) * 0.5
        elif len(shares) > 2:
            deviation = np.std(np.stack(shares), axis=0)
        else:
            return None
        scores = (1.0 - deviation) * 100.0
        return np.asarray(np.floor(scores, out=scores))
