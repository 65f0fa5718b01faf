"""Which nodes a DaemonSet runs on, and the pod that it puts there."""

from __future__ import annotations

from collections.abc import Iterable

from kcore.controller import pods, revisions
from kcore.objects import Object, meta
from kcore.objects.resources import DAEMONSETS
from kcore.objects.selectors import Requirement
from kcore_controllers.deployment_sets import scaled_value
from kcore_controllers.tainteviction import tolerates

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}
# daemons stay on nodes in trouble: that is often when they are needed
_TOLERATIONS: tuple[tuple[str, str], ...] = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


def same_for_daemons(old: Object, new: Object) -> bool:
    """Nothing has changed that decides where daemons run (a heartbeat)."""
    return bool(
        meta.labels(old) == meta.labels(new)
        and old["spec"].get("taints") == new["spec"].get("taints")
        and old["spec"].get("unschedulable") == new["spec"].get("unschedulable")
    )


def target(pod: Object) -> str:
    """The node a pod runs on, or is pinned to."""
    name = pod["spec"].get("nodeName")
    if name:
        return str(name)
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field["operator"] == "In" and len(field["values"]) == 1:
                return str(field["values"][0])
    return ""


def should_run(ds: Object, node: Object) -> tuple[bool, bool]:
    """(a pod should run there, a pod that is there may stay)."""
    spec = ds["spec"]["template"]["spec"]
    name = spec.get("nodeName")
    if name and name != meta.name(node):
        return False, False
    if not _selected(spec, node):
        return False, False
    taints = node["spec"].get("taints") or ()
    tolerations = [*(spec.get("tolerations") or ()), *daemon_tolerations(spec)]
    untolerated = [t for t in taints if not any(tolerates(x, t) for x in tolerations)]
    if any(t["effect"] == "NoExecute" for t in untolerated):
        return False, False
    if any(t["effect"] == "NoSchedule" for t in untolerated):
        return False, True
    return True, True


def daemon_tolerations(spec: Object) -> list[Object]:
    out: list[Object] = [{"key": k, "operator": "Exists", "effect": e} for k, e in _TOLERATIONS]
    if spec.get("hostNetwork"):
        out.append({"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"})
    return out


def _selected(spec: Object, node: Object) -> bool:
    labels = meta.labels(node)
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term(t, labels, meta.name(node)) for t in required.get("nodeSelectorTerms") or ())


def _term(term: Object, labels: meta.Labels, name: str) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return _all(expressions, labels) and _all(fields, {"metadata.name": name})


def _all(requirements: Iterable[Object], values: meta.Labels) -> bool:
    return all(
        Requirement(r["key"], _OPERATORS[r["operator"]], frozenset(r.get("values") or ())).matches(values)
        for r in requirements
    )


def surge(ds: Object, count: int) -> int:
    rolling = (ds["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return scaled_value(rolling.get("maxSurge", 0), count, True)


def daemon_pod(ds: Object, node: str, wanted_hash: str) -> Object:
    """The pod for a node: pinned to it by name, tolerating what daemons tolerate."""
    pod = pods.pod_from_template(ds["spec"]["template"], ds, DAEMONSETS)
    labels = pod["metadata"].setdefault("labels", {})
    labels[revisions.HASH_LABEL] = wanted_hash
    generation = meta.annotations(ds).get("deprecated.daemonset.template.generation")
    if generation:
        labels["pod-template-generation"] = generation
    spec = pod["spec"]
    own = spec.get("tolerations") or []
    spec["tolerations"] = [*own, *(t for t in daemon_tolerations(spec) if t not in own)]
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    fields = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**term, "matchFields": fields} for term in terms]
    return pod
