"""The tables of workloads."""

from __future__ import annotations

from kcore import clock
from kcore.api.kinds import Column
from kcore.objects import meta
from kcore_kinds.tables.cells import (
    AGE,
    NAME,
    NONE,
    SELECTOR,
    UNKNOWN,
    UNSET,
    Object,
    at,
    col,
    count,
    human_duration,
    labels_text,
    selector_text,
    since,
    some,
    template_columns,
)


def _ready(obj: Object) -> str:
    return f"{at('status.readyReplicas', 0)(obj)}/{at('spec.replicas', 0)(obj)}"


_TEMPLATE = template_columns("spec.template.spec")
_COUNTS = (
    col("Desired", at("spec.replicas", 0), "integer"),
    col("Current", at("status.replicas", 0), "integer"),
    col("Ready", at("status.readyReplicas", 0), "integer"),
)

_JOB_STATES = (
    ("Complete", "Complete"),
    ("Failed", "Failed"),
    ("", "Terminating"),
    ("Suspended", "Suspended"),
    ("FailureTarget", "FailureTarget"),
    ("SuccessCriteriaMet", "SuccessCriteriaMet"),
)


def _job_status(job: Object) -> str:
    for condition, shown in _JOB_STATES:
        if meta.condition_is(job, condition) if condition else meta.deleting(job):
            return shown
    return "Running"


def _job_completions(job: Object) -> str:
    done, wanted = at("status.succeeded", 0)(job), at("spec.completions", None)(job)
    if wanted is not None:
        return f"{done}/{wanted}"
    parallel = at("spec.parallelism", 0)(job)
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(job: Object) -> str:
    started, ended = at("status.startTime", None)(job), at("status.completionTime", None)(job)
    if not started:
        return ""
    return human_duration((clock.parse(ended) if ended else clock.now()) - clock.parse(started))


def _reference(hpa: Object) -> str:
    target = hpa.get("spec", {}).get("scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _targets(hpa: Object) -> str:
    """What is measured against what is wanted, for the first two metrics."""
    current = (hpa.get("status") or {}).get("currentMetrics") or ()
    wanted = hpa.get("spec", {}).get("metrics") or ()
    texts = [_target(m, current[i] if i < len(current) else {}) for i, m in enumerate(wanted)]
    return some(texts, 2, ", ") if texts else NONE


def _target(metric: Object, measured: Object) -> str:
    type = str(metric.get("type", ""))
    source = type[:1].lower() + type[1:]
    inner = metric.get(source) or {}
    target, now = inner.get("target") or {}, (measured.get(source) or {}).get("current") or {}
    label = f"{inner.get('name', '')}: " if source in ("resource", "containerResource") else ""
    if target.get("averageUtilization") is not None:
        used = now.get("averageUtilization")
        return f"{label}{UNKNOWN if used is None else f'{used}%'}/{target['averageUtilization']}%"
    if target.get("averageValue") is not None:
        average = " (avg)" if source in ("object", "external") else ""
        return f"{label}{now.get('averageValue') or UNKNOWN}/{target['averageValue']}{average}"
    return f"{label}{now.get('value') or UNKNOWN}/{target.get('value', '')}"


def _v1_targets(hpa: Object) -> str:
    """v1 objects are shown as what they are stored as."""
    from kcore_kinds.hpa import to_v2

    return _targets(hpa if hpa.get("apiVersion") != "autoscaling/v1" else to_v2(hpa))


def _controller(revision: Object) -> str:
    owner = meta.controller_of(revision)
    if owner is None:
        return NONE
    group = owner["apiVersion"].rpartition("/")[0]
    return f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"


def _min_pods(hpa: Object) -> str:
    return str(at("spec.minReplicas", UNSET)(hpa))


TABLES: dict[str, tuple[Column, ...]] = {
    "replicationcontrollers": (
        NAME,
        *_COUNTS,
        AGE,
        *_TEMPLATE,
        col("Selector", lambda rc: labels_text(rc.get("spec", {}).get("selector")), wide=True),
    ),
    "replicasets.apps": (NAME, *_COUNTS, AGE, *_TEMPLATE, SELECTOR),
    "deployments.apps": (
        NAME,
        col("Ready", _ready),
        col("Up-to-date", at("status.updatedReplicas", 0)),
        col("Available", at("status.availableReplicas", 0)),
        AGE,
        *_TEMPLATE,
        SELECTOR,
    ),
    "statefulsets.apps": (NAME, col("Ready", _ready), AGE, *_TEMPLATE),
    "daemonsets.apps": (
        NAME,
        col("Desired", at("status.desiredNumberScheduled", 0), "integer"),
        col("Current", at("status.currentNumberScheduled", 0), "integer"),
        col("Ready", at("status.numberReady", 0), "integer"),
        col("Up-to-date", at("status.updatedNumberScheduled", 0), "integer"),
        col("Available", at("status.numberAvailable", 0), "integer"),
        col("Node Selector", lambda ds: labels_text(at("spec.template.spec.nodeSelector", {})(ds))),
        AGE,
        *_TEMPLATE,
        SELECTOR,
    ),
    "controllerrevisions.apps": (NAME, col("Controller", _controller), col("Revision", at("revision", 0)), AGE),
    "jobs.batch": (
        NAME,
        col("Status", _job_status),
        col("Completions", _job_completions),
        col("Duration", _job_duration),
        AGE,
        *_TEMPLATE,
        SELECTOR,
    ),
    "cronjobs.batch": (
        NAME,
        col("Schedule", at("spec.schedule")),
        col("Timezone", at("spec.timeZone", NONE)),
        col("Suspend", lambda job: str(bool(at("spec.suspend", False)(job))), "boolean"),
        col("Active", count("status.active"), "integer"),
        col("Last Schedule", lambda job: since((job.get("status") or {}).get("lastScheduleTime"), NONE)),
        AGE,
        *template_columns("spec.jobTemplate.spec.template.spec"),
        col("Selector", lambda job: selector_text(at("spec.jobTemplate.spec.selector", None)(job)), wide=True),
    ),
    "horizontalpodautoscalers.autoscaling": (
        NAME,
        col("Reference", _reference),
        col("Targets", _v1_targets),
        col("MinPods", _min_pods),
        col("MaxPods", at("spec.maxReplicas", 0)),
        col("Replicas", at("status.currentReplicas", 0)),
        AGE,
    ),
    "poddisruptionbudgets.policy": (
        NAME,
        col("Min Available", lambda pdb: str(at("spec.minAvailable", "N/A")(pdb))),
        col("Max Unavailable", lambda pdb: str(at("spec.maxUnavailable", "N/A")(pdb))),
        col("Allowed Disruptions", at("status.disruptionsAllowed", 0), "integer"),
        AGE,
    ),
}
