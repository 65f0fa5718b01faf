"""`PodInfo`: what scheduling reads of a pod, parsed once.

What every policy needs of every pod is computed when the view is made; what few pods have (affinity, spreading,
host ports) when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from kcore import clock
from kcore.objects import Object, quantity
from kcore.scheduler import terms
from kcore.scheduler.terms import AffinityTerm, NodeTerm, PreferredNodeTerm, SpreadConstraint, Toleration

DEFAULT_CPU = 100
"""Millicores that scoring assumes of a container that asks for none."""
DEFAULT_MEMORY = 200 * 1024 * 1024
"""Bytes that scoring assumes of a container that asks for none."""
MAX = 2**62
"""No amount is taken for more than this, so that sums stay within 64 bits."""

_NONE: dict[str, Any] = {}
T = TypeVar("T")


class lazy(Generic[T]):  # a decorator, used as one
    """A property that is computed when first read. As `functools.cached_property`, without the lock that makes that
    one slow in Python 3.11."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute, self._name, self.__doc__ = compute, compute.__name__, compute.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


class PodInfo:
    """A read-only view of a pod. When more than its status has changed there is a new one."""

    def __init__(self, obj: Object) -> None:
        meta, spec = obj["metadata"], obj["spec"]
        self.name: str = meta["name"]
        self.namespace: str = meta.get("namespace", "")
        self.key = f"{self.namespace}/{self.name}"
        self.uid: str = meta.get("uid", "")
        self.deleting = "deletionTimestamp" in meta
        self._look_at(obj)
        self.node: str = spec.get("nodeName") or ""
        """The node it is bound to; "" while it is pending."""
        self.priority: int = spec.get("priority") or 0
        self.scheduler_name: str = spec.get("schedulerName") or "default-scheduler"
        self.gates: tuple[str, ...] = tuple(g["name"] for g in spec.get("schedulingGates") or ())
        self.nominated: str = (obj.get("status") or _NONE).get("nominatedNodeName") or ""
        """The node that preemption has made room on."""
        self.requests: Mapping[str, int] = _requests(spec, 0, 0)
        """By resource: millicores for cpu, bytes or whole units for the rest. A pod needs one of ``pods``."""
        self.columns: Any = None
        """The table's cache of `requests` as a vector; nobody else's business."""
        self.has_affinity = bool(self._pod_affinity or self._pod_anti_affinity)

    def _look_at(self, obj: Object) -> None:
        """Everything here that is a piece of the object."""
        meta, spec = obj["metadata"], obj["spec"]
        self.obj = obj
        self.labels: Mapping[str, str] = meta.get("labels") or _NONE
        self.annotations: Mapping[str, str] = meta.get("annotations") or _NONE
        self.spec: Mapping[str, Any] = spec
        affinity = spec.get("affinity") or _NONE
        self._node_affinity: Mapping[str, Any] = affinity.get("nodeAffinity") or _NONE
        self._pod_affinity: Mapping[str, Any] = affinity.get("podAffinity") or _NONE
        self._pod_anti_affinity: Mapping[str, Any] = affinity.get("podAntiAffinity") or _NONE

    def __repr__(self) -> str:
        return f"PodInfo({self.key})"

    def renew(self, obj: Object) -> None:
        """A newer version of the pod that differs in nothing but its status. Of the older one nothing is kept: a pod
        held twice would be a sixth of the memory that a cluster of fake nodes takes."""
        self._look_at(obj)
        self.__dict__.pop("started", None)

    @lazy
    def assumed(self) -> tuple[int, int]:
        """(millicores, bytes) that scoring reckons with: what is asked for, or a default where nothing is."""
        amounts = _requests(self.spec, DEFAULT_CPU, DEFAULT_MEMORY)
        return amounts.get("cpu", 0), amounts.get("memory", 0)

    @lazy
    def best_effort(self) -> bool:
        """It asks for neither cpu nor memory."""
        return not self.requests.get("cpu") and not self.requests.get("memory")

    @lazy
    def tolerations(self) -> tuple[Toleration, ...]:
        return terms.tolerations(dict(self.spec))

    @lazy
    def node_selector(self) -> tuple[tuple[str, str], ...]:
        return tuple((self.spec.get("nodeSelector") or _NONE).items())

    @lazy
    def required_nodes(self) -> tuple[NodeTerm, ...] | None:
        """Node affinity: any of these must match; None: there is none, all nodes match."""
        return terms.node_terms(self._node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))

    @lazy
    def preferred_nodes(self) -> tuple[PreferredNodeTerm, ...]:
        preferred = self._node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        return tuple(PreferredNodeTerm(p["weight"], terms.node_term(p["preference"])) for p in preferred)

    @lazy
    def affinity(self) -> tuple[AffinityTerm, ...]:
        """Required pod affinity."""
        return self._required(self._pod_affinity)

    @lazy
    def anti_affinity(self) -> tuple[AffinityTerm, ...]:
        """Required pod anti-affinity."""
        return self._required(self._pod_anti_affinity)

    @lazy
    def preferred_affinity(self) -> tuple[AffinityTerm, ...]:
        return self._preferred(self._pod_affinity, 1)

    @lazy
    def preferred_anti_affinity(self) -> tuple[AffinityTerm, ...]:
        """With negative weights."""
        return self._preferred(self._pod_anti_affinity, -1)

    @lazy
    def spread(self) -> tuple[SpreadConstraint, ...]:
        constraints = self.spec.get("topologySpreadConstraints") or ()
        return tuple(terms.spread_constraint(c, self.labels) for c in constraints)

    @lazy
    def host_ports(self) -> tuple[tuple[str, int, str], ...]:
        """(protocol, port, address) of every host port; the address 0.0.0.0 stands for all."""
        out = []
        containers = list(self.spec["containers"])
        containers += [c for c in self.spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
        for container in containers:
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    out.append((port.get("protocol") or "TCP", port["hostPort"], port.get("hostIP") or "0.0.0.0"))
        return tuple(out)

    @lazy
    def images(self) -> tuple[str, ...]:
        """The images of its containers and init containers, with a tag."""
        containers = [*self.spec["containers"], *(self.spec.get("initContainers") or ())]
        return tuple(with_tag(c["image"]) for c in containers if c.get("image"))

    @lazy
    def claims(self) -> tuple[str, ...]:
        """Names of its PersistentVolumeClaims, those of ephemeral volumes included."""
        out = []
        for volume in self.spec.get("volumes") or ():
            if "persistentVolumeClaim" in volume:
                out.append(volume["persistentVolumeClaim"]["claimName"])
            elif "ephemeral" in volume:
                out.append(f"{self.name}-{volume['name']}")
        return tuple(out)

    @lazy
    def created(self) -> float:
        """Epoch seconds; 0 if unknown."""
        return _time(self.obj["metadata"].get("creationTimestamp"))

    @lazy
    def started(self) -> float:
        """Epoch seconds of ``status.startTime``; infinity while the kubelet has not seen it."""
        return _time((self.obj.get("status") or _NONE).get("startTime")) or float("inf")

    def _required(self, affinity: Mapping[str, Any]) -> tuple[AffinityTerm, ...]:
        found = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        return tuple(terms.affinity_term(t, self.namespace, self.labels) for t in found)

    def _preferred(self, affinity: Mapping[str, Any], sign: int) -> tuple[AffinityTerm, ...]:
        found = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        return tuple(
            terms.affinity_term(p["podAffinityTerm"], self.namespace, self.labels, sign * p["weight"]) for p in found
        )


def same_but_status(old: Object, new: Object) -> bool:
    """Two versions of one pod differ in nothing that scheduling counts. The generation tells of the spec; the API
    leaves it alone when a pod is bound, and the node of a pod is not compared here."""
    a, b = old["metadata"], new["metadata"]
    if a.get("labels") != b.get("labels") or ("deletionTimestamp" in a) != ("deletionTimestamp" in b):
        return False
    generation = a.get("generation")
    return generation is not None and bool(generation == b.get("generation"))


def with_tag(image: str) -> str:
    """``nginx`` -> ``nginx:latest``: how nodes name what they hold."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def amount(resource: str, text: Any) -> int:
    """Millicores for cpu, whole units for everything else."""
    n = quantity.milli(text) if resource == "cpu" else quantity.value(text)
    return min(n, MAX)


def _requests(spec: Mapping[str, Any], default_cpu: int, default_memory: int) -> dict[str, int]:
    """The pod's effective requests: containers and sidecars together, or the biggest start-up moment if that is
    more, plus overhead (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/)."""
    total: dict[str, int] = {}
    for container in spec["containers"]:
        _add(total, _of_container(container, default_cpu, default_memory))
    if init := spec.get("initContainers"):
        total = _with_init(total, init, default_cpu, default_memory)
    pod_level = (spec.get("resources") or _NONE).get("requests")
    if pod_level:
        total.update({name: amount(name, text) for name, text in pod_level.items()})
    overhead = spec.get("overhead")
    if overhead:
        _add(total, {name: amount(name, text) for name, text in overhead.items()})
    total["pods"] = 1
    return total


def _with_init(total: dict[str, int], init: list[Object], default_cpu: int, default_memory: int) -> dict[str, int]:
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in init:
        own = _of_container(container, default_cpu, default_memory)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = sidecars
        else:
            own = dict(own)
            _add(own, sidecars)
        for name, n in own.items():
            peak[name] = max(peak.get(name, 0), n)
    for name, n in peak.items():
        total[name] = max(total.get(name, 0), n)
    return total


def _of_container(container: Object, default_cpu: int, default_memory: int) -> dict[str, int]:
    requests = (container.get("resources") or _NONE).get("requests")
    out = {name: amount(name, text) for name, text in requests.items()} if requests else {}
    if default_cpu and not out.get("cpu"):
        out["cpu"] = default_cpu
    if default_memory and not out.get("memory"):
        out["memory"] = default_memory
    return out


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, n in more.items():
        total[name] = total.get(name, 0) + n


def _time(text: str | None) -> float:
    return clock.parse(text) if text else 0.0
