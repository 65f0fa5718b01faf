"""One node: registers itself, gives signs of life, and has a worker for each of its pods."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from kcore.errors import AlreadyExists
from kcore.node.admission import Ledger
from kcore.node.config import NodeConfig
from kcore.node.eviction import Evictions
from kcore.node.heartbeat import Heartbeat, NodeReport
from kcore.node.host import Host
from kcore.node.imagegc import PERIOD, ImageCollector
from kcore.node.measures import Measures
from kcore.node.nodestatus import new_node
from kcore.node.pod import PodWorker
from kcore.node.staticpods import MIRROR, StaticPods
from kcore.objects import Object, meta
from kcore.objects.resources import NODES
from kcore.runtime import SANDBOX_LOST, Container, Event, NodeRuntime, NodeSetup, Runtime, Sandbox


class Agent:
    """A kubelet. `start` it once; after `stop` make a new one."""

    runtime: NodeRuntime

    def __init__(self, host: Host, engine: Runtime, config: NodeConfig) -> None:
        self.host, self.config = host, config
        self._engine = engine
        self.runtime_name, self.real = engine.name, engine.real
        self.runtime_version = f"{engine.name}://{engine.version}"
        self.boot_id = str(uuid.uuid4())
        self.ledger = Ledger()
        self.measures = Measures()
        self.workers: dict[str, PodWorker] = {}
        self.dead = False
        self.node: Object = {}
        self._heartbeat = Heartbeat(self)
        self.report = NodeReport(self)
        self.evictions = Evictions(self)
        self.images = ImageCollector(self, config.image_high, config.image_low)
        self.static = StaticPods(self, config.static_pods) if config.static_pods else None
        self.shutting_down = ""  # why nothing is let in any more

    def __repr__(self) -> str:
        return f"<node {self.name}>"

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def address(self) -> str:
        return self.config.address

    @property
    def allocatable(self) -> Mapping[str, str]:
        return dict(self.node["status"]["allocatable"])

    def condition(self) -> dict[str, Any]:
        """What `node_status` is told about how the node is."""
        pressures = self.evictions.pressures
        return {
            "real": self.real,
            "pressures": pressures,
            "down": self.shutting_down,
            "handlers": self._engine.handlers,
        }

    def report_soon(self) -> None:
        """How the node is has changed."""
        self.host.work.add(self.report)

    def event(self, type: str, reason: str, message: str) -> None:
        self.host.events.record(self.node, "Node", self.name, type, reason, message)

    async def start(self) -> None:
        """On return the node is registered as Ready, and its pods are being worked on."""
        existed = await self._register()
        cidr = (self.node.get("spec") or {}).get("podCIDR") or self.config.pod_cidr
        self.runtime = await self._engine.node(NodeSetup(self.name, self.address, cidr), self._on_event)
        self.event("Normal", "Starting", "Starting kubelet.")
        self.host.work.add(self._heartbeat)
        if existed:
            self.host.work.add(self.report)
        else:
            phase = self.config.phase or 1.0
            self.host.work.add_after(self.report, self.config.status_seconds * phase)
        if self.real:
            self.host.work.add_after(self.images, PERIOD)
        await self.host.synced()
        await self._recover()
        self.host.agents[self.name] = self
        for pod in self.host.pods.indexed("node", self.name):
            self.pod_changed(None, pod)
        if self.static is not None:
            self.host.work.add(self.static)

    async def stop(self, *, kill: bool) -> None:
        """End without a word to the cluster. With `kill` the pods die too, as if the machine had lost its power."""
        self.dead = True
        self.host.agents.pop(self.name, None)
        for worker in self.workers.values():
            worker.abandon()
        self.workers.clear()
        await self.runtime.close(kill=kill)

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        """The API has a new state of a pod of this node; `new` is None when it is gone."""
        if new is None:
            assert old is not None
            if MIRROR in meta.annotations(old) and self.static is not None:
                self.host.work.add(self.static)  # it gets another one
            worker = self.workers.get(meta.uid(old))
            if worker is not None:
                worker.gone = True
                worker.poke()
            return
        if MIRROR in meta.annotations(new):
            return  # what runs is in a file
        worker = self.workers.get(meta.uid(new))
        if worker is None:
            self.work_on(new)
        else:
            worker.observe(new)

    def work_on(self, pod: Object) -> PodWorker:
        """A new pod for this node, or one that has been adopted already."""
        worker = self.workers.get(meta.uid(pod))
        if worker is None:
            worker = self.workers[meta.uid(pod)] = PodWorker(self, pod)
            self.evictions.watch()
        worker.poke()
        return worker

    def forget(self, worker: PodWorker) -> None:
        self.workers.pop(worker.uid, None)
        self.measures.forget(worker.uid)

    def room_made(self) -> None:
        """A pod has ended: what waits for its share may have it."""
        for worker in self.workers.values():
            if worker.resize.pending is not None:
                worker.poke()

    def find(self, namespace: str, name: str, uid: str = "") -> PodWorker | None:
        """The worker of a pod by its name."""
        static = self.static.find(f"{namespace}/{name}") if self.static is not None else None
        if static is not None:
            return static
        pod = self.host.pods.get(f"{namespace}/{name}")
        worker = self.workers.get(meta.uid(pod)) if pod is not None else None
        return worker if worker is not None and uid in ("", worker.uid) else None

    # --- registration ------------------------------------------------------------------------------------------------

    async def _register(self) -> bool:
        """Create the Node, or take the one that is there. Returns whether it was there."""
        wanted = new_node(self.config, self.runtime_version, self.boot_id, **self.condition())
        client = self.host.client
        try:
            self.node = await client.create(NODES, wanted)
            return False
        except AlreadyExists:
            found = await client.get(NODES, self.name)
        labels = {**(found["metadata"].get("labels") or {}), **wanted["metadata"]["labels"]}
        patch: Object = {}
        if labels != found["metadata"].get("labels"):
            patch["metadata"] = {"labels": labels}
        if wanted["spec"].get("podCIDR") and not (found.get("spec") or {}).get("podCIDR"):
            patch["spec"] = {k: wanted["spec"][k] for k in ("podCIDR", "podCIDRs")}
        if patch:
            found = await client.patch(NODES, self.name, patch)
        self.node = found if "allocatable" in (found.get("status") or {}) else {**found, "status": wanted["status"]}
        return True

    async def _recover(self) -> None:
        """Give what the runtime still has to its pods; end what has none."""
        sandboxes: dict[str, list[Sandbox]] = {}
        for s in await self.runtime.list_sandboxes():
            sandboxes.setdefault(s.uid, []).append(s)
        containers: dict[str, list[Container]] = {}
        for c in await self.runtime.list_containers():
            containers.setdefault(c.sandbox_id, []).append(c)
        pods = {meta.uid(p): p for p in self.host.pods.indexed("node", self.name) if MIRROR not in meta.annotations(p)}
        if self.static is not None:
            pods |= {meta.uid(p): p for p in await self.static.first()}
        for uid, found in sandboxes.items():
            pod = pods.get(uid)
            if pod is not None:
                worker = self.workers[uid] = PodWorker(self, pod)
                worker.adopt(found, [c for s in found for c in containers.get(s.id, ())])
                continue
            for s in found:
                await self.runtime.stop_sandbox(s.id)
                await self.runtime.remove_sandbox(s.id)

    def _on_event(self, event: Event) -> None:
        worker = self.workers.get(event.pod_uid)
        if worker is None or self.dead:
            return
        if event.type == SANDBOX_LOST:
            worker.sandbox_lost(event.sandbox_id)
        for run in worker.runs.values():
            if run.current is not None and run.current.id == event.container_id:
                run.stale = True
        worker.poke()
