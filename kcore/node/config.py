"""What a node is: its name, its size, where it is reached."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from kcore.node.eviction import DEFAULT, Threshold, thresholds
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
    data_dir: str = ""  # where volumes and logs are, on a machine
    reserved: Mapping[str, str] = attrs.field(factory=dict)  # of the capacity, not for pods
    thresholds: tuple[Threshold, ...] = attrs.field(factory=lambda: thresholds(DEFAULT))
    pressure_transition: float = 300.0  # seconds that a pressure is told after it was last seen
    image_high: int = 85  # percent of the disk of images at which unused ones are removed ...
    image_low: int = 80  # ... until this is left
    allowed_sysctls: tuple[str, ...] = ()  # unsafe ones that pods may set: names, or prefixes with a *
    static_pods: str = ""  # a directory with manifests of pods that run whatever the API says
    shutdown_grace: float = 0.0  # seconds that pods get when the node shuts down; 0: no orderly shutdown
    shutdown_critical: float = 0.0  # of which critical pods get the last
    phase: float = 0.0  # 0..1: where in the heartbeat period this node's turn is
