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
    """Their names; ``{n}`` counts from 1."""
    cpu: str = "8"
    """CPUs of each node."""
    memory: str = "16Gi"
    """Memory of each node."""
    pods: int = 110
    """Pods that each node takes."""
    storage: str = "100Gi"
    """Ephemeral storage of each node."""
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
