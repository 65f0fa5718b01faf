"""The tables of pods and pod templates."""

from __future__ import annotations

from typing import Any

import attrs

from kcore.api.kinds import Column
from kcore.objects import meta
from kcore_kinds.tables.cells import (
    AGE,
    NAME,
    NONE,
    Object,
    at,
    col,
    containers_text,
    labels_text,
    since,
)


@attrs.define(slots=True)
class _Summary:
    """What the state of its containers says of a pod."""

    reason: str
    ready: int = 0
    restarts: int = 0
    last_restart: str = ""


def _restartable(container: Object) -> bool:
    return container.get("restartPolicy") == "Always"


def _restarted(summary: _Summary, status: Object) -> None:
    summary.restarts += int(status.get("restartCount", 0))
    finished = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
    summary.last_restart = max(summary.last_restart, finished)


def summarize(pod: Object) -> _Summary:
    """The Status column: the most telling reason, from the phase down to the last container."""
    status = pod.get("status") or {}
    phase = status.get("phase", "")
    summary = _Summary(status.get("reason") or phase)
    gate = meta.condition(pod, "PodScheduled")
    if gate is not None and gate.get("reason") == "SchedulingGated":
        summary.reason = "SchedulingGated"
    initializing, sidecars = _init_containers(pod, summary)
    if not initializing or meta.condition_is(pod, "Initialized"):
        summary.restarts, summary.last_restart = sidecars.restarts, sidecars.last_restart
        _containers(pod, summary)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            summary.reason = "Terminating"
    return summary


def _init_containers(pod: Object, summary: _Summary) -> tuple[bool, _Summary]:
    """(whether the pod is still initializing, the restarts of its sidecars)."""
    declared = {c.get("name"): c for c in pod.get("spec", {}).get("initContainers") or ()}
    sidecars = _Summary("")
    for i, status in enumerate((pod.get("status") or {}).get("initContainerStatuses") or ()):
        _restarted(summary, status)
        sidecar = _restartable(declared.get(status.get("name"), {}))
        if sidecar:
            _restarted(sidecars, status)
        state = status.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if sidecar and status.get("started"):
            summary.ready += bool(status.get("ready"))
            continue
        if ended is not None:
            summary.reason = "Init:" + _end(ended)
        elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
            summary.reason = "Init:" + waiting["reason"]
        else:
            summary.reason = f"Init:{i}/{len(declared)}"
        return True, sidecars
    return False, sidecars


def _end(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _containers(pod: Object, summary: _Summary) -> None:
    running = False
    for status in reversed((pod.get("status") or {}).get("containerStatuses") or ()):
        _restarted(summary, status)
        state = status.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            summary.reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            summary.reason = _end(state["terminated"])
        elif status.get("ready") and state.get("running") is not None:
            running = True
            summary.ready += 1
    if summary.reason == "Completed" and running:
        summary.reason = "Running" if meta.pod_ready(pod) else "NotReady"


def _ready(pod: Object) -> str:
    spec = pod.get("spec", {})
    total = len(spec.get("containers") or ()) + sum(map(_restartable, spec.get("initContainers") or ()))
    return f"{summarize(pod).ready}/{total}"


def _restarts(pod: Object) -> str:
    summary = summarize(pod)
    if summary.restarts and summary.last_restart:
        return f"{summary.restarts} ({since(summary.last_restart)} ago)"
    return str(summary.restarts)


def _ip(pod: Object) -> str:
    status = pod.get("status") or {}
    ips = status.get("podIPs") or ()
    return str((ips[0].get("ip") if ips else status.get("podIP")) or NONE)


def _gates(pod: Object) -> str:
    gates = pod.get("spec", {}).get("readinessGates") or ()
    if not gates:
        return NONE
    return f"{sum(meta.condition_is(pod, g['conditionType']) for g in gates)}/{len(gates)}"


def _template_labels(template: Object) -> Any:
    return labels_text(at("template.metadata.labels", {})(template))


TABLES: dict[str, tuple[Column, ...]] = {
    "pods": (
        NAME,
        col("Ready", _ready),
        col("Status", lambda pod: summarize(pod).reason),
        col("Restarts", _restarts),
        AGE,
        col("IP", _ip, wide=True),
        col("Node", at("spec.nodeName", NONE), wide=True),
        col("Nominated Node", at("status.nominatedNodeName", NONE), wide=True),
        col("Readiness Gates", _gates, wide=True),
    ),
    "podtemplates": (
        NAME,
        col("Containers", containers_text("template.spec", "name")),
        col("Images", containers_text("template.spec", "image")),
        col("Pod Labels", _template_labels),
    ),
}
