"""What one metric of a HorizontalPodAutoscaler asks for (the algorithm of its documentation)."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from kcore import clock
from kcore.objects import Object, meta, quantity

TOLERANCE = 0.1  # a ratio this near to 1 changes nothing
CPU_INITIALIZATION = 300.0  # seconds in which a pod's CPU does not count unless it is ready
INITIAL_READINESS = 30.0  # seconds in which becoming not ready means "not yet ready"


@attrs.frozen
class Proposal:
    replicas: int
    reason: str
    name: str
    shown: Object
    """The entry of .status.currentMetrics."""


def propose(metric: Object, pods: list[Object], usage: list[Object], present: int, now: float) -> Proposal:
    """Raises LookupError when the metric cannot be computed."""
    if metric["type"] not in ("Resource", "ContainerResource"):
        raise LookupError(f"metric type {metric['type']} needs a metrics API that is not served here")
    source = metric["resource" if metric["type"] == "Resource" else "containerResource"]
    name, target, container = source["name"], source["target"], source.get("container", "")
    used = {meta.name(u): _used(u, name, container) for u in usage}
    ready, unready, missing = _sort(pods, used, name, now)
    if not ready:
        raise LookupError(
            f"failed to get {name} utilization: did not receive metrics for targeted pods (pods might be unready)"
        )
    title = f"{name} {'container ' if container else ''}resource"
    requests: dict[str, int] | None = None
    if target["type"] == "Utilization":
        requests = {meta.name(p): _requested(p, name, container) for p in pods}

        def ratio(values: dict[str, int]) -> float:
            share = 100.0 * sum(values.values()) / sum(requests[n] for n in values)
            return share / float(target["averageUtilization"])

        mean = int(100 * sum(used[n] for n in ready) / sum(requests[n] for n in ready))
        shown: Object = {"averageUtilization": mean}
        title += " utilization (percentage of request)"
    else:
        wanted = quantity.milli(target["averageValue"])

        def ratio(values: dict[str, int]) -> float:
            return sum(values.values()) / len(values) / wanted

        shown = {}
    shown["averageValue"] = _text(name, sum(used[n] for n in ready) // len(ready))
    values = {n: used[n] for n in ready}
    replicas = _replicas(ratio, values, present, unready, _assumed(missing, requests, target))
    word = "above" if replicas > present else "below"
    entry = {"name": name, "current": shown} | ({"container": container} if container else {})
    field = "containerResource" if container else "resource"
    return Proposal(replicas, f"{title} {word} target", title, {"type": metric["type"], field: entry})


def _assumed(missing: list[str], requests: dict[str, int] | None, target: Object) -> Callable[[bool], dict[str, int]]:
    """What pods without a metric are taken to use: nothing when growing, their whole request when shrinking."""

    def assume(growing: bool) -> dict[str, int]:
        if growing:
            return dict.fromkeys(missing, 0)
        if requests is not None:
            return {n: requests[n] * max(100, target["averageUtilization"]) // 100 for n in missing}
        return dict.fromkeys(missing, quantity.milli(target["averageValue"]))

    return assume


def _replicas(
    ratio: Callable[[dict[str, int]], float],
    values: dict[str, int],
    present: int,
    unready: list[str],
    assumed: Callable[[bool], dict[str, int]],
) -> int:
    r = ratio(values)
    more = assumed(r > 1)
    if r > 1:
        more |= dict.fromkeys(unready, 0)
    if not more:
        return present if abs(r - 1) <= TOLERANCE else math.ceil(r * len(values))
    everything = {**values, **more}
    again = ratio(everything)
    if abs(again - 1) <= TOLERANCE or (r > 1) != (again > 1):
        return present
    replicas = math.ceil(again * len(everything))
    return present if (again > 1 and replicas < present) or (again < 1 and replicas > present) else replicas


def _sort(
    pods: list[Object], used: dict[str, int], resource: str, now: float
) -> tuple[list[str], list[str], list[str]]:
    """(ready, not ready, without a metric), names."""
    ready, unready, missing = [], [], []
    for pod in pods:
        name = meta.name(pod)
        if meta.deleting(pod) or meta.pod_terminal(pod):
            continue
        if (pod.get("status") or {}).get("phase") == "Pending":
            unready.append(name)
        elif name not in used:
            missing.append(name)
        elif resource == "cpu" and _starting(pod, now):
            unready.append(name)
        else:
            ready.append(name)
    return ready, unready, missing


def _starting(pod: Object, now: float) -> bool:
    """Its CPU says little: it is starting up."""
    condition, start = meta.condition(pod, "Ready"), (pod.get("status") or {}).get("startTime")
    if condition is None or start is None:
        return True
    began = clock.parse(start)
    if began + CPU_INITIALIZATION > now:
        return bool(condition["status"] == "False")
    changed = condition.get("lastTransitionTime")
    never_ready = changed is not None and clock.parse(changed) < began + INITIAL_READINESS
    return bool(condition["status"] == "False" and never_ready)


def _used(usage: Object, resource: str, container: str) -> int:
    """Thousandths."""
    return sum(
        quantity.milli(c["usage"].get(resource, "0"))
        for c in usage.get("containers") or ()
        if not container or c["name"] == container
    )


def _requested(pod: Object, resource: str, container: str) -> int:
    total = 0
    for c in pod["spec"]["containers"]:
        if container and c["name"] != container:
            continue
        amount = ((c.get("resources") or {}).get("requests") or {}).get(resource)
        if amount is None:
            raise LookupError(
                f"failed to get {resource} utilization: missing request for {resource} in container {c['name']} of "
                f"Pod {meta.name(pod)}"
            )
        total += quantity.milli(amount)
    return total


def _text(resource: str, milli: int) -> str:
    return quantity.format_milli(milli) if resource == "cpu" else quantity.format_milli(milli // 1000 * 1000)
