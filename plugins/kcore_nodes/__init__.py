"""Nodes that live in this process: one agent each, over what they share (`kcore.node.host`).

A thousand of them are Ready within seconds, since none has a task or a watch of its own. Each has an address in
``cluster.node_cidr``, a slice of ``cluster.pod_cidr`` for its pods, and a kubelet that answers at its address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider

if TYPE_CHECKING:
    from kcore_nodes.nodes import Nodes


@attrs.frozen
class NodesConfig:
    """``[nodes] use = "embedded"``"""

    count: int = attrs.field(default=3, validator=attrs.validators.ge(0))
    """How many nodes."""
    name: str = "node-{n}"
    """Their names; ``{n}`` counts from `first`."""
    first: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    """Number of the first node, for its name, its address and its pods' addresses: other processes have others."""
    cpu: str = ""
    """CPUs of each node. Without it: those of the machine if the runtime is real, else 8."""
    memory: str = ""
    """Memory of each node. Without it: that of the machine if the runtime is real, else 16Gi."""
    pods: int = 110
    """Pods that each node takes."""
    storage: str = ""
    """Ephemeral storage of each node. Without it: the machine's disk if the runtime is real, else 100Gi."""
    reserved: dict[str, str] = attrs.Factory(dict)
    """What of the capacity is not for pods: ``{"cpu" = "500m", "memory" = "1Gi"}``."""
    eviction: dict[str, str] = attrs.Factory(dict)
    """Thresholds below which pods are evicted, beside or instead of the defaults: ``{"memory.available" = "5%"}``;
    "0%" switches one off."""
    pressure_transition: float = attrs.field(default=300.0, validator=attrs.validators.ge(0))
    """Seconds that a pressure is told after it was last seen."""
    image_high: int = attrs.field(default=85, validator=attrs.validators.in_(range(101)))
    """Percent of the images' disk at which unused images are removed ..."""
    image_low: int = attrs.field(default=80, validator=attrs.validators.in_(range(101)))
    """... until this is left."""
    sysctls: list[str] = attrs.Factory(list)
    """Unsafe sysctls that pods may set: names, or prefixes with a ``*``."""
    static_pods: str = ""
    """A directory with manifests of pods that every node runs whatever the API says."""
    shutdown_grace: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    """Seconds that pods get to end when the nodes are shut down; 0: they are not ended."""
    shutdown_critical: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    """Of these, the seconds that critical pods have at the end."""
    resources: dict[str, str] = attrs.Factory(dict)
    """More resources of each node: ``{"nvidia.com/gpu" = "4"}``."""
    labels: dict[str, str] = attrs.Factory(dict)
    """Labels of every node."""
    taints: list[str] = attrs.Factory(list)
    """Taints of every node: ``key=value:NoSchedule``."""
    zones: list[str] = attrs.Factory(list)
    """Zones (``topology.kubernetes.io/zone``) that nodes are put into by turns."""
    region: str = ""
    """``topology.kubernetes.io/region`` of every node."""
    port: int = 10250
    """Where every node's kubelet listens, at the node's own address."""
    heartbeat: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    """Seconds between the renewals of a node's Lease."""
    report: float = attrs.field(default=300.0, validator=attrs.validators.gt(0))
    """Seconds between reports of a node's status while nothing changes."""
    concurrency: int = attrs.field(default=64, validator=attrs.validators.gt(0))
    """Steps of pods and nodes that may be under way at a time."""
    serve: bool = True
    """Serve each node's kubelet (logs, exec, metrics). Without it the nodes cannot be asked."""
    cluster_dns: list[str] = attrs.Factory(list)
    """Addresses of the cluster's DNS, for resolv.conf of pods; empty: of the part `dns` of this process, if any."""
    pod_routes: str = attrs.field(default="", validator=attrs.validators.in_(["", "routes", "vxlan"]))
    """How pods of nodes on other machines are reached: by routes, in a VXLAN; "" leaves it to others."""
    pod_routes_kubeconfig: str = ""
    """Who reads all nodes for that, where a node by itself may not: the proxy, say; "" for the nodes themselves."""
    runtime: dict[str, Any] = attrs.field(factory=lambda: {"use": "fake"})
    """What runs containers: ``use`` names a plugin of the seam `runtime`, the rest is its config."""


@asynccontextmanager
async def open_embedded(context: Context, config: NodesConfig) -> AsyncIterator[Nodes]:
    from kcore_nodes.nodes import open_nodes

    async with open_nodes(context, config) as nodes:
        yield nodes


@hookimpl
def kcore_nodes() -> Iterable[Provider[Any]]:
    help = "Nodes in this process, over any runtime"
    return [Provider("embedded", open_embedded, NodesConfig, help=help, exclusive=True)]
