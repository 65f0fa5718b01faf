"""Writes a pod's status to the API when it differs from what the API has, and the pod's end when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore.errors import Conflict, NotFound
from kcore.node.status import pod_status
from kcore.node.work import Job
from kcore.objects import meta
from kcore.objects.resources import PODS

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker


class StatusWriter(Job):
    """The part of a pod's worker that waits for the API."""

    def __init__(self, worker: PodWorker) -> None:
        super().__init__()
        self._worker = worker

    def __repr__(self) -> str:
        return f"<status of {self._worker!r}>"

    async def run(self) -> None:
        worker = self._worker
        if worker.dead or worker.gone:
            return
        client, pod = worker.agent.host.client, worker.pod
        status = pod_status(worker)
        if worker.static and worker.agent.static is not None:
            worker.pod = {**pod, "status": status}
            await worker.agent.static.mirror(worker, status)
            self._told()
            return
        try:
            if status != pod.get("status"):
                with worker.agent.measures.request("PUT"):
                    worker.observe(await client.update(PODS, {**pod, "status": status}, subresource="status"))
            self._told()
            if worker.stopped and meta.deleting(worker.pod):
                name, namespace = meta.name(pod), meta.namespace(pod)
                with worker.agent.measures.request("DELETE"):
                    await client.delete(PODS, name, namespace, grace_seconds=0, uid=worker.uid)
        except Conflict:
            fresh = await client.get(PODS, meta.name(pod), meta.namespace(pod))
            if meta.uid(fresh) == worker.uid:
                worker.observe(fresh)
                worker.publish()
        except NotFound:
            self._told()  # the watch will tell

    def _told(self) -> None:
        if self._worker.stopped:
            self._worker.ended.set()
