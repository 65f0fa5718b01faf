"""TTL after finished: deletes finished Jobs ``ttlSecondsAfterFinished`` after their end."""

from __future__ import annotations

from kcore import clock
from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import JOBS
from kcore_controllers.job_status import finished


class TTLAfterFinishedController(Reconciler):
    name = "ttl-after-finished"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.jobs = self.watch(JOBS, self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and new["spec"].get("ttlSecondsAfterFinished") is not None and finished(new):
            self.queue.add(meta.key(new))

    async def reconcile(self, key: str) -> float | None:
        job = self.jobs.get(key)
        if job is None or meta.deleting(job) or not finished(job):
            return None
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        ends = [
            c for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed") and c["status"] == "True"
        ]
        left = clock.parse(ends[0]["lastTransitionTime"]) + ttl - clock.now()
        if left > 0:
            return float(left)
        try:
            await self.client.delete(
                JOBS, meta.name(job), meta.namespace(job), propagation="Foreground", uid=meta.uid(job)
            )
        except NotFound:
            pass
        return None
