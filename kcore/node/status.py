"""A pod's status, made from what the node agent knows (Kubernetes docs, "Pod Lifecycle").

The status is computed anew each time; only conditions and members that belong to others (readiness gates,
DisruptionTarget, nominatedNodeName) are kept from the pod as the API has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kcore import clock
from kcore.node.resize import IN_PROGRESS, PENDING
from kcore.node.run import EPHEMERAL, INIT, MAIN, SIDECAR, Run
from kcore.objects import Object, meta
from kcore.objects.qos import qos_class
from kcore.runtime import RUNNING, Container

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

OWN = frozenset(
    ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", PENDING, IN_PROGRESS)
)


def pod_status(worker: PodWorker) -> Object:
    """What .status of the worker's pod should be."""
    pod, runs = worker.pod, list(worker.runs.values())
    old: Object = pod.get("status") or {}
    out = {k: v for k, v in old.items() if k not in ("reason", "message", "phase", "conditions")}
    phase = _phase(worker, runs)
    out["phase"] = phase
    if worker.fate is not None:
        out |= {"reason": worker.fate.reason, "message": worker.fate.message}
    elif phase == "Failed" and old.get("phase") == "Failed" and old.get("reason"):
        out |= {k: old[k] for k in ("reason", "message") if k in old}
    out.setdefault("startTime", clock.timestamp(worker.first_seen))
    out["observedGeneration"] = meta.generation(pod)
    out.setdefault("qosClass", qos_class(pod["spec"]))
    out["hostIP"], out["hostIPs"] = worker.host_ip, [{"ip": worker.host_ip}]
    if worker.ips:
        out["podIP"], out["podIPs"] = worker.ips[0], [{"ip": ip} for ip in worker.ips]
    if worker.refused:
        out["conditions"] = _conditions(worker, old, phase, runs)
        return out
    by_kind = {"initContainerStatuses": (INIT, SIDECAR), "containerStatuses": (MAIN,)}
    by_kind["ephemeralContainerStatuses"] = (EPHEMERAL,)
    initialized = _initialized(runs)
    for member, kinds in by_kind.items():
        statuses = [_container(worker, r, initialized) for r in runs if r.kind in kinds]
        if statuses:
            out[member] = statuses
    out["conditions"] = _conditions(worker, old, phase, runs)
    return out


def _initialized(runs: Iterable[Run]) -> bool:
    return all((r.succeeded if r.kind == INIT else r.started) for r in runs if r.kind in (INIT, SIDECAR))


# --- phase -----------------------------------------------------------------------------------------------------------


def _phase(worker: PodWorker, runs: list[Run]) -> str:
    old = str((worker.pod.get("status") or {}).get("phase", "Pending"))
    if old in ("Succeeded", "Failed"):
        return old
    if worker.fate is not None:
        return "Failed" if worker.stopped else old
    policy = worker.policy
    if any(r.kind == INIT and r.exited and not r.succeeded and not r.restartable(policy) for r in runs):
        return "Failed" if worker.stopped else "Pending"
    main = [r for r in runs if r.kind == MAIN]
    if worker.stopped and worker.ending:
        ran = [r for r in main if r.current is not None]
        return "Succeeded" if ran and len(ran) == len(main) and all(r.succeeded for r in ran) else "Failed"
    was_ready = any(r.current is not None for r in main)
    if not was_ready and not _initialized(runs):
        return "Pending"
    if any(r.current is None for r in main):
        return "Pending"
    if any(r.running for r in main) or not all(r.finished(policy) for r in main):
        return "Running"
    if any(r.running for r in runs):
        return "Running"  # sidecars are about to be stopped
    return "Succeeded" if all(r.succeeded for r in main) else "Failed"


# --- containers ------------------------------------------------------------------------------------------------------


def _container(worker: PodWorker, run: Run, initialized: bool) -> Object:
    spec, current = run.spec, run.current
    out: Object = {
        "name": run.name,
        "image": current.image if current is not None else spec.get("image", ""),
        "imageID": current.image_ref if current is not None else "",
        "restartCount": run.restarts,
        "ready": _ready(run),
        "started": run.running and run.started,
        "state": _state(run, worker, initialized),
        "lastState": {},
    }
    if current is not None and current.id:
        out["containerID"] = worker.container_id(current)
    ended = current if run.exited and "waiting" in out["state"] else run.last
    if ended is not None and run.kind != EPHEMERAL:
        out["lastState"] = {"terminated": _terminated(ended, worker)}
    if run.kind == EPHEMERAL or (run.kind == INIT and not run.running):
        out["started"] = run.running and run.kind == EPHEMERAL
    if run.allocated and run.allocated.get("requests"):
        out["allocatedResources"] = dict(run.allocated["requests"])
    if run.applied:
        out["resources"] = dict(run.applied)
    if spec.get("volumeMounts"):
        out["volumeMounts"] = [_mount(m) for m in spec["volumeMounts"]]
    return out


def _mount(mount: Object) -> Object:
    out = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        out |= {"readOnly": True, "recursiveReadOnly": mount.get("recursiveReadOnly", "Disabled")}
    return out


def _ready(run: Run) -> bool:
    if run.kind == INIT:
        return run.succeeded
    return run.running and run.started and run.ready


def _state(run: Run, worker: PodWorker, initialized: bool) -> Object:
    current = run.current
    if current is not None and current.state == RUNNING:
        return {"running": {"startedAt": clock.timestamp(current.started_at)}}
    if run.waiting is not None and not worker.ending:
        reason, message = run.waiting
        return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}
    if run.exited and current is not None:
        return {"terminated": _terminated(current, worker)}
    has_init = any(r.kind in (INIT, SIDECAR) for r in worker.runs.values())
    creating = initialized or not has_init or run.kind == EPHEMERAL
    return {"waiting": {"reason": "ContainerCreating" if creating else "PodInitializing"}}


def _terminated(container: Container, worker: PodWorker) -> Object:
    reason = container.reason or ("Completed" if container.exit_code == 0 else "Error")
    out: Object = {"exitCode": container.exit_code, "reason": reason}
    if container.signal:
        out["signal"] = container.signal
    if container.message:
        out["message"] = container.message
    if container.started_at:
        out["startedAt"] = clock.timestamp(container.started_at)
    if container.finished_at:
        out["finishedAt"] = clock.timestamp(container.finished_at)
    if container.id:
        out["containerID"] = worker.container_id(container)
    return out


# --- conditions ------------------------------------------------------------------------------------------------------


def _conditions(worker: PodWorker, old: Object, phase: str, runs: list[Run]) -> list[Object]:
    terminal = phase in ("Succeeded", "Failed")
    main = [r for r in runs if r.kind in (MAIN, SIDECAR)]
    unready = [r.name for r in main if not _ready(r) and not (r.kind == SIDECAR and r.succeeded)]
    pending_init = [
        r.name for r in runs if r.kind in (INIT, SIDECAR) and not (r.succeeded if r.kind == INIT else r.started)
    ]
    found = {c["type"]: c for c in old.get("conditions") or ()}
    rows: list[tuple[str, bool, str, str]] = []
    sandboxed = worker.sandbox is not None and not worker.stopped
    rows.append(("PodReadyToStartContainers", sandboxed, "", ""))
    if phase == "Succeeded":
        rows.append(("Initialized", True, "PodCompleted", ""))
    elif pending_init and not any(r.current is not None for r in runs if r.kind == MAIN):
        text = f"containers with incomplete status: [{' '.join(pending_init)}]"
        rows.append(("Initialized", False, "ContainersNotInitialized", text))
    else:
        rows.append(("Initialized", True, "", ""))
    text = f"containers with unready status: [{' '.join(unready)}]"
    if terminal:
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
        rows += [("Ready", False, reason, ""), ("ContainersReady", False, reason, "")]
    elif unready:
        rows.append(("Ready", False, "ContainersNotReady", text))
        rows.append(("ContainersReady", False, "ContainersNotReady", text))
    else:
        gates = [g["conditionType"] for g in worker.pod["spec"].get("readinessGates") or ()]
        closed = [g for g in gates if found.get(g, {}).get("status") != "True"]
        why = "; ".join(_gate(g, found) for g in closed)
        rows.append(("Ready", not closed, "ReadinessGatesNotReady" if closed else "", why))
        rows.append(("ContainersReady", True, "", ""))
    rows.append(("PodScheduled", True, "", ""))
    if worker.evicted and worker.fate is not None:
        rows.append(("DisruptionTarget", True, worker.evicted, worker.fate.message))
    if not terminal and not worker.ending:
        rows += [(type, True, reason, text) for type, reason, text in worker.resize.conditions]
    mine = {row[0] for row in rows}
    out = [_condition(worker, found.get(t), t, ok, reason, message) for t, ok, reason, message in rows]
    return out + [c for t, c in found.items() if t not in OWN and t not in mine]


def _gate(name: str, found: dict[str, Any]) -> str:
    if name not in found:
        return f'corresponding condition of pod readiness gate "{name}" does not exist.'
    return f'the status of pod readiness gate "{name}" is not "True", but {found[name]["status"]}'


def _condition(worker: PodWorker, old: Object | None, type: str, ok: bool, reason: str, message: str) -> Object:
    status = "True" if ok else "False"
    same = old is not None and old["status"] == status
    out: Object = {"type": type, "status": status, "lastProbeTime": None}
    out["observedGeneration"] = meta.generation(worker.pod)
    out["lastTransitionTime"] = old["lastTransitionTime"] if same and old else clock.timestamp()
    if reason:
        out["reason"] = reason
    if message:
        out["message"] = message
    return out
