"""Protection of storage: a claim that a pod uses, and a volume that a claim is bound to, are deleted only after that.

A finalizer holds them. It is put on every claim and volume, and taken off when they are deleted and free.
"""

from __future__ import annotations

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.objects import Object, meta
from kcore.objects.resources import GVR, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS


class _Protection(Reconciler):
    resource: GVR
    finalizer: str

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.objects = self.watch(self.resource, self.enqueue)

    def in_use(self, obj: Object) -> bool:
        raise NotImplementedError

    async def reconcile(self, key: str) -> float | None:
        obj = self.objects.get(key)
        if obj is None:
            return None
        present = obj["metadata"].get("finalizers") or []
        if not meta.deleting(obj) and self.finalizer not in present:
            await self._write(obj, [*present, self.finalizer])
        elif meta.deleting(obj) and self.finalizer in present and not self.in_use(obj):
            await self._write(obj, [f for f in present if f != self.finalizer])
        return None

    async def _write(self, obj: Object, finalizers: list[str]) -> None:
        guarded = {"resourceVersion": meta.resource_version(obj), "finalizers": finalizers or None}
        await self.client.patch(self.resource, meta.name(obj), {"metadata": guarded}, meta.namespace(obj))


class ClaimProtection(_Protection):
    name = "persistentvolumeclaim-protection"
    resource = PERSISTENTVOLUMECLAIMS
    finalizer = "kubernetes.io/pvc-protection"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.pods = self.watch(PODS, self._pod_changed)
        self.pods.add_index("claim", claims_of)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or meta.pod_terminal(new):
            for key in claims_of(new or old or {}):
                self.queue.add(key)

    def in_use(self, obj: Object) -> bool:
        return any(not meta.pod_terminal(p) for p in self.pods.indexed("claim", meta.key(obj)))


class VolumeProtection(_Protection):
    name = "persistentvolume-protection"
    resource = PERSISTENTVOLUMES
    finalizer = "kubernetes.io/pv-protection"

    def in_use(self, obj: Object) -> bool:
        return bool((obj.get("status") or {}).get("phase") == "Bound")


def claims_of(pod: Object) -> list[str]:
    """Keys of the claims that a pod mounts, those made for its ephemeral volumes among them."""
    out = []
    for volume in pod["spec"].get("volumes") or ():
        if source := volume.get("persistentVolumeClaim"):
            out.append(f"{meta.namespace(pod)}/{source['claimName']}")
        elif volume.get("ephemeral"):
            out.append(f"{meta.namespace(pod)}/{meta.name(pod)}-{volume['name']}")
    return out
