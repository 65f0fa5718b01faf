"""Taint-based eviction: deletes pods that do not tolerate a NoExecute taint of their node (or no longer do)."""

from __future__ import annotations

import trio

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import NODES, PODS
from kcore_controllers.disrupted import mark_disrupted


class TaintEvictionController(Reconciler):
    """Keys are pods."""

    name = "taint-eviction"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self._since: dict[str, tuple[str, float]] = {}  # pod -> uid, and when its time began to run
        self.nodes = self.watch(NODES, self._node_changed)
        self.pods = self.watch(PODS, self._pod_changed)
        self.pods.add_index("node", lambda pod: (pod["spec"].get("nodeName", ""),))

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or no_execute(old) == no_execute(new):
            return
        for pod in self.pods.indexed("node", meta.name(new)):
            self.queue.add(meta.key(pod))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._since.pop(meta.key(old or {}), None)
            return
        name = new["spec"].get("nodeName")
        node = self.nodes.get(name) if name else None
        if node is None or not no_execute(node):
            return
        if old is None or old["spec"].get("nodeName") != name or old["spec"].get("tolerations") != new["spec"].get(
            "tolerations"
        ):  # fmt: skip
            self.queue.add(meta.key(new))

    async def reconcile(self, key: str) -> float | None:
        pod = self.pods.get(key)
        node = self.nodes.get(pod["spec"].get("nodeName", "")) if pod else None
        taints = no_execute(node)
        if pod is None or meta.deleting(pod) or not taints:
            if self._since.pop(key, None) and pod is not None:
                self.recorder.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        seconds = tolerated_for(taints, pod["spec"].get("tolerations") or ())
        if seconds is None:
            self._since.pop(key, None)
            return None
        uid, since = self._since.get(key, ("", 0.0))
        now = trio.current_time()
        if uid != meta.uid(pod):
            since = now
            self._since[key] = (meta.uid(pod), now)
        if since + seconds > now:
            return since + seconds - now
        self.recorder.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        try:
            await mark_disrupted(
                self.client, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"
            )
            await self.client.delete(PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
        except NotFound:
            pass
        return None


def no_execute(node: Object | None) -> list[Object]:
    if node is None:
        return []
    return [t for t in node["spec"].get("taints") or () if t.get("effect") == "NoExecute"]


def tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    key = toleration.get("key")
    if key and key != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(key) and toleration.get("value", "") == taint.get("value", "")


def tolerated_for(taints: list[Object], tolerations: object) -> float | None:
    """Seconds that a pod may stay; None: for ever."""
    limits: list[float] = []
    for taint in taints:
        using = [t for t in tolerations if tolerates(t, taint)]  # type: ignore[attr-defined]  # a list of objects
        if not using:
            return 0.0
        limits += [max(t["tolerationSeconds"], 0) for t in using if t.get("tolerationSeconds") is not None]
    return min(limits) if limits else None
