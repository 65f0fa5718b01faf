"""The scheduling policies of Kubernetes, under upstream's names.

Each is a provider of the seam `policy` and lives in a module of its own beside this one; their settings stand in
`config`. The modules load numpy, so they are imported when a scheduler opens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kcore import Context, NoConfig, Provider, hookimpl
from kcore_policies import config as c

if TYPE_CHECKING:
    from kcore.scheduler.policy import Policy


def _open(module: str, name: str, config_class: type) -> Callable[..., AbstractAsyncContextManager[Policy]]:
    @asynccontextmanager
    async def open_policy(context: Context, config: Any) -> AsyncIterator[Policy]:
        policy_class = getattr(import_module(f"kcore_policies.{module}"), name)
        yield policy_class() if config_class is NoConfig else policy_class(config)

    return open_policy


_POLICIES: tuple[tuple[str, str, type, str], ...] = (
    ("PrioritySort", "basics", NoConfig, "Queue order: priority, then time"),
    ("SchedulingGates", "basics", NoConfig, "Pods with scheduling gates wait"),
    ("DefaultBinder", "basics", NoConfig, "Binds through the API"),
    ("NodeName", "nodes", NoConfig, "spec.nodeName"),
    ("NodeUnschedulable", "nodes", NoConfig, "Cordoned nodes take no pods"),
    ("TaintToleration", "nodes", NoConfig, "Taints and tolerations"),
    ("NodeAffinity", "nodes", c.NodeAffinityConfig, "nodeSelector and node affinity"),
    ("NodePorts", "ports", NoConfig, "Host ports are used once"),
    ("NodeResourcesFit", "fit", c.FitConfig, "Requests fit into what is free; least or most used first"),
    ("NodeResourcesBalancedAllocation", "balance", c.BalancedConfig, "cpu and memory used in equal measure"),
    ("PodTopologySpread", "spread", c.PodTopologySpreadConfig, "Spread over zones, hosts, ..."),
    ("InterPodAffinity", "affinity", c.InterPodAffinityConfig, "Near or far from other pods"),
    ("ImageLocality", "images", NoConfig, "Nodes that hold the images"),
    ("VolumeBinding", "volumes", c.VolumeBindingConfig, "Volumes reach the node"),
    ("DefaultPreemption", "preemption", c.PreemptionConfig, "Less important pods make room"),
)


@hookimpl
def kcore_policy() -> list[Provider[Policy]]:
    return [Provider(name, _open(module, name, config), config, help=help) for name, module, config, help in _POLICIES]
