"""The quality-of-service class of a pod: who is evicted first when a node runs out of memory.

https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
"""

from __future__ import annotations

from collections.abc import Iterable

from kcore.objects import Object, quantity

_COUNTED = ("cpu", "memory")


def qos_class(spec: Object) -> str:
    """BestEffort, Burstable or Guaranteed, from the requests and limits of a pod's spec."""
    if spec.get("resources"):
        holders: list[Object] = [spec]  # resources of the whole pod take precedence over those of its containers
    else:
        holders = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    resources = [holder.get("resources") or {} for holder in holders]
    if not any(_names(r.get("requests")) or _names(r.get("limits")) for r in resources):
        return "BestEffort"
    return "Guaranteed" if all(_guaranteed(r) for r in resources) else "Burstable"


def _names(amounts: Object | None) -> Iterable[str]:
    return [name for name in _COUNTED if amounts and name in amounts and quantity.parse(amounts[name]) > 0]


def _guaranteed(resources: Object) -> bool:
    """Both limits are set, and what is requested is what is the limit."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if len(list(_names(limits))) < len(_COUNTED):
        return False
    return all(quantity.parse(requests.get(n, limits[n])) == quantity.parse(limits[n]) for n in _COUNTED)
