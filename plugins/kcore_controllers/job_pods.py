"""The pods of a Job: who is running, who has finished and how, and what the next ones look like."""

from __future__ import annotations

from typing import Any

import attrs

from kcore import clock
from kcore.controller import pods
from kcore.objects import Object, meta
from kcore.objects.resources import JOBS
from kcore_controllers import job_indexes as indexes

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
BACKOFF_FIRST, BACKOFF_MAX = 10.0, 600.0  # seconds before a failed pod is replaced, doubling


@attrs.frozen
class Census:
    """A job's pods by what they are doing."""

    mine: list[Object]
    active: list[Object]
    terminating: list[Object]
    """Being deleted, and not yet finished."""
    finished: list[tuple[Object, bool]]
    """Finished and not yet counted (they carry the finalizer); True for success."""

    @staticmethod
    def of(job: Object, mine: list[Object]) -> Census:
        only_failed = job["spec"].get("podReplacementPolicy") == "Failed"
        active: list[Object] = []
        terminating: list[Object] = []
        finished: list[tuple[Object, bool]] = []
        for pod in mine:
            phase = (pod.get("status") or {}).get("phase")
            ended = phase in ("Succeeded", "Failed")
            if not ended:
                (terminating if meta.deleting(pod) else active).append(pod)
            # a pod that is being deleted will not succeed any more, unless the policy is to wait and see
            lost = meta.deleting(pod) and not ended and not only_failed
            if (ended or lost) and TRACKING in (pod["metadata"].get("finalizers") or ()):
                finished.append((pod, phase == "Succeeded"))
        return Census(mine, active, terminating, finished)

    @property
    def to_release(self) -> list[Object]:
        return [pod for pod, _ in self.finished]


def index_of(pod: Object) -> int | None:
    text = meta.annotations(pod).get(INDEX, "")
    return int(text) if text.isdigit() else None


def per_index(job: Object) -> bool:
    """Failures count for each index by itself."""
    return job["spec"].get("backoffLimitPerIndex") is not None


def index_failures(pod: Object) -> int:
    text = meta.annotations(pod).get(FAILURES, "0")
    return int(text) if text.isdigit() else 0


def index_is_lost(job: Object, pod: Object) -> bool:
    if not per_index(job):
        return False
    rule = _matching_rule(job, pod)
    if rule is not None and rule[1]["action"] == "FailIndex":
        return True
    return counts(job, pod) and index_failures(pod) + 1 > job["spec"]["backoffLimitPerIndex"]


def plan(job: Object, census: Census, succeeded: int) -> tuple[list[Object], list[int | None]]:
    """(pods to delete, indexes of pods to create; None for a pod without an index)."""
    spec = job["spec"]
    parallelism, completions = spec.get("parallelism", 1), spec.get("completions")
    waits = census.terminating if spec.get("podReplacementPolicy") == "Failed" else []
    running = len(census.active) + len(waits)
    if completions is None:
        wanted = running if succeeded > 0 else parallelism
    else:
        wanted = min(parallelism, completions - succeeded)
    if spec.get("completionMode") == "Indexed":
        return _plan_indexed(job, census, wanted, [*census.active, *waits])
    if len(census.active) > max(wanted, 0):
        order = pods.by_dispensability(census.active, lambda _: 0, clock.now())
        return order[: len(census.active) - max(wanted, 0)], []
    return [], [None] * max(wanted - running, 0)


def _plan_indexed(
    job: Object, census: Census, wanted: int, holding: list[Object]
) -> tuple[list[Object], list[int | None]]:
    status = job.get("status") or {}
    completions = job["spec"]["completions"]
    done = indexes.parse(status.get("completedIndexes", "")) | indexes.parse(status.get("failedIndexes", ""))
    for pod, ok in census.finished:
        index = index_of(pod)
        if index is not None and (ok or index_is_lost(job, pod)):
            done.add(index)
    seen: set[int] = set()
    surplus: list[Object] = []
    for pod in census.active:
        index = index_of(pod)
        if index is None or index >= completions or index in done or index in seen or len(seen) >= max(wanted, 0):
            surplus.append(pod)
        else:
            seen.add(index)
    seen |= {i for i in map(index_of, holding) if i is not None}
    free = (i for i in range(completions) if i not in done and i not in seen)
    room = max(wanted - (len(holding) - len(surplus)), 0)
    return surplus, [i for i, _ in zip(free, range(room), strict=False)]


def backoff(mine: list[Object], now: float) -> float:
    """Seconds to wait before the next try: 10 s, 20 s, 40 s, ... after the last failure since the last success."""
    ended = sorted((_finished_at(p), p["status"]["phase"] == "Succeeded") for p in mine if meta.pod_terminal(p))
    failures, last = 0, 0.0
    for at, ok in ended:
        failures = 0 if ok else failures + 1
        last = at
    if not failures:
        return 0.0
    return float(last + min(BACKOFF_FIRST * 2.0 ** min(failures - 1, 20), BACKOFF_MAX) - now)


def due_indexes(missing: list[int | None], mine: list[Object], now: float) -> tuple[list[int | None], float | None]:
    """(the indexes that may be tried now, seconds until the next of the others may): each has its own back-off."""
    by_index: dict[int | None, list[Object]] = {i: [] for i in missing}
    for pod in mine:
        if (index := index_of(pod)) in by_index:
            by_index[index].append(pod)
    delays = {i: backoff(tried, now) for i, tried in by_index.items()}
    waits = [d for d in delays.values() if d > 0]
    return [i for i in missing if delays[i] <= 0], min(waits) if waits else None


def _finished_at(pod: Object) -> float:
    times = [
        s["state"]["terminated"].get("finishedAt")
        for s in pod["status"].get("containerStatuses") or ()
        if (s.get("state") or {}).get("terminated")
    ]
    known = [clock.parse(t) for t in times if t]
    if known:
        return max(known)
    stamp = pod["metadata"].get("deletionTimestamp") or pod["metadata"].get("creationTimestamp")
    return clock.parse(stamp) if stamp else 0.0


def too_many_restarts(job: Object, census: Census) -> bool:
    """With restartPolicy OnFailure the kubelet tries again: its restarts count against backoffLimit."""
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    limit = job["spec"].get("backoffLimit", 6)
    total = 0
    for pod in census.active:
        status = pod.get("status") or {}
        for field in ("initContainerStatuses", "containerStatuses"):
            total += sum(s.get("restartCount", 0) for s in status.get(field) or ())
    return bool(total > 0 if limit == 0 else total >= limit)


# --- pod failure policy ---


def _matching_rule(job: Object, pod: Object) -> tuple[int, Object, str] | None:
    """(index, rule, why) of the first rule that matches a failed pod."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        if codes := rule.get("onExitCodes"):
            why = _exit_code_match(codes, pod)
        else:
            why = _condition_match(rule.get("onPodConditions") or (), pod)
        if why:
            return number, rule, why
    return None


def _exit_code_match(codes: Object, pod: Object) -> str:
    status = pod.get("status") or {}
    for s in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if codes.get("containerName") and s["name"] != codes["containerName"]:
            continue
        terminated = (s.get("state") or {}).get("terminated")
        code = (terminated or {}).get("exitCode", 0)
        if code and (code in codes["values"]) == (codes["operator"] == "In"):
            return f"Container {s['name']} for pod {meta.key(pod)} failed with exit code {code}"
    return ""


def _condition_match(patterns: Any, pod: Object) -> str:
    for pattern in patterns:
        if meta.condition_is(pod, pattern["type"], pattern.get("status", "True")):
            return f"Pod {meta.key(pod)} has condition {pattern['type']}"
    return ""


def counts(job: Object, pod: Object) -> bool:
    """A failure that counts against the limits: not one that the policy says to ignore."""
    found = _matching_rule(job, pod)
    return found is None or found[1]["action"] != "Ignore"


def fail_job_message(job: Object, finished: list[tuple[Object, bool]]) -> str:
    for pod, ok in finished:
        found = None if ok else _matching_rule(job, pod)
        if found is not None and found[1]["action"] == "FailJob":
            return f"{found[2]} matching FailJob rule at index {found[0]}"
    return ""


# --- new pods ---


def pod_for(job: Object, index: int | None, census: Census) -> Object:
    pod = pods.pod_from_template(job["spec"]["template"], job, JOBS)
    metadata, spec = pod["metadata"], pod["spec"]
    metadata["finalizers"] = [*metadata.get("finalizers", ()), TRACKING]
    if index is None:
        return pod
    metadata["generateName"] = f"{meta.name(job)}-{index}-"
    metadata.setdefault("labels", {})[INDEX] = str(index)
    annotations = metadata.setdefault("annotations", {})
    annotations[INDEX] = str(index)
    if per_index(job):
        before = [p for p in census.mine if index_of(p) == index and meta.pod_terminal(p)]
        failures = max((index_failures(p) + counts(job, p) for p in before), default=0)
        annotations[FAILURES] = str(failures)
    spec.setdefault("hostname", f"{meta.name(job)}-{index}")
    variable = {
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}},
    }
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        env = container.setdefault("env", [])
        if not any(e["name"] == variable["name"] for e in env):
            env.append(variable)
    return pod
