"""Node life cycle: finds nodes that have fallen silent, marks them and their pods, and taints them.

A node's heartbeat is the renewal of its Lease in ``kube-node-lease`` (every 10 s) or a change of its status. When
none has come for the grace period its conditions become Unknown; taints follow conditions, and the taint-eviction
controller follows taints. When most nodes of a zone look dead it is more likely that the network is, so evictions
slow down or stop, as the Kubernetes documentation describes ("Rate limits on eviction").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from kcore import clock
from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import ApiError
from kcore.objects import Object, meta
from kcore.objects.resources import LEASES, NODES, PODS
from kcore_controllers.zones import Zones

if TYPE_CHECKING:
    from kcore_controllers.catalogue import NodeLifecycleConfig

NODE_LEASES = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_OURS = {*_BY_CONDITION.values(), UNSCHEDULABLE}
TTL = "node.alpha.kubernetes.io/ttl"


class NodeLifecycleController(Reconciler):
    name = "nodelifecycle"

    def __init__(self, context: ControllerContext, config: NodeLifecycleConfig):
        super().__init__(context)
        self.config = config
        self._heard: dict[str, float] = {}  # node -> when its last heartbeat came, by our own clock
        self.zones = Zones()
        self.nodes = self.watch(NODES, self._node_changed)
        self.pods = self.watch(PODS)
        self.pods.add_index("node", lambda pod: (pod["spec"].get("nodeName", ""),))
        self.leases = self.watch(LEASES, self._lease_changed, namespace=NODE_LEASES)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        name = meta.name(new or old or {})
        if new is None:
            self._heard.pop(name, None)
            self.zones.forget(name)
        elif old is None or (_heartbeats(new) and _heartbeats(old) != _heartbeats(new)):
            self._heard[name] = trio.current_time()
        self.queue.add(name)

    def _lease_changed(self, old: Object | None, new: Object | None) -> None:
        """Only notes the time: the node's own timer looks at it when the grace period could be over."""
        if new is None or (old is not None and _renewed(old) == _renewed(new)):
            return
        name = meta.name(new)
        if name in self._heard:
            self._heard[name] = trio.current_time()

    async def reconcile(self, key: str) -> float | None:
        node = self.nodes.get(key)
        if node is None or key not in self._heard:
            return None
        ready = meta.condition(node, "Ready")
        grace = self.config.grace_period if ready is not None else self.config.startup_grace_period
        left = self._heard[key] + grace - trio.current_time()
        status = (ready or {}).get("status", "")
        if left <= 0 and status != "Unknown":
            node = await self._silent(node, ready)
            status = "Unknown"
        bad = status in ("False", "Unknown")
        if self.zones.note(key, _zone(node), bad, trio.current_time()):
            for other in self.nodes.items():  # a zone's state has changed: taints elsewhere depend on it
                self.queue.add(meta.name(other))
        wait = await self._taint(node, status)
        if bad:
            await self._mark_pods(node)
        waits = [w for w in (wait, left if left > 0 else None) if w is not None]
        return min(waits) if waits else None

    async def _silent(self, node: Object, ready: Object | None) -> Object:
        """Write Unknown into the conditions that the kubelet keeps."""
        now = clock.timestamp()
        status: Object = {**(node.get("status") or {})}
        status["conditions"] = [dict(c) for c in status.get("conditions") or ()]
        for type in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"):
            present = meta.condition(node, type)
            condition: Object = {"type": type, "status": "Unknown"}
            if present is None:
                condition |= {
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node["metadata"].get("creationTimestamp", now),
                }
            else:
                condition |= {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            meta.set_condition(status, {**condition, "lastTransitionTime": now})
        written = await self.client.update(NODES, {**node, "status": status}, subresource="status")
        reference = {**node, "kind": "Node", "apiVersion": "v1"}
        self.recorder.event(reference, "Normal", "NodeNotReady", f"Node {meta.name(node)} status is now: NodeNotReady")
        return written

    async def _taint(self, node: Object, ready: str) -> float | None:
        """Make the node's taints (and the TTL annotation) what they should be. Returns when to look again."""
        wanted = [(key, "NoSchedule") for key in self._no_schedule(node)]
        wait = None
        evict = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(ready)
        has = {(t["key"], t["effect"]) for t in node["spec"].get("taints") or ()}
        if evict is not None:
            if (evict, "NoExecute") in has and not self.zones.all_down:
                wanted.append((evict, "NoExecute"))
            else:
                wait = self.zones.wait_to_evict(meta.name(node), trio.current_time())
                if wait is None:
                    wanted.append((evict, "NoExecute"))
                elif wait == float("inf"):
                    wait = None  # a change of the zone brings the node back
        kept = [
            t
            for t in node["spec"].get("taints") or ()
            if t["key"] not in _OURS or (t["key"], t["effect"]) in wanted or t["effect"] == "PreferNoSchedule"
        ]
        now = clock.timestamp()
        added = [{"key": k, "effect": e, "timeAdded": now} for k, e in wanted if (k, e) not in has]
        taints = [*added, *kept] if any(t["effect"] == "NoExecute" for t in added) else [*kept, *added]
        if added or len(kept) != len(has) or TTL not in meta.annotations(node):
            await self._write_taints(node, taints)
        return wait

    async def _write_taints(self, node: Object, taints: list[Object]) -> None:
        metadata = {**node["metadata"], "annotations": {TTL: "0", **meta.annotations(node)}}
        spec = {k: v for k, v in node["spec"].items() if k != "taints"}
        if taints:
            spec["taints"] = taints
        await self.client.update(NODES, {**node, "metadata": metadata, "spec": spec})

    @staticmethod
    def _no_schedule(node: Object) -> list[str]:
        keys = []
        for c in (node.get("status") or {}).get("conditions") or ():
            key = _BY_CONDITION.get((c["type"], c["status"]))
            if key:
                keys.append(key)
        if node["spec"].get("unschedulable"):
            keys.append(UNSCHEDULABLE)
        return keys

    async def _mark_pods(self, node: Object) -> None:
        """Pods of a node that is not ready are not ready either: services must not send them anything."""
        for pod in self.pods.indexed("node", meta.name(node)):
            if not meta.pod_ready(pod):
                continue
            now = clock.timestamp()
            conditions = [
                {**c, "status": "False", "lastTransitionTime": now} if c["type"] == "Ready" else c
                for c in pod["status"]["conditions"]
            ]
            status = {**pod["status"], "conditions": conditions}
            try:
                await self.client.update(PODS, {**pod, "status": status}, subresource="status")
                self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
                self.queue.add_rate_limited(meta.name(node))


def _renewed(lease: Object) -> Any:
    return (lease.get("spec") or {}).get("renewTime")


def _heartbeats(node: Object) -> list[Any]:
    return [
        (c["type"], c.get("lastHeartbeatTime"), c["status"])
        for c in (node.get("status") or {}).get("conditions") or ()
        if c["status"] != "Unknown"  # which is what this controller writes itself
    ]


def _zone(node: Object) -> str:
    labels = meta.labels(node)
    region, zone = labels.get("topology.kubernetes.io/region", ""), labels.get("topology.kubernetes.io/zone", "")
    return f"{region}:\x00:{zone}" if region or zone else ""
