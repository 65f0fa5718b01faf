"""Pods that have to go because the node runs out of something (Kubernetes docs, "Node-pressure Eviction").

Every `INTERVAL` while the node has pods: what is left is compared with the thresholds; a threshold that is crossed is
a condition of the node at once, and for `transition` seconds after it is no longer; what can be had back without
harming a pod is taken first (unused images); then one pod is ended, the one that ranks first. Apart from that, a pod
that writes more to local storage than it may is ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from kcore.node import machine
from kcore.node.admission import Refusal
from kcore.node.machine import Room
from kcore.node.qos import SYSTEM_CRITICAL
from kcore.node.work import Job
from kcore.objects import Object, meta, quantity
from kcore.objects.qos import qos_class
from kcore.runtime import PodStats

if TYPE_CHECKING:
    from kcore.node.agent import Agent
    from kcore.node.pod import PodWorker

INTERVAL = 10.0  # seconds
HARD_GRACE = 1.0  # seconds that an evicted pod gets
TERMINATION = "TerminationByKubelet"
RESOURCES = {"memory": "memory", "pid": "pids", "nodefs": "ephemeral-storage", "imagefs": "ephemeral-storage"}
CONDITIONS = {
    "memory": "MemoryPressure",
    "pid": "PIDPressure",
    "nodefs": "DiskPressure",
    "imagefs": "DiskPressure",
}
DEFAULT = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}


@attrs.frozen
class Threshold:
    signal: str
    value: str  # a quantity or a share: "100Mi", "10%"
    grace: float = 0.0  # seconds that it has to be crossed for; 0: a hard one
    pod_grace: float = HARD_GRACE

    def amount(self, room: Room) -> int:
        if self.value.endswith("%"):
            return int(room.capacity * float(self.value[:-1]) / 100)
        return quantity.value(self.value)

    @property
    def of(self) -> str:
        return self.signal.partition(".")[0]


def thresholds(hard: Mapping[str, str]) -> tuple[Threshold, ...]:
    """Raises ValueError for a signal or value that there is not."""
    found = []
    for signal, value in hard.items():
        if signal not in (*DEFAULT, "pid.available"):
            raise ValueError(f"{signal!r} is none of {', '.join((*DEFAULT, 'pid.available'))}")
        threshold = Threshold(signal, value)
        threshold.amount(Room(100, 100))
        found.append(threshold)
    return tuple(found)


class Evictions(Job):
    """Watches one node."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self._agent = agent
        self._seen: dict[str, float] = {}  # condition -> when it was last so (trio's clock)
        self._met: dict[Threshold, float] = {}  # since when
        self.pressures: frozenset[str] = frozenset()
        self.watching = False

    def __repr__(self) -> str:
        return f"<room on {self._agent.name}>"

    def watch(self) -> None:
        """The node has pods."""
        if not self.watching:
            self.watching = True
            self._agent.host.work.add_after(self, INTERVAL)

    async def run(self) -> None:
        agent = self._agent
        if agent.dead:
            return
        if not agent.workers and not self.pressures:
            self.watching = False
            return
        agent.host.work.add_after(self, INTERVAL)
        stats = await agent.runtime.stats()
        rooms = await machine.rooms(agent, stats)
        met = [t for t in agent.config.thresholds if t.signal in rooms and rooms[t.signal].available < _of(t, rooms)]
        self._tell(met)
        by_uid = {p.uid: p for p in stats}
        if self._over_limit(by_uid):
            return
        now = trio.current_time()
        self._met = {t: self._met.get(t, now) for t in met}
        due = [t for t in met if now - self._met[t] >= t.grace]
        due.sort(key=lambda t: t.of != "memory")
        if due and not any(w.evicted and not w.stopped for w in agent.workers.values()):
            await self._relieve(due[0], rooms, by_uid)

    def _tell(self, met: list[Threshold]) -> None:
        now = trio.current_time()
        for t in met:
            self._seen[CONDITIONS[t.of]] = now
        wait = self._agent.config.pressure_transition
        found = frozenset(c for c, at in self._seen.items() if now - at < wait or at == now)
        if found != self.pressures:
            self.pressures = found
            self._agent.report_soon()

    async def _relieve(self, threshold: Threshold, rooms: Mapping[str, Room], stats: Mapping[str, PodStats]) -> None:
        agent, resource = self._agent, RESOURCES[threshold.of]
        agent.event("Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if threshold.of in ("imagefs", "nodefs") and await agent.images.free(math.inf):
            rooms = await machine.rooms(agent, list(stats.values()))
            if rooms[threshold.signal].available >= _of(threshold, rooms):
                return
        for worker in sorted(agent.workers.values(), key=lambda w: rank(w, stats.get(w.uid), threshold.of)):
            if worker.ending or critical(worker.pod) or worker.uid not in stats:
                continue
            room, used = rooms[threshold.signal], stats[worker.uid]
            text = f"The node was low on resource: {resource}. Threshold quantity: "
            text += f"{_amount(resource, _of(threshold, rooms))}, available: {_amount(resource, room.available)}. "
            text += "".join(_containers(worker, used, threshold.of))
            worker.evict(Refusal("Evicted", text), threshold.pod_grace)
            counts = agent.measures.evictions
            counts[threshold.signal] = counts.get(threshold.signal, 0) + 1
            return

    def _over_limit(self, stats: Mapping[str, PodStats]) -> bool:
        """End pods that take more local storage than they may. True if there were any."""
        found = False
        for worker in self._agent.workers.values():
            used = stats.get(worker.uid)
            text = "" if used is None or worker.ending else storage_excess(worker.pod, used)
            if text:
                worker.evict(Refusal("Evicted", text), HARD_GRACE)
                found = True
        return found


def refusal(pod: Object, pressures: frozenset[str]) -> Refusal | None:
    """Why a pod is not let in while the node is short of something."""
    if not pressures or critical(pod):
        return None
    if pressures == {"MemoryPressure"}:
        tolerated = any(
            t.get("key") in ("node.kubernetes.io/memory-pressure", None) and t.get("operator") == "Exists"
            for t in pod["spec"].get("tolerations") or ()
        )
        if qos_class(pod["spec"]) != "BestEffort" or tolerated:
            return None
    return Refusal("Evicted", f"The node had condition: [{' '.join(sorted(pressures))}]. ")


def critical(pod: Object) -> bool:
    """The node cannot do without it."""
    static = meta.annotations(pod).get("kubernetes.io/config.source", "api") != "api"
    return static or int(pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL


def rank(worker: PodWorker, stats: PodStats | None, of: str) -> tuple[int, int, int]:
    """Who goes first: who uses more than it asked for, then the less important, then by how much."""
    priority = int(worker.pod["spec"].get("priority") or 0)
    if stats is None:
        return 1, priority, 0
    if of == "pid":
        return 0, priority, -stats.processes
    used, wanted = _used(stats, of), _requested(worker.pod, RESOURCES[of])
    return int(used <= wanted), priority, wanted - used


def _used(stats: PodStats, of: str) -> int:
    if of == "memory":
        return sum(c.memory_working_set for c in stats.containers)
    return sum(c.fs_used + c.logs_used for c in stats.containers) + sum(v.used for v in stats.volumes)


def _requested(pod: Object, resource: str) -> int:
    return sum(_amount_of(c, "requests", resource) for c in pod["spec"]["containers"])


def _amount_of(container: Object, kind: str, resource: str) -> int:
    return quantity.value(((container.get("resources") or {}).get(kind) or {}).get(resource, 0))


def _of(threshold: Threshold, rooms: Mapping[str, Room]) -> int:
    return threshold.amount(rooms[threshold.signal])


def _amount(resource: str, number: int) -> str:
    return str(number) if resource == "pids" else quantity.format_binary(number)


def _containers(worker: PodWorker, stats: PodStats, of: str) -> Iterator[str]:
    """Those that use more than they asked for."""
    resource, by_name = RESOURCES[of], {c["name"]: c for c in _all(worker.pod)}
    if resource == "pids":
        return
    for c in stats.containers:
        used = c.memory_working_set if of == "memory" else c.fs_used + c.logs_used
        wanted = _amount_of(by_name.get(c.name, {}), "requests", resource)
        if used > wanted:
            yield f"Container {c.name} was using {_amount(resource, used)}, request is {_amount(resource, wanted)}, "
            yield f"has larger consumption of {resource}. "


def _all(pod: Object) -> Iterable[Object]:
    return (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))


def storage_excess(pod: Object, stats: PodStats) -> str:
    """What the pod is told that takes more local storage than it may; "" if it does not (upstream's order)."""
    volumes = {v["name"]: v["emptyDir"] for v in pod["spec"].get("volumes") or () if v.get("emptyDir")}
    for v in stats.volumes:
        limit = volumes.get(v.name, {}).get("sizeLimit")
        if limit and v.used > quantity.value(limit):
            return f'Usage of EmptyDir volume "{v.name}" exceeds the limit "{limit}". '
    limits = {c["name"]: _amount_of(c, "limits", "ephemeral-storage") for c in _all(pod)}
    total = sum(limits[c["name"]] for c in pod["spec"]["containers"])
    disk = sum(v.used for v in stats.volumes if volumes.get(v.name, {}).get("medium") != "Memory")
    used = disk + sum(c.fs_used + c.logs_used for c in stats.containers)
    if total and all(limits[c["name"]] for c in pod["spec"]["containers"]) and used > total:
        text = quantity.format_binary(total)
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {text}. "
    for c in stats.containers:
        if limits.get(c.name) and c.fs_used + c.logs_used > limits[c.name]:
            text = quantity.format_binary(limits[c.name])
            return f'Container {c.name} exceeded its local ephemeral storage limit "{text}". '
    return ""
