"""CronJobs: a Job at every time of a schedule."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime, tzinfo
from itertools import islice

from kcore import clock
from kcore.controller import ControllerContext, owners
from kcore.controller.base import Reconciler
from kcore.errors import AlreadyExists, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import CRONJOBS, JOBS
from kcore_controllers import cron
from kcore_controllers.job_status import finished

MISSED_MAX = 100  # more missed times than this, and people are warned
_SPANS = (3600.0, 86400.0, 31 * 86400.0, 366 * 86400.0, float("inf"))  # seconds to look back, while nothing is found
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class CronJobController(Reconciler):
    name = "cronjob"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.cronjobs = self.watch(CRONJOBS, self.enqueue)
        self.jobs = self.watch(JOBS, self._job_changed)
        owners.index_owned(self.jobs)

    def _job_changed(self, old: Object | None, new: Object | None) -> None:
        if key := owners.owner_key(new or old or {}, "CronJob"):
            self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        c = self.cronjobs.get(key)
        if c is None or meta.deleting(c):
            return None
        jobs = owners.owned(self.jobs, c)
        await self._forget_history(c, jobs)
        status = self._status(c, jobs)
        wait = None
        if not c["spec"].get("suspend"):
            wait = await self._run(c, jobs, status)
        if status != (c.get("status") or {}):
            await self.client.update(CRONJOBS, {**c, "status": status}, subresource="status")
        return wait

    def _status(self, c: Object, jobs: list[Object]) -> Object:
        """Which jobs run, and when the last one succeeded."""
        status: Object = dict(c.get("status") or {})
        before = {r["uid"] for r in status.get("active") or ()}
        active = [j for j in jobs if not finished(j)]
        for j in jobs:
            if finished(j) and meta.uid(j) in before:
                end = "Complete" if meta.condition_is(j, "Complete") else "Failed"
                self.recorder.event(
                    c, "Normal", "SawCompletedJob", f"Saw completed job: {meta.name(j)}, condition: {end}"
                )
        ends = [j["status"]["completionTime"] for j in jobs if (j.get("status") or {}).get("completionTime")]
        if ends and max(ends) > status.get("lastSuccessfulTime", ""):
            status["lastSuccessfulTime"] = max(ends)
        status.pop("active", None)
        if active:
            status["active"] = [_reference(j) for j in active]
        return status

    async def _run(self, c: Object, jobs: list[Object], status: Object) -> float | None:
        try:
            schedule, zone = cron.parse(c["spec"]["schedule"]), cron.zone(c["spec"].get("timeZone"))
        except (ValueError, KeyError) as error:
            self.recorder.event(c, "Warning", "UnparseableSchedule", f"unparseable schedule: {error}")
            return None
        now = clock.now()
        due, missed = self.due(c, schedule, zone, now)
        upcoming = schedule.next(datetime.fromtimestamp(now, zone))
        wait = None if upcoming is None else max(upcoming.timestamp() - now, 0.0) + 0.1
        if missed > MISSED_MAX:
            self.recorder.event(
                c,
                "Warning",
                "TooManyMissedTimes",
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
            )
        if due is None:
            return wait
        deadline = c["spec"].get("startingDeadlineSeconds")
        if deadline is not None and due + deadline < now:
            self.recorder.event(
                c, "Warning", "MissSchedule", f"Missed scheduled time to start a job: {clock.timestamp(due)}"
            )
            return wait
        active = [j for j in jobs if not finished(j)]
        policy = c["spec"].get("concurrencyPolicy", "Allow")
        if active and policy == "Forbid":
            self.recorder.event(
                c,
                "Normal",
                "JobAlreadyActive",
                "Not starting job because prior execution is running and concurrency policy is Forbid",
            )
            return wait
        if policy == "Replace":
            for j in active:
                await self._delete(c, j)
            status.pop("active", None)
        await self._start(c, due, status)
        return wait

    @staticmethod
    def due(c: Object, schedule: cron.Schedule, zone: tzinfo, now: float) -> tuple[float | None, int]:
        """(the latest time that has come and has not been served, how many there were: up to 101)."""
        last = (c.get("status") or {}).get("lastScheduleTime") or c["metadata"]["creationTimestamp"]
        since = clock.parse(last)
        deadline = c["spec"].get("startingDeadlineSeconds")
        if deadline is not None:
            since = max(since, now - deadline)
        count = sum(1 for _ in islice(_times(schedule, zone, since, now), MISSED_MAX + 1))
        # the latest is looked for backwards: after a year of standstill there may be half a million of them
        for span in _SPANS:
            start = max(since, now - span)
            latest = deque(_times(schedule, zone, start, now), maxlen=1)
            if latest or start == since:
                return (latest[0] if latest else None), count
        return None, count

    async def _start(self, c: Object, due: float, status: Object) -> None:
        template = c["spec"]["jobTemplate"]
        given = template.get("metadata") or {}
        metadata: Object = {
            "name": f"{meta.name(c)}-{int(due) // 60}",
            "namespace": meta.namespace(c),
            "annotations": {**(given.get("annotations") or {}), SCHEDULED: clock.timestamp(due)},
            "ownerReferences": [meta.owner_reference(c, "batch/v1", "CronJob")],
        }
        if given.get("labels"):
            metadata["labels"] = dict(given["labels"])
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": meta.copy(template["spec"])}
        try:
            created = await self.client.create(JOBS, job, meta.namespace(c))
        except AlreadyExists:
            created = None  # made before a crash
        if created is not None:
            self.recorder.event(c, "Normal", "SuccessfulCreate", f"Created job {meta.name(created)}")
            status["active"] = [*(status.get("active") or ()), _reference(created)]
        status["lastScheduleTime"] = clock.timestamp(due)

    async def _forget_history(self, c: Object, jobs: list[Object]) -> None:
        for type, field, default in (
            ("Complete", "successfulJobsHistoryLimit", 3),
            ("Failed", "failedJobsHistoryLimit", 1),
        ):
            done = [j for j in jobs if meta.condition_is(j, type) and not meta.deleting(j)]
            done.sort(key=lambda j: j["status"].get("startTime", ""))
            for j in done[: max(len(done) - c["spec"].get(field, default), 0)]:
                await self._delete(c, j)

    async def _delete(self, c: Object, j: Object) -> None:
        try:
            await self.client.delete(JOBS, meta.name(j), meta.namespace(j), propagation="Background")
            self.recorder.event(c, "Normal", "SuccessfulDelete", f"Deleted job {meta.name(j)}")
        except NotFound:
            pass


def _times(schedule: cron.Schedule, zone: tzinfo, since: float, until: float) -> Iterator[float]:
    """The times of the schedule after `since`, up to and with `until`."""
    moment = schedule.next(datetime.fromtimestamp(since, zone))
    while moment is not None and moment.timestamp() <= until:
        yield moment.timestamp()
        moment = schedule.next(moment)


def _reference(job: Object) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": meta.name(job),
        "namespace": meta.namespace(job),
        "uid": meta.uid(job),
        "resourceVersion": meta.resource_version(job),
    }
