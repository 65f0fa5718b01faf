"""The scheduler's picture of the cluster: the node table, with the pods that it has placed itself.

A pod that the scheduler has decided about is *assumed*: it counts on its node from that moment, long before the API
has confirmed it. The watch confirms it; a failed binding forgets it. An assumption that was bound but that no watch
confirms for `EXPIRY` seconds is dropped: the pod is gone in a way that was never seen.
"""

from __future__ import annotations

import trio

from kcore.objects import Object, meta
from kcore.scheduler.pods import PodInfo, same_but_status
from kcore.scheduler.table import NodeTable

EXPIRY = 300.0
NOTHING: frozenset[str] = frozenset()


class Cache:
    def __init__(self) -> None:
        self.nodes = NodeTable()
        self.nominated: dict[str, dict[str, PodInfo]] = {}
        """Pods that wait for the victims of their preemption to go: node -> key -> pod."""
        self._nomination: dict[str, str] = {}
        self._placed: dict[str, PodInfo] = {}
        self._assumed: set[str] = set()
        self._bound: dict[str, float] = {}  # assumed and bound, not yet seen: key -> trio time, oldest first
        self._added = trio.Event()

    # --- pods that have a node ---------------------------------------------------------------------------------------

    @property
    def pods(self) -> int:
        """Pods on nodes, assumed ones included."""
        return len(self._placed)

    @property
    def assumed_pods(self) -> int:
        return len(self._assumed)

    def is_assumed(self, key: str) -> bool:
        return key in self._assumed

    def pod_set(self, obj: Object) -> tuple[frozenset[str], PodInfo]:
        """A pod that has a node, as the watch shows it. Returns what is new: added, labels, requests, deleting."""
        key = meta.key(obj)
        known = self._placed.get(key)
        node = obj["spec"]["nodeName"]
        if known is not None and self.nodes.node_of(key) == node and known.uid == meta.uid(obj):
            confirmed = key in self._assumed
            self._settle(key)
            if same_but_status(known.obj, obj):
                known.renew(obj)
                return frozenset(("added",)) if confirmed else NOTHING, known
            pod = PodInfo(obj)
            what = _differences(known, pod)
            self._put(pod, node)
            return what | {"added"} if confirmed else what, pod
        self._settle(key)
        pod = PodInfo(obj)
        self._put(pod, node)
        return frozenset(("added",)), pod

    def pod_gone(self, key: str) -> PodInfo | None:
        """A pod has left its node: deleted, or finished. Returns it if it was known."""
        self._settle(key)
        return self._take(key)

    # --- assumptions -------------------------------------------------------------------------------------------------

    def assume(self, pod: PodInfo, node: str) -> None:
        self._put(pod, node)
        self._assumed.add(pod.key)

    def bound(self, key: str) -> None:
        """The API has taken the binding: the watch must confirm it in time."""
        if key in self._assumed:
            self._bound[key] = trio.current_time()
            self._added.set()

    def forget(self, pod: PodInfo) -> None:
        """The binding failed. Does nothing if the watch has shown something else meanwhile."""
        if pod.key in self._assumed and self._placed.get(pod.key) is pod:
            self._settle(pod.key)
            self._take(pod.key)

    async def next_expired(self) -> str:
        """Wait until an assumption has expired, drop it, return its key."""
        while True:
            while not self._bound:  # it may be confirmed before this task has its turn
                self._added = trio.Event()
                await self._added.wait()
                continue  # the pod may have been seen bound before this task had its turn
            key, since = next(iter(self._bound.items()))
            if since + EXPIRY <= trio.current_time():
                self.forget(self._placed[key])
                return key
            await trio.sleep_until(since + EXPIRY)

    # --- nominations -------------------------------------------------------------------------------------------------

    def nominate(self, pod: PodInfo, node: str) -> None:
        self.unnominate(pod.key)
        self._nomination[pod.key] = node
        self.nominated.setdefault(node, {})[pod.key] = pod

    def unnominate(self, key: str) -> None:
        node = self._nomination.pop(key, None)
        if node is not None:
            pods = self.nominated[node]
            del pods[key]
            if not pods:
                del self.nominated[node]

    # --- within ------------------------------------------------------------------------------------------------------

    def _settle(self, key: str) -> None:
        self._assumed.discard(key)
        self._bound.pop(key, None)

    def _put(self, pod: PodInfo, node: str) -> None:
        self._placed[pod.key] = pod
        self.nodes.add_pod(pod, node)

    def _take(self, key: str) -> PodInfo | None:
        self._placed.pop(key, None)
        return self.nodes.remove_pod(key)


def _differences(old: PodInfo, new: PodInfo) -> frozenset[str]:
    out = set()
    if old.labels != new.labels:
        out.add("labels")
    if old.requests != new.requests:
        out.add("requests")
    if old.deleting != new.deleting:
        out.add("deleting")
    return frozenset(out)
