"""The ReplicaSets of a Deployment: which is the new one, revisions, and the sizes that the strategy allows."""

from __future__ import annotations

import math
from typing import Any

from kcore.objects import Object, meta

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"

# what is not copied between a Deployment and its ReplicaSets
_OWN = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAXIMUM,
        "deprecated.deployment.rollback.to"}  # fmt: skip


def strategy(d: Object) -> str:
    return str((d["spec"].get("strategy") or {}).get("type", "RollingUpdate"))


def replicas(obj: Object) -> int:
    return int(obj["spec"].get("replicas", 1))


def status_of(obj: Object, field: str) -> int:
    return int((obj.get("status") or {}).get(field, 0))


def total(sets: list[Object], field: str) -> int:
    return sum(status_of(s, field) for s in sets)


def wanted_total(sets: list[Object]) -> int:
    return sum(replicas(s) for s in sets)


def scaled_value(value: Any, total: int, up: bool) -> int:
    """An IntOrString: a number, or a percentage of `total` rounded up or down."""
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * total / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)


def fences(d: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods. Never both 0: then one may be unavailable."""
    if strategy(d) != "RollingUpdate":
        return 0, 0
    rolling = (d["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = scaled_value(rolling.get("maxSurge", "25%"), replicas(d), True)
    unavailable = scaled_value(rolling.get("maxUnavailable", "25%"), replicas(d), False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas(d))


def equal_templates(a: Object, b: Object) -> bool:
    """Equal but for the hash label."""
    if a.get("spec") != b.get("spec"):
        return False
    return _without_hash(a.get("metadata") or {}) == _without_hash(b.get("metadata") or {})


def _without_hash(metadata: Object) -> Object:
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    out = {k: v for k, v in metadata.items() if v and k not in ("labels", "creationTimestamp")}
    return {**out, "labels": labels}


def find_new(d: Object, sets: list[Object]) -> Object | None:
    """The set of the deployment's present template; of several the oldest, so that the choice is stable."""
    for s in sorted(sets, key=_age):
        if equal_templates(s["spec"]["template"], d["spec"]["template"]):
            return s
    return None


def _age(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("creationTimestamp", ""), meta.name(obj)


def oldest_first(sets: list[Object]) -> list[Object]:
    return sorted(sets, key=_age)


def revision(obj: Object) -> int:
    try:
        return int(meta.annotations(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def set_annotations(d: Object, old: dict[str, str], number: int, is_new: bool) -> dict[str, str]:
    """The annotations of the new ReplicaSet: the deployment's, with revision and history."""
    out = dict(old)
    for k, v in meta.annotations(d).items():
        if k not in _OWN:
            out[k] = v
    before = out.get(REVISION, "")
    if not before or (before.isdigit() and int(before) < number):
        out[REVISION] = str(number)
        if before and not is_new:
            history = out.get(REVISION_HISTORY, "")
            out[REVISION_HISTORY] = f"{history},{before}" if history else before
    return out


def size_annotations(d: Object) -> dict[str, str]:
    surge, _ = fences(d)
    return {DESIRED: str(replicas(d)), MAXIMUM: str(replicas(d) + surge)}


def annotation_number(obj: Object, name: str) -> int | None:
    try:
        return int(meta.annotations(obj)[name])
    except (KeyError, ValueError):
        return None
