"""Small nodes and pods, tables of them, and a scheduler on an in-memory cluster: for tests of policies.

table = node_table([node("a", cpu="4"), node("b", cpu="2", labels={"disk": "ssd"})], {"a": [pod("p", cpu="3")]})
mask = policy.filter(PodInfo(pod("q", cpu="2")), table)

async with running_scheduler(client, tmp_path, policies=[Weighted(MyPolicy())]) as scheduler:
    await client.create(PODS, pod("p"), "default")
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from kcore.client import Client
from kcore.client.informer import Informer
from kcore.metrics import Metrics
from kcore.objects import Object
from kcore.objects.resources import GVR
from kcore.scheduler.metrics import SchedulerMetrics
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.profile import Profile, Weighted
from kcore.scheduler.scheduler import Scheduler, Settings
from kcore.scheduler.table import NodeTable
from kcore.testing.client import MemoryClient


def node(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, str]] = (),
    unschedulable: bool = False,
    images: Mapping[str, int] | None = None,
    **extended: str,
) -> Object:
    """A Node with its hostname label. `images` maps names to bytes; `extended` are further resources."""
    allocatable = {"cpu": cpu, "memory": memory, "pods": pods, **extended}
    spec: Object = {}
    if taints:
        spec["taints"] = [dict(t) for t in taints]
    if unschedulable:
        spec["unschedulable"] = True
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {
            "allocatable": allocatable,
            "capacity": dict(allocatable),
            "conditions": [{"type": "Ready", "status": "True"}],
            "images": [{"names": [n], "sizeBytes": size} for n, size in (images or {}).items()],
        },
    }


def pod(
    name: str,
    *,
    cpu: str = "",
    memory: str = "",
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    requests: Mapping[str, str] | None = None,
    priority: int = 0,
    ports: Sequence[int] = (),
    **spec: Any,
) -> Object:
    """A Pod of one container. `ports` are host ports; `spec` goes into the pod's spec as it stands."""
    asked = {k: v for k, v in (("cpu", cpu), ("memory", memory), *(requests or {}).items()) if v}
    container: Object = {"name": "c", "image": "img:1", "resources": {"requests": asked} if asked else {}}
    if ports:
        container["ports"] = [{"containerPort": p, "hostPort": p} for p in ports]
    meta: Object = {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}", "generation": 1}
    if labels:
        meta["labels"] = dict(labels)
    if annotations:
        meta["annotations"] = dict(annotations)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"schedulerName": "default-scheduler", "priority": priority, "containers": [container], **spec},
        "status": {"phase": "Pending"},
    }


def node_table(nodes: Sequence[Object], pods: Mapping[str, Sequence[Object]] | None = None) -> NodeTable:
    """A table of these nodes, with pods by the name of their node."""
    table = NodeTable()
    for obj in nodes:
        table.set_node(obj)
    for name, placed in (pods or {}).items():
        for obj in placed:
            table.add_pod(PodInfo(obj), name)
    return table


class StillHandle:
    """A `kcore.scheduler.policy.Handle` on a cluster in which nothing happens: `objects` by resource."""

    def __init__(self, nodes: NodeTable, objects: Mapping[GVR, Sequence[Object]] | None = None) -> None:
        self.client: Client = MemoryClient()
        self.nodes = nodes
        self._objects = dict(objects or {})
        self._informers: dict[GVR, Informer] = {}

    def informer(self, resource: GVR) -> Informer:
        informer = self._informers.get(resource)
        if informer is None:
            informer = self._informers[resource] = Informer(resource)
            for obj in self._objects.get(resource, ()):
                informer._put(obj)
        return informer


@asynccontextmanager
async def running_scheduler(
    client: Client, policies: Sequence[Weighted], *, settings: Settings | None = None, name: str = "default-scheduler"
) -> AsyncIterator[Scheduler]:
    """A scheduler with one profile of these policies, running as long as the block."""
    metrics = SchedulerMetrics(Metrics("scheduler"))
    scheduler = Scheduler(
        client,
        {name: Profile(name, policies)},
        metrics=metrics,
        log=logging.getLogger("kcore.test.scheduler"),
        settings=settings,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        yield scheduler
        nursery.cancel_scope.cancel()
