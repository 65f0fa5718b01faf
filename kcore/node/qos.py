"""What follows from a pod's quality of service when memory runs out (Kubernetes docs, "Node-pressure Eviction")."""

from __future__ import annotations

from collections.abc import Mapping

from kcore.objects import Object, quantity
from kcore.objects.qos import qos_class

SYSTEM_CRITICAL = 2_000_000_000  # the priority of what the node cannot do without
_ADJ_GUARANTEED, _ADJ_BEST_EFFORT = -997, 1000


def oom_score_adj(pod: Object, container: Object, capacity: Mapping[str, str]) -> int:
    """How readily the kernel kills the container: the less it asked for, the sooner."""
    sidecar = container.get("restartPolicy") == "Always" and container in (pod["spec"].get("initContainers") or ())
    own = _score(pod, container, capacity)
    if sidecar:  # never sooner than those that it serves
        return min(own, *(_score(pod, c, capacity) for c in pod["spec"]["containers"]))
    return own


def _score(pod: Object, container: Object, capacity: Mapping[str, str]) -> int:
    quality = qos_class(pod["spec"])
    if quality == "Guaranteed" or int(pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL:
        return _ADJ_GUARANTEED
    if quality == "BestEffort":
        return _ADJ_BEST_EFFORT
    request = quantity.value(((container.get("resources") or {}).get("requests") or {}).get("memory", 0))
    total = quantity.value(capacity.get("memory", "0")) or 1
    return min(max(1000 - 1000 * request // total, 1000 + _ADJ_GUARANTEED), _ADJ_BEST_EFFORT - 1)
