"""Claims for generic ephemeral volumes: one for each such volume of a pod, owned by the pod, gone with it."""

from __future__ import annotations

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import AlreadyExists, ApiError, Conflict, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import PERSISTENTVOLUMECLAIMS, PODS


class EphemeralVolumeController(Reconciler):
    name = "ephemeral-volume"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.pods = self.watch(PODS, self._pod_changed)
        self.pods.add_index("ephemeral-claim", _claims)
        self.claims = self.watch(PERSISTENTVOLUMECLAIMS, self._claim_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None and new is not None and _claims(new):
            self.queue.add(meta.key(new))

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            for pod in self.pods.indexed("ephemeral-claim", meta.key(old)):
                self.queue.add(meta.key(pod))

    async def reconcile(self, key: str) -> float | None:
        pod = self.pods.get(key)
        if pod is None or meta.deleting(pod) or meta.pod_terminal(pod):
            return None
        for volume in _ephemeral(pod):
            try:
                await self._volume(pod, volume)
            except (ApiError, _NotOurs) as error:
                why = f"ephemeral volume {volume['name']}: {error}"
                self.recorder.event(pod, "Warning", "FailedBinding", why)
                raise
        return None

    async def _volume(self, pod: Object, volume: Object) -> None:
        name, namespace = claim_name(pod, volume), meta.namespace(pod)
        claim = self.claims.get(f"{namespace}/{name}")
        if claim is None:
            template = volume["ephemeral"]["volumeClaimTemplate"]
            said = template.get("metadata") or {}
            metadata = {m: said[m] for m in ("labels", "annotations") if said.get(m)}
            metadata |= {"name": name, "namespace": namespace, "ownerReferences": [_owner(pod)]}
            wanted = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
            try:
                await self.client.create(PERSISTENTVOLUMECLAIMS, {**wanted, "spec": template["spec"]}, namespace)
                return
            except AlreadyExists:
                try:
                    claim = await self.client.get(PERSISTENTVOLUMECLAIMS, name, namespace)
                except NotFound:
                    raise Conflict(f"PVC {namespace}/{name} has just been deleted") from None
        if not meta.controlled_by(claim, pod):
            raise _NotOurs(f"PVC {namespace}/{name} was not created for pod {meta.key(pod)} (pod is not owner)")


class _NotOurs(Exception):
    """Somebody else's claim has the name: tried again later, as it may go."""


def _ephemeral(pod: Object) -> list[Object]:
    return [volume for volume in pod["spec"].get("volumes") or () if volume.get("ephemeral")]


def claim_name(pod: Object, volume: Object) -> str:
    """The name of the claim of an ephemeral volume (Kubernetes, "Ephemeral Volumes")."""
    return f"{meta.name(pod)}-{volume['name']}"


def _claims(pod: Object) -> list[str]:
    return [f"{meta.namespace(pod)}/{claim_name(pod, volume)}" for volume in _ephemeral(pod)]


def _owner(pod: Object) -> Object:
    return meta.owner_reference(pod, "v1", "Pod")
