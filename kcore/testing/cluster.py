"""A cluster for tests of controllers: state in memory, controllers over shared informers, and something that plays
scheduler and kubelet. Runs on the virtual clock."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from kcore import clock
from kcore.client.events import Recorder
from kcore.client.informer import Informer, Informers
from kcore.client.workqueue import WorkQueue, run_workers
from kcore.controller.base import SharedContext
from kcore.errors import ApiError
from kcore.objects import Object, meta
from kcore.objects.resources import GVR, LEASES, NAMESPACES, NODES, PODS
from kcore.registry import Choice, Provider
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient


class FakeCluster:
    """Nodes that beat, pods that get a node and run. `start_delay` and friends may be changed at any time."""

    def __init__(self, client: MemoryClient, informers: Informers, context: TestContext):
        self.client, self.informers, self.context = client, informers, context
        self.pods: Informer = informers.get(PODS)
        self.nodes: Informer = informers.get(NODES)
        self.start_delay = 1.0
        """Seconds from binding to Ready; negative: pods stay Pending."""
        self.stopped: set[str] = set()
        """Nodes that no longer do anything."""
        self.schedule = True
        self._queue: WorkQueue[str] = WorkQueue("fake-kubelet")
        self._addresses = itertools.count(1)
        self._turn = itertools.count()

    async def add_node(self, name: str, labels: dict[str, str] | None = None) -> None:
        now = clock.timestamp()
        conditions = [{"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}]
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
        await self.client.create(
            NODES, {"metadata": metadata, "spec": {}, "status": {"conditions": conditions, "allocatable": {}}}
        )
        lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": name}}
        await self.client.create(LEASES, lease)

    async def stop_node(self, name: str) -> None:
        """From now on the node says and does nothing."""
        self.stopped.add(name)

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        self.pods.on_change(lambda old, new: self._queue.add(meta.key(new or old or {})))
        self.nodes.on_change(self._node_changed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_workers, self._queue, self._step, 1, self.context.log)
            nursery.start_soon(self._beat)
            task_status.started()

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        for pod in self.pods.items():
            if not pod["spec"].get("nodeName"):
                self._queue.add(meta.key(pod))

    async def _beat(self) -> None:
        while True:
            await trio.sleep(10)
            for node in self.nodes.items():
                name = meta.name(node)
                if name not in self.stopped:
                    patch = {"spec": {"renewTime": clock.micro_timestamp()}}
                    try:
                        await self.client.patch(LEASES, name, patch, "kube-node-lease")
                    except ApiError:
                        continue

    async def _step(self, key: str) -> float | None:
        pod = self.pods.get(key)
        if pod is None:
            return None
        node = pod["spec"].get("nodeName")
        if not node:
            return await self._bind(pod)
        if node in self.stopped:
            return None
        if meta.deleting(pod):
            await self.client.delete(PODS, meta.name(pod), meta.namespace(pod), grace_seconds=0)
        elif pod.get("status", {}).get("phase", "Pending") == "Pending" and self.start_delay >= 0:
            since = pod["metadata"].get("creationTimestamp")
            wait = clock.parse(since) + self.start_delay - clock.now()
            if wait > 0:
                return wait
            await self.set_running(pod)
        return None

    async def _bind(self, pod: Object) -> float | None:
        if not self.schedule or meta.deleting(pod):
            return None
        free = [
            meta.name(n)
            for n in sorted(self.nodes.items(), key=meta.name)
            if not n["spec"].get("taints") and not n["spec"].get("unschedulable")
        ]
        wanted = _pinned(pod)
        if wanted:
            free = [n for n in (wanted,) if self.nodes.get(n)]
        if not free:
            return 5.0
        target = {"target": {"kind": "Node", "name": free[next(self._turn) % len(free)]}}
        await self.client.create(PODS, target, meta.namespace(pod), name=meta.name(pod), subresource="binding")
        return None

    async def set_running(self, pod: Object, ready: bool = True) -> None:
        n = next(self._addresses)
        now = clock.timestamp()
        ip = f"127.100.{n // 250}.{n % 250 + 1}"
        await self.set_status(
            pod,
            phase="Running",
            podIP=ip,
            podIPs=[{"ip": ip}],
            startTime=now,
            conditions=[
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
                {"type": "Ready", "status": str(ready), "lastTransitionTime": now},
            ],
        )

    async def set_status(self, pod: Object, **status: Any) -> None:
        """Merge into the pod's status."""
        await self.client.patch(PODS, meta.name(pod), {"status": status}, meta.namespace(pod), subresource="status")

    async def finish(self, pod: Object, exit_code: int = 0) -> None:
        """The pod's containers end."""
        state = {"terminated": {"exitCode": exit_code, "finishedAt": clock.timestamp()}}
        statuses = [{"name": c["name"], "state": state} for c in pod["spec"].get("containers") or ()]
        phase = "Failed" if exit_code else "Succeeded"
        await self.set_status(pod, phase=phase, containerStatuses=statuses, conditions=[])

    async def settle(self, seconds: float = 30.0) -> None:
        """Let so much time pass; everything that can happen in it has happened."""
        await trio.sleep(seconds)

    async def all(self, resource: GVR, namespace: str = "", labels: str = "") -> list[Object]:
        return (await self.client.list(resource, namespace, label_selector=labels)).items


def _pinned(pod: Object) -> str:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name":
                return str(field["values"][0])
    return ""


@asynccontextmanager
async def fake_cluster(
    path: Path, controllers: Iterable[Provider[Any] | Choice], *, nodes: int = 3, client: MemoryClient | None = None
) -> AsyncIterator[FakeCluster]:
    """A running cluster with these controllers, the namespace ``default`` and nodes ``node-1``, ``node-2``, ...

    Objects that a controller changed in place are reported when it ends.
    """
    clock.use_virtual()
    client = client or MemoryClient()
    context = TestContext(path, name="controllers", api=client)
    informers = Informers(client, detect_mutation=True)
    cluster = FakeCluster(client, informers, context)
    await client.create(NAMESPACES, {"metadata": {"name": "default"}, "spec": {"finalizers": ["kubernetes"]}})
    for i in range(nodes):
        await cluster.add_node(f"node-{i + 1}")
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        stack.callback(nursery.cancel_scope.cancel)
        await nursery.start(informers.run)
        await nursery.start(cluster.run)
        for offered in controllers:
            choice = offered if isinstance(offered, Choice) else Choice(offered, offered.config())
            name = choice.provider.name
            recorder = Recorder(client, f"{name}-controller")
            await nursery.start(recorder.run)
            shared = SharedContext.of(context, name, informers, recorder)
            await stack.enter_async_context(choice.open(shared))
        yield cluster
        informers.check()
