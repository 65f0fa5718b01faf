"""Jobs: pods that run to completion, counted exactly once.

Every pod of a job carries a finalizer until it is counted. Counting goes in three steps, each of which may be
repeated after a crash: the uids of finished pods are written to ``uncountedTerminatedPods``; the finalizers are
removed; the uids become numbers.
"""

from __future__ import annotations

from kcore import clock
from kcore.controller import ControllerContext, owners, pods
from kcore.controller.base import Reconciler
from kcore.controller.expectations import Expectations
from kcore.errors import ApiError, NotFound
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import JOBS, PODS
from kcore_controllers import job_pods, job_status
from kcore_controllers.job_pods import TRACKING, Census

BURST = 500


class JobController(Reconciler):
    name = "job"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.expectations = Expectations()
        self.control = pods.PodControl(self.client, self.recorder, self.expectations)
        self.jobs = self.watch(JOBS, self.enqueue)
        self.pods = self.watch(PODS, self._pod_changed)
        owners.index_owned(self.pods)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        key = owners.owner_key(pod, "Job")
        if not key:
            if new is not None and TRACKING in (new["metadata"].get("finalizers") or ()):
                self.queue.add(f"orphan:{meta.key(new)}")
            return
        if old is None:
            self.expectations.created(key)
        if new is None or meta.deleting(new):
            self.expectations.deleted(key, meta.uid(pod))
        if new is not None and self.jobs.get(key) is None:
            self.queue.add_after(key, 1.0)  # its job is gone: somebody must take the finalizer off
        # pods that finish together are counted together, as upstream's batch period of a second does
        finished = new is not None and old is not None and meta.pod_terminal(new) and not meta.pod_terminal(old)
        self.queue.add_after(key, 0.2 if finished else 0)

    async def reconcile(self, key: str) -> float | None:
        if key.startswith("orphan:"):
            await self._release([p for p in (self.pods.get(key.removeprefix("orphan:")),) if p is not None])
            return None
        job = self.jobs.get(key)
        if job is None:
            self.expectations.forget(key)
            await self._release_of_gone(key)
            return None
        if (job["spec"].get("managedBy") or "kubernetes.io/job-controller") != "kubernetes.io/job-controller":
            return None
        selector = selectors.from_object(job["spec"].get("selector"))
        mine = await owners.claim(self.client, self.pods, PODS, job, JOBS, selector)
        if job_status.finished(job) or meta.deleting(job):
            await self._release([p for p in mine if meta.pod_terminal(p) or meta.deleting(job)])
            return None
        return await self._sync(key, job, mine)

    async def _sync(self, key: str, job: Object, mine: list[Object]) -> float | None:
        census = Census.of(job, mine)
        status = job_status.Status(job, census)
        status.start()
        job = await self._count(job, census, status)
        status.judge(clock.now())
        failure: Exception | None = None
        wait = None
        if self.expectations.satisfied(key):
            try:
                wait = await self._manage(key, job, census, status)
            except (ApiError, OSError) as error:
                failure = error
        await self._write(job, status)
        if failure is not None:
            raise failure
        waits = [w for w in (wait, status.until_deadline(clock.now())) if w is not None]
        return min(waits) if waits else None

    async def _count(self, job: Object, census: Census, status: job_status.Status) -> Object:
        """The three steps; the last one is written with the rest of the status."""
        if status.note_uncounted():
            job = await self._write(job, status)
        errors = await self._release(census.to_release)
        still = {meta.uid(p) for p in census.to_release} if errors else set()
        status.count(still)
        if errors:
            self.queue.add_after(meta.key(job), 1.0)
        return job

    async def _release(self, found: list[Object]) -> list[Exception]:
        """Take our finalizer off."""

        async def one(pod: Object) -> None:
            finalizers = [f for f in pod["metadata"].get("finalizers") or () if f != TRACKING]
            patch = {"metadata": {"uid": meta.uid(pod), "finalizers": finalizers or None}}
            try:
                await self.client.patch(PODS, meta.name(pod), patch, meta.namespace(pod))
            except NotFound:
                pass

        held = [p for p in found if TRACKING in (p["metadata"].get("finalizers") or ())]
        return await pods.together([lambda p=p: one(p) for p in held])  # type: ignore[misc]  # p is bound per call

    async def _release_of_gone(self, key: str) -> None:
        namespace, name = meta.split_key(key)
        owned = [p for p in self.pods.by_namespace(namespace) if owners.owner_key(p, "Job") == key]
        await self._release([p for p in owned if (meta.controller_of(p) or {}).get("name") == name])

    async def _manage(self, key: str, job: Object, census: Census, status: job_status.Status) -> float | None:
        """Create what is missing, delete what is too much. Returns when a pod may be tried again."""
        if status.ending or job["spec"].get("suspend"):
            if census.active:
                if not status.ending:
                    await self._discount(census.active[:BURST])
                await self.control.delete_many(key, job, census.active[:BURST])
                status.active = max(status.active - len(census.active[:BURST]), 0)
                status.terminating += len([p for p in census.active[:BURST] if p["spec"].get("nodeName")])
            return None
        surplus, missing = job_pods.plan(job, census, status.succeeded)
        if surplus:
            await self._discount(surplus[:BURST])
            await self.control.delete_many(key, job, surplus[:BURST])
            status.active -= len(surplus[:BURST])
        if not missing:
            return None
        wait = None
        if job_pods.per_index(job):
            missing, wait = job_pods.due_indexes(missing, census.mine, clock.now())
        elif (delay := job_pods.backoff(census.mine, clock.now())) > 0:
            return delay
        batch = missing[:BURST]
        status.active += await self.control.create_many(
            key, job, len(batch), lambda i: job_pods.pod_for(job, batch[i], census)
        )
        return wait

    async def _discount(self, found: list[Object]) -> None:
        """Pods that end because they are not wanted now have not failed: nobody shall count them."""
        errors = await self._release(found)
        if errors:
            raise errors[0]

    async def _write(self, job: Object, status: job_status.Status) -> Object:
        new = status.to_json()
        if new == (job.get("status") or {}):
            return job
        written = await self.client.update(JOBS, {**job, "status": new}, subresource="status")
        for type, reason, message in status.take_events():
            self.recorder.event(job, type, reason, message)
        return written
