"""The status of a Job: numbers, conditions, and what they mean for its pods."""

from __future__ import annotations

from typing import Any

from kcore import clock
from kcore.objects import Object, meta
from kcore_controllers import job_indexes as indexes
from kcore_controllers import job_pods
from kcore_controllers.job_pods import Census


def finished(job: Object) -> bool:
    return meta.condition_is(job, "Complete") or meta.condition_is(job, "Failed")


class Status:
    """A job's status while it is worked out; `to_json` gives the new one."""

    def __init__(self, job: Object, census: Census):
        self.job, self.census = job, census
        old: Object = job.get("status") or {}
        self._status: dict[str, Any] = dict(old)
        self.conditions: list[Object] = [dict(c) for c in old.get("conditions") or ()]
        uncounted = old.get("uncountedTerminatedPods") or {}
        self._succeeded_uids: list[str] = list(uncounted.get("succeeded") or ())
        self._failed_uids: list[str] = list(uncounted.get("failed") or ())
        self.succeeded_counted, self.failed_counted = old.get("succeeded", 0), old.get("failed", 0)
        self.active, self.terminating = len(census.active), len(census.terminating)
        self._events: list[tuple[str, str, str]] = []
        self.indexed = job["spec"].get("completionMode") == "Indexed"
        size = job["spec"].get("completions") or 0  # may have been lowered: what is beyond is forgotten
        self._completed = {i for i in indexes.parse(old.get("completedIndexes", "")) if i < size}
        self._failed_indexes = {i for i in indexes.parse(old.get("failedIndexes", "")) if i < size}

    # --- numbers ---

    @property
    def succeeded(self) -> int:
        return len(self._completed) if self.indexed else self.succeeded_counted + len(self._succeeded_uids)

    @property
    def failed(self) -> int:
        return int(self.failed_counted) + len(self._failed_uids)

    @property
    def ending(self) -> bool:
        """No pod should run any more."""
        return self._has("FailureTarget") or self._has("SuccessCriteriaMet")

    def start(self) -> None:
        spec = self.job["spec"]
        suspended = self._condition("Suspended")
        now = clock.timestamp()
        if spec.get("suspend"):
            if suspended is None or suspended["status"] != "True":
                self._set("Suspended", "True", "JobSuspended", "Job suspended")
                self._events.append(("Normal", "Suspended", "Job suspended"))
            self._status.pop("startTime", None)
            return
        if suspended is not None and suspended["status"] == "True":
            self._set("Suspended", "False", "JobResumed", "Job resumed")
            self._events.append(("Normal", "Resumed", "Job resumed"))
            self._status["startTime"] = now
        self._status.setdefault("startTime", now)

    def note_uncounted(self) -> bool:
        """Step one: the uids of what has finished. True if there is something new to write."""
        known = {*self._succeeded_uids, *self._failed_uids}
        completions = self.job["spec"].get("completions") or 0
        new = False
        for pod, ok in self.census.finished:
            if meta.uid(pod) in known:
                continue
            if not ok and not job_pods.counts(self.job, pod):
                continue
            if self.indexed:
                index = job_pods.index_of(pod)
                if index is None or index >= completions or (ok and index in self._completed):
                    continue
                if ok:
                    self._completed.add(index)
                elif job_pods.index_is_lost(self.job, pod):
                    self._failed_indexes.add(index)
            (self._succeeded_uids if ok else self._failed_uids).append(meta.uid(pod))
            new = True
        return new

    def count(self, still: set[str]) -> None:
        """Step three: uids whose finalizers are gone become numbers."""
        held = still
        for uids, field in ((self._succeeded_uids, "succeeded_counted"), (self._failed_uids, "failed_counted")):
            done = [u for u in uids if u not in held]
            setattr(self, field, getattr(self, field) + len(done))
            uids[:] = [u for u in uids if u in held]

    # --- judgement ---

    def judge(self, now: float) -> None:
        """Set the conditions that decide the job's fate."""
        if not self.ending:
            verdict = self._failure(now)
            if verdict is not None:
                self._set("FailureTarget", "True", *verdict)
            else:
                success = self._success()
                if success is not None:
                    self._set("SuccessCriteriaMet", "True", *success)
        if self.active or self.terminating or self._succeeded_uids or self._failed_uids:
            return
        if (found := self._condition("FailureTarget")) is not None:
            self._set("Failed", "True", found["reason"], found["message"])
            self._events.append(("Warning", found["reason"], found["message"]))
        elif (found := self._condition("SuccessCriteriaMet")) is not None:
            self._set("Complete", "True", found["reason"], found["message"])
            self._status["completionTime"] = clock.timestamp()
            self._events.append(("Normal", "Completed", "Job completed"))

    def _failure(self, now: float) -> tuple[str, str] | None:
        spec = self.job["spec"]
        matched = job_pods.fail_job_message(self.job, self.census.finished)
        if matched:
            return "PodFailurePolicy", matched
        if job_pods.per_index(self.job):
            limit = spec.get("maxFailedIndexes")
            if limit is not None and len(self._failed_indexes) > limit:
                return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
            if self._failed_indexes and len(self._failed_indexes | self._completed) >= (spec.get("completions") or 0):
                return "FailedIndexes", "Job has failed indexes"
        over = self.failed > spec.get("backoffLimit", 6) or job_pods.too_many_restarts(self.job, self.census)
        if over and not job_pods.per_index(self.job):
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline = self._deadline()
        if deadline is not None and now >= deadline:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        return None

    def _success(self) -> tuple[str, str] | None:
        spec = self.job["spec"]
        for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
            wanted = indexes.parse(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
            met = self._completed if wanted is None else self._completed & wanted
            needed = rule.get("succeededCount", len(wanted) if wanted is not None else 0)
            if needed and len(met) >= needed:
                return "SuccessPolicy", f"Matched rules at index {number}"
        completions = spec.get("completions")
        done = self.succeeded > 0 and self.active == 0 if completions is None else self.succeeded >= completions
        if done and not spec.get("suspend"):
            return "CompletionsReached", "Reached expected number of succeeded pods"
        return None

    def _deadline(self) -> float | None:
        seconds, since = self.job["spec"].get("activeDeadlineSeconds"), self._status.get("startTime")
        if seconds is None or since is None or self.job["spec"].get("suspend"):
            return None
        return clock.parse(since) + float(seconds)

    def until_deadline(self, now: float) -> float | None:
        deadline = self._deadline()
        return None if deadline is None or self.ending else max(deadline - now, 0.0)

    # --- writing ---

    def to_json(self) -> Object:
        out = {k: v for k, v in self._status.items() if k in ("startTime", "completionTime", "observedGeneration")}
        succeeded = len(self._completed) if self.indexed else self.succeeded_counted
        numbers = {"active": self.active, "succeeded": succeeded, "failed": self.failed_counted}
        out |= {k: v for k, v in numbers.items() if v}
        out["ready"] = sum(1 for p in self.census.active if meta.pod_ready(p)) if self.active else 0
        out["terminating"] = self.terminating
        if self.indexed and self._completed:
            out["completedIndexes"] = indexes.format(self._completed)
        if job_pods.per_index(self.job):
            out["failedIndexes"] = indexes.format(self._failed_indexes)
        uncounted = {"succeeded": list(self._succeeded_uids), "failed": list(self._failed_uids)}
        out["uncountedTerminatedPods"] = {k: v for k, v in uncounted.items() if v}
        if self.conditions:
            out["conditions"] = [dict(c) for c in self.conditions]
        return out

    def take_events(self) -> list[tuple[str, str, str]]:
        events, self._events = self._events, []
        return events

    def _condition(self, type: str) -> Object | None:
        return next((c for c in self.conditions if c["type"] == type), None)

    def _has(self, type: str) -> bool:
        found = self._condition(type)
        return found is not None and bool(found["status"] == "True")

    def _set(self, type: str, status: str, reason: str, message: str) -> None:
        now = clock.timestamp()
        new = {
            "type": type,
            "status": status,
            "lastProbeTime": now,
            "lastTransitionTime": now,
            "reason": reason,
            "message": message,
        }
        self.conditions = [c for c in self.conditions if c["type"] != type]
        self.conditions.append(new)
