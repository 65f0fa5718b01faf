"""Whether a pod that was assigned to a node can run there (upstream: the kubelet's admit handlers).

The scheduler has looked already, but what is assigned by hand (spec.nodeName) or by two schedulers at once has
not been checked together. A pod that does not fit fails at once: phase Failed, reason OutOfcpu, NodePorts and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from kcore.objects import Object, meta, quantity


@attrs.frozen
class Refusal:
    """status.reason and status.message of the pod."""

    reason: str
    message: str


@attrs.frozen
class Need:
    """What a pod takes of its node: millicores, bytes, and other resources by name in whole units."""

    cpu: int = 0
    memory: int = 0
    other: tuple[tuple[str, int], ...] = ()
    host_ports: frozenset[tuple[str, str, int]] = frozenset()


_COUNTED = ("cpu", "memory")


def need(pod: Object) -> Need:
    """Requests of the pod, as Kubernetes sums them: max(containers + sidecars, each init container) + overhead."""
    spec = pod["spec"]
    running: dict[str, int] = {}
    for c in spec.get("containers", ()):
        _add(running, c)
    peak: dict[str, int] = {}
    sidecars: dict[str, int] = {}
    for c in spec.get("initContainers") or ():
        if c.get("restartPolicy") == "Always":
            _add(sidecars, c)
            at: dict[str, int] = dict(sidecars)
        else:
            at = dict(sidecars)
            _add(at, c)
        for k, v in at.items():
            peak[k] = max(peak.get(k, 0), v)
    for k, v in sidecars.items():
        running[k] = running.get(k, 0) + v
    total = {k: max(running.get(k, 0), peak.get(k, 0)) for k in running.keys() | peak.keys()}
    for k, v in (spec.get("overhead") or {}).items():
        total[k] = total.get(k, 0) + _amount(k, v)
    other = tuple(sorted((k, v) for k, v in total.items() if k not in _COUNTED and v))
    return Need(total.get("cpu", 0), total.get("memory", 0), other, frozenset(_host_ports(spec)))


def _amount(name: str, text: str) -> int:
    return quantity.milli(text) if name == "cpu" else quantity.value(text)


def _add(total: dict[str, int], container: Object) -> None:
    for k, v in ((container.get("resources") or {}).get("requests") or {}).items():
        total[k] = total.get(k, 0) + _amount(k, v)


def _host_ports(spec: Object) -> Iterable[tuple[str, str, int]]:
    for c in spec.get("containers", ()):
        for p in c.get("ports") or ():
            number = p.get("hostPort") or (p["containerPort"] if spec.get("hostNetwork") else 0)
            if number:
                yield p.get("hostIP") or "0.0.0.0", p.get("protocol", "TCP"), number


class Ledger:
    """What the pods of one node take together."""

    def __init__(self) -> None:
        self._pods: dict[str, Need] = {}
        self._cpu = self._memory = 0
        self._other: dict[str, int] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def admit(self, pod: Object, node: Object) -> Refusal | None:
        """Enter the pod, or say why not."""
        wanted, uid = need(pod), meta.uid(pod)
        refusal = _selector_refusal(pod, node) or self._refusal(wanted, node["status"]["allocatable"])
        if refusal is None:
            self.enter(uid, wanted)
        return refusal

    def resize(self, uid: str, wanted: Need, allocatable: Mapping[str, str]) -> tuple[str, str] | None:
        """Change what an entered pod takes, or say why not: Infeasible (more than the node has) or Deferred."""
        rows = [("cpu", wanted.cpu), ("memory", wanted.memory)]
        for name, amount in rows:
            capacity = _amount(name, allocatable.get(name, "0"))
            if amount > capacity:
                text = f"Node didn't have enough capacity: {name}, requested: {amount}, capacity: {capacity}"
                return "Infeasible", text
        before = self._pods.get(uid)
        self.release(uid)
        refusal = self._refusal(wanted, allocatable)
        if refusal is None:
            self.enter(uid, wanted)
            return None
        if before is not None:
            self.enter(uid, before)
        return "Deferred", refusal.message.removeprefix("Pod was rejected: ")

    def enter(self, uid: str, wanted: Need) -> None:
        """The pod takes this, whatever else is there: it runs already."""
        self._pods[uid] = wanted
        self._cpu += wanted.cpu
        self._memory += wanted.memory
        for k, v in wanted.other:
            self._other[k] = self._other.get(k, 0) + v

    def release(self, uid: str) -> None:
        """The pod takes nothing any more."""
        taken = self._pods.pop(uid, None)
        if taken is not None:
            self._cpu -= taken.cpu
            self._memory -= taken.memory
            for k, v in taken.other:
                self._other[k] -= v

    def _refusal(self, wanted: Need, allocatable: Mapping[str, str]) -> Refusal | None:
        if len(self._pods) + 1 > int(allocatable.get("pods", "110")):
            return _short("pods", 1, len(self._pods), int(allocatable.get("pods", "110")))
        rows = [("cpu", wanted.cpu, self._cpu), ("memory", wanted.memory, self._memory)]
        rows += [(k, v, self._other.get(k, 0)) for k, v in wanted.other]
        for name, amount, used in rows:
            capacity = _amount(name, allocatable.get(name, "0"))
            if amount and used + amount > capacity:
                return _short(name, amount, used, capacity)
        for mine in wanted.host_ports:
            if any(_clash(mine, theirs) for n in self._pods.values() for theirs in n.host_ports):
                return Refusal("NodePorts", "Pod was rejected: Predicate NodePorts failed")
        return None


def _short(name: str, wanted: int, used: int, capacity: int) -> Refusal:
    return Refusal(
        f"OutOf{name}",
        f"Pod was rejected: Node didn't have enough resource: {name}, "
        f"requested: {wanted}, used: {used}, capacity: {capacity}",
    )


def _clash(a: tuple[str, str, int], b: tuple[str, str, int]) -> bool:
    return a[1:] == b[1:] and (a[0] == b[0] or "0.0.0.0" in (a[0], b[0]))


def _selector_refusal(pod: Object, node: Object) -> Refusal | None:
    labels = meta.labels(node)
    for k, v in (pod["spec"].get("nodeSelector") or {}).items():
        if labels.get(k) != v:
            return Refusal("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed")
    return None
