"""Pod garbage: pods of nodes that are gone, pods deleted before they had a node, and too many finished ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import NODES, PODS
from kcore_controllers.disrupted import mark_disrupted

if TYPE_CHECKING:
    from kcore_controllers.catalogue import PodGCConfig

QUARANTINE = 40.0  # seconds a node must be missing before its pods are deleted
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_FINISHED = "finished"
_SURPLUS = "*finished*"  # the key for "too many finished pods"


class PodGC(Reconciler):
    """Keys are pods, nodes as ``node:NAME``, and one for the number of finished pods."""

    name = "podgc"

    def __init__(self, context: ControllerContext, config: PodGCConfig):
        super().__init__(context)
        self.threshold = config.threshold
        self.nodes = self.watch(NODES, self._node_changed)
        self.pods = self.watch(PODS)
        self.pods.add_index("node", lambda pod: (pod["spec"].get("nodeName", ""),))
        self.pods.add_index(_FINISHED, lambda pod: (_FINISHED,) if meta.pod_terminal(pod) else ())
        self.handle(self.pods, self._pod_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        name = meta.name(new or old or {})
        if new is None:
            self.queue.add_after(f"node:{name}", QUARANTINE)
        elif _out_of_service(new):
            self.queue.add(f"node:{name}")

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        node = new["spec"].get("nodeName")
        if node:
            # only when it comes up: a node that goes is seen by `_node_changed`
            if (old is None or old["spec"].get("nodeName") != node) and self.nodes.get(node) is None:
                self.queue.add_after(f"node:{node}", QUARANTINE)
        elif meta.deleting(new):
            self.queue.add(meta.key(new))
        if 0 < self.threshold < self.pods.index_size(_FINISHED, _FINISHED):
            self.queue.add_after(_SURPLUS, 1.0)

    async def reconcile(self, key: str) -> float | None:
        if key == _SURPLUS:
            await self._delete_surplus()
        elif key.startswith("node:"):
            await self._clear_node(key.removeprefix("node:"))
        else:
            pod = self.pods.get(key)
            if pod is not None and meta.deleting(pod) and not pod["spec"].get("nodeName"):
                await self._delete(pod)
        return None

    async def _delete_surplus(self) -> None:
        finished = self.pods.indexed(_FINISHED, _FINISHED)
        surplus = len(finished) - self.threshold
        if surplus <= 0:
            return
        # evicted ones first, then the oldest
        finished.sort(
            key=lambda p: (p["status"].get("reason") != "Evicted", p["metadata"].get("creationTimestamp", ""))
        )
        for pod in finished[:surplus]:
            await self._delete(pod)

    async def _clear_node(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is None:
            try:
                node = await self.client.get(NODES, name)  # an informer may be behind
            except NotFound:
                for pod in self.pods.indexed("node", name):
                    await self._delete(pod, "PodGC: node no longer exists")
                return
        if _out_of_service(node) and not meta.condition_is(node, "Ready"):
            for pod in self.pods.indexed("node", name):
                if meta.deleting(pod):
                    await self._delete(pod)

    async def _delete(self, pod: Object, disrupted: str = "") -> None:
        try:
            if disrupted and not meta.pod_terminal(pod):
                await mark_disrupted(self.client, pod, "DeletionByPodGC", disrupted, failed=True)
            await self.client.delete(PODS, meta.name(pod), meta.namespace(pod), grace_seconds=0, uid=meta.uid(pod))
        except NotFound:
            pass


def _out_of_service(node: Object) -> bool:
    return any(t["key"] == OUT_OF_SERVICE for t in node["spec"].get("taints") or ())
