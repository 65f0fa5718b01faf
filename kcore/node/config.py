"""What a node is: its name, its size, where it is reached."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from kcore.objects import Object

VERSION = "v1.37.0"  # of the kubelet whose behaviour this is
PORT = 10250


@attrs.frozen
class NodeConfig:
    """One node, as it will register itself."""

    name: str
    address: str
    pod_cidr: str = ""  # a wish: a Node object that exists already has the last word
    port: int = PORT
    capacity: Mapping[str, str] = attrs.field(factory=lambda: {"cpu": "4", "memory": "8Gi", "pods": "110"})
    labels: Mapping[str, str] = attrs.field(factory=dict)
    taints: tuple[Object, ...] = ()
    provider_id: str = ""
    lease_seconds: float = 40.0  # how long a Lease lasts
    heartbeat_seconds: float = 10.0  # between renewals of the Lease
    status_seconds: float = 300.0  # between status reports while nothing changes
    phase: float = 0.0  # 0..1: where in the heartbeat period this node's turn is
