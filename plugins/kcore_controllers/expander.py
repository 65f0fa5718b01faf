"""Claims that have grown: their volumes grow with them.

A directory of a host has no size of its own, so it is only said that it is larger now. Volumes of other sorts are
left to their own resizers, as upstream does.
"""

from __future__ import annotations

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.objects import Object, meta, quantity
from kcore.objects.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from kcore_controllers.volume_match import capacity, requested


class ExpandController(Reconciler):
    name = "persistentvolume-expander"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.claims = self.watch(PERSISTENTVOLUMECLAIMS, self._claim_changed)
        self.volumes = self.watch(PERSISTENTVOLUMES)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and _grown(new):
            self.queue.add(meta.key(new))

    async def reconcile(self, key: str) -> float | None:
        claim = self.claims.get(key)
        if claim is None or meta.deleting(claim) or not _grown(claim):
            return None
        volume = self.volumes.get(claim["spec"]["volumeName"])
        if volume is None or (volume["spec"].get("claimRef") or {}).get("uid") != meta.uid(claim):
            return None
        if not volume["spec"].get("hostPath"):
            why = "waiting for an external controller to expand this PVC"
            self.recorder.event(claim, "Normal", "ExternalExpanding", why)
            return None
        size = requested(claim)
        if quantity.parse(capacity(volume)) < quantity.parse(size):
            spec = {**volume["spec"], "capacity": {**(volume["spec"].get("capacity") or {}), "storage": size}}
            await self.client.update(PERSISTENTVOLUMES, {**volume, "spec": spec})
        status = {**claim["status"], "capacity": {**(claim["status"].get("capacity") or {}), "storage": size}}
        await self.client.update(PERSISTENTVOLUMECLAIMS, {**claim, "status": status}, subresource="status")
        why = f"ExpandVolume succeeded for volume {meta.key(claim)}"
        self.recorder.event(claim, "Normal", "VolumeResizeSuccessful", why)
        return None


def _grown(claim: Object) -> bool:
    """A bound claim that asks for more than it has."""
    status = claim.get("status") or {}
    if status.get("phase") != "Bound" or not claim["spec"].get("volumeName"):
        return False
    has = (status.get("capacity") or {}).get("storage", "0")
    return quantity.parse(requested(claim)) > quantity.parse(has)
