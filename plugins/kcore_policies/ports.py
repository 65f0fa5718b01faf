"""NodePorts: a host port can be used once on a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from kcore.objects.resources import GVR, NODES, PODS
from kcore.scheduler.arrays import Bools
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Policy, Refusal
from kcore.scheduler.table import NodeTable

_ANY = "0.0.0.0"


class NodePorts(Policy):
    name = "NodePorts"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset(("added",)), PODS: frozenset(("removed",))}

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        if not pod.host_ports:
            return None
        mask = np.ones(nodes.size, np.bool_)
        for protocol, port, address in pod.host_ports:
            for row, used in nodes.port_users(protocol, port):
                if _ANY in (address, used) or address == used:
                    mask[row] = False
        return mask

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        reason = "node(s) didn't have free ports for the requested pod ports"
        return (Refusal(reason, refused, preemptible=True),)

    def may_help(self, pod: PodInfo, change: Change) -> bool:
        return change.resource == NODES or (change.pod is not None and bool(change.pod.host_ports))
