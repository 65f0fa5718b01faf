"""A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore import clock
from kcore.objects import Object, meta
from kcore_controllers import deployment_sets as sets

if TYPE_CHECKING:
    from kcore_controllers.deployment_rollout import Rollout


def counts(d: Object, all_sets: list[Object]) -> Object:
    new = sets.find_new(d, all_sets)
    replicas = sets.total(all_sets, "replicas")
    available = sets.total(all_sets, "availableReplicas")
    return {
        "replicas": replicas,
        "updatedReplicas": sets.status_of(new, "replicas") if new else 0,
        "readyReplicas": sets.total(all_sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(sets.wanted_total(all_sets) - available, 0),
        "terminatingReplicas": sets.total(all_sets, "terminatingReplicas"),
    }


def complete(d: Object, status: Object) -> bool:
    wanted = sets.replicas(d)
    return bool(
        status["updatedReplicas"] == wanted
        and status["replicas"] == wanted
        and status["availableReplicas"] == wanted
        and (d.get("status") or {}).get("observedGeneration", 0) >= meta.generation(d)
    )


def _progressed(d: Object, status: Object) -> bool:
    """Something has moved since the last status."""
    old = d.get("status") or {}
    old_rest = old.get("replicas", 0) - old.get("updatedReplicas", 0)
    return bool(
        status["updatedReplicas"] > old.get("updatedReplicas", 0)
        or status["replicas"] - status["updatedReplicas"] < old_rest
        or status["readyReplicas"] > old.get("readyReplicas", 0)
        or status["availableReplicas"] > old.get("availableReplicas", 0)
    )


def _deadline(d: Object) -> int | None:
    """progressDeadlineSeconds; None when there is none (its largest value means that)."""
    seconds = d["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds >= 2**31 - 1 else int(seconds)


def conditions(d: Object, status: Object, rollout: Rollout) -> list[Object]:
    out = {c["type"]: c for c in (d.get("status") or {}).get("conditions") or ()}
    _, unavailable = sets.fences(d)
    enough = status["availableReplicas"] >= sets.replicas(d) - unavailable
    if enough:
        _put(out, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        _put(out, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    if _deadline(d) is None:
        out.pop("Progressing", None)
    else:
        _progress(out, d, status, rollout)
    _failure(out, rollout)
    return list(out.values())


def _progress(out: dict[str, Object], d: Object, status: Object, rollout: Rollout) -> None:
    present = out.get("Progressing")
    reason = (present or {}).get("reason", "")
    subject = f'ReplicaSet "{meta.name(rollout.new)}"' if rollout.new else f'Deployment "{meta.name(d)}"'
    if d["spec"].get("paused"):
        if reason != "DeploymentPaused":
            _put(out, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        return
    if reason == "DeploymentPaused":
        _put(out, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")
        reason = "DeploymentResumed"
    if rollout.create_error is not None:
        _put(out, "Progressing", "False", "ReplicaSetCreateError", str(rollout.create_error))
        return
    if rollout.created_set:
        _put(out, "Progressing", "True", "NewReplicaSetCreated", f"Created new replica set {_quoted(rollout)}")
        return
    if rollout.found_set and present is None:
        _put(out, "Progressing", "True", "FoundNewReplicaSet", f"Found new replica set {_quoted(rollout)}")
        return
    settled = status["replicas"] == status["updatedReplicas"] and reason == "NewReplicaSetAvailable"
    if settled:
        return
    if complete(d, status):
        _put(out, "Progressing", "True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.")
    elif _progressed(d, status):
        _put(out, "Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", fresh=True)
    elif _timed_out(d, out.get("Progressing")):
        _put(out, "Progressing", "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.")


def _quoted(rollout: Rollout) -> str:
    return f'"{rollout.created_set or rollout.found_set}"'


def _timed_out(d: Object, present: Object | None) -> bool:
    deadline = _deadline(d)
    if present is None or deadline is None or present.get("reason") == "NewReplicaSetAvailable":
        return False
    if present.get("reason") == "ProgressDeadlineExceeded":
        return True
    since = present.get("lastUpdateTime") or present["lastTransitionTime"]
    return clock.parse(since) + deadline <= clock.now()


def until_deadline(d: Object, status: Object, now: float) -> float | None:
    """Seconds until a rollout that stands still must be declared stuck."""
    deadline = _deadline(d)
    present = next((c for c in status.get("conditions") or () if c["type"] == "Progressing"), None)
    if deadline is None or present is None or d["spec"].get("paused"):
        return None
    if present["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    since = clock.parse(present.get("lastUpdateTime") or present["lastTransitionTime"])
    return max(since + deadline - now, 0) + 1


def _failure(out: dict[str, Object], rollout: Rollout) -> None:
    """Copied from the new set, or from an old one when there is no new one."""
    found = None
    for s in [rollout.new] if rollout.new is not None else rollout.old:
        found = meta.condition(s, "ReplicaFailure") or found
    if found is not None:
        _put(out, "ReplicaFailure", found["status"], found["reason"], found["message"])
    elif rollout.create_error is not None:
        _put(out, "ReplicaFailure", "True", "FailedCreate", str(rollout.create_error))
    else:
        out.pop("ReplicaFailure", None)


def _put(out: dict[str, Object], type: str, status: str, reason: str, message: str, fresh: bool = False) -> None:
    """Set a condition. `fresh` moves lastUpdateTime although nothing but progress is new."""
    now = clock.timestamp()
    old = out.get(type)
    if old is not None and (old["status"], old["reason"]) == (status, reason) and not fresh:
        if old.get("message") != message:
            out[type] = {**old, "message": message}
        return
    changed = old["lastTransitionTime"] if old is not None and old["status"] == status else now
    out[type] = {
        "type": type,
        "status": status,
        "lastUpdateTime": now,
        "lastTransitionTime": changed,
        "reason": reason,
        "message": message,
    }


def same(a: Object, b: Object) -> bool:
    """Equal, whatever the order of the conditions."""
    if {k: v for k, v in a.items() if k != "conditions"} != {k: v for k, v in b.items() if k != "conditions"}:
        return False
    return {c["type"]: c for c in a.get("conditions") or ()} == {c["type"]: c for c in b.get("conditions") or ()}
