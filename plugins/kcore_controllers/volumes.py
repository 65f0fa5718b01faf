"""Persistent volumes: binds claims to volumes, makes volumes for claims, and reclaims them afterwards.

The default StorageClass has the provisioner ``kcore.dev/fake``: a volume is a directory under the data directory,
which the fake runtime need not even make. Where all nodes share that directory a volume has no topology, so with
WaitForFirstConsumer the first pod that names a claim is enough to bind it. With ``per_node`` each node has its own:
then the volume is made for the node that the scheduler has chosen, and pods that use it later follow it there.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import AlreadyExists, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from kcore_controllers import volume_match as match
from kcore_controllers.protection import claims_of

if TYPE_CHECKING:
    from kcore_controllers.catalogue import VolumeConfig

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BOUND_BY_US = "pv.kubernetes.io/bound-by-controller"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONERS = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")


class VolumeController(Reconciler):
    """Keys are ``claim:NAMESPACE/NAME``, ``volume:NAME`` and ``class``. One worker: a volume is given away once."""

    name = "persistentvolume-binder"
    max_workers = 1

    def __init__(self, context: ControllerContext, config: VolumeConfig):
        super().__init__(context)
        self.config = config
        self._provisioners = {config.provisioner, *config.stands_in_for}
        self.classes = self.watch(STORAGECLASSES, self._class_changed)
        self.volumes = self.watch(PERSISTENTVOLUMES, self._volume_changed)
        self.claims = self.watch(PERSISTENTVOLUMECLAIMS, self._claim_changed)
        self.pods = self.watch(PODS, self._pod_changed)
        self.pods.add_index("claim", claims_of)
        self.volumes.add_index("claim", lambda v: filter(None, (match.claim_key(v),)))
        self.claims.add_index("pending", lambda c: () if (c.get("status") or {}).get("phase") == "Bound" else ("yes",))
        self.queue.add("class")

    def _class_changed(self, old: Object | None, new: Object | None) -> None:
        for claim in self.claims.indexed("pending", "yes"):
            self.queue.add(f"claim:{meta.key(claim)}")

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        volume = new or old or {}
        if new is not None:
            self.queue.add(f"volume:{meta.name(volume)}")
        if key := match.claim_key(volume):
            self.queue.add(f"claim:{key}")
        elif new is not None:
            for claim in self.claims.indexed("pending", "yes"):
                self.queue.add(f"claim:{meta.key(claim)}")

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        claim = new or old or {}
        self.queue.add(f"claim:{meta.key(claim)}")
        if new is None and claim["spec"].get("volumeName"):
            self.queue.add(f"volume:{claim['spec']['volumeName']}")

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None and new is not None:
            for key in claims_of(new):
                self.queue.add(f"claim:{key}")

    async def reconcile(self, key: str) -> float | None:
        what, _, name = key.partition(":")
        if what == "class":
            await self._make_default_class()
        elif what == "claim":
            claim = self.claims.get(name)
            if claim is not None and not meta.deleting(claim):
                await self._claim(claim)
        else:
            volume = self.volumes.get(name)
            if volume is not None:
                await self._volume(volume)
        return None

    # --- classes ---

    async def _make_default_class(self) -> None:
        if not self.config.default_class or self._default_class() is not None:
            return
        wanted = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": self.config.default_class, "annotations": {DEFAULT_CLASS: "true"}},
            "provisioner": self.config.provisioner,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": self.config.binding_mode,
            "allowVolumeExpansion": True,
        }
        try:
            await self.client.create(STORAGECLASSES, wanted)
        except AlreadyExists:
            pass  # somebody has one of that name, and has decided that it is not the default

    def _default_class(self) -> Object | None:
        found = [c for c in self.classes.items() if meta.annotations(c).get(DEFAULT_CLASS) == "true"]
        found.sort(key=lambda c: (c["metadata"].get("creationTimestamp", ""), meta.name(c)), reverse=True)
        return found[0] if found else None

    # --- claims ---

    async def _claim(self, claim: Object) -> None:
        name = claim["spec"].get("volumeName")
        if not name:
            await self._find(claim)
            return
        volume = self.volumes.get(name)
        if volume is None:
            if meta.annotations(claim).get(BIND_COMPLETED):
                await self._claim_status(claim, {"phase": "Lost"})
                self.recorder.event(
                    claim,
                    "Warning",
                    "ClaimLost",
                    "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
                )
            return
        reference = volume["spec"].get("claimRef")
        if reference is None or match.is_for(reference, claim):
            await self._bind(claim, volume)

    async def _find(self, claim: Object) -> None:
        class_name = match.class_of(claim)
        if class_name is None:
            default = self._default_class()
            if default is not None:
                spec = {**claim["spec"], "storageClassName": meta.name(default)}
                await self.client.update(PERSISTENTVOLUMECLAIMS, {**claim, "spec": spec})
                return
        storage_class = self.classes.get(class_name) if class_name else None
        late = storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
        reserved = self.volumes.indexed("claim", meta.key(claim))
        volume = reserved[0] if reserved else None
        if volume is None and late and not self._wanted(claim):
            self.recorder.event(
                claim,
                "Normal",
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding",
            )
            return
        volume = volume or match.best(claim, self.volumes.items())
        if volume is not None:
            await self._bind(claim, volume)
        elif storage_class is not None:
            await self._provision(claim, storage_class)
        else:
            why = (
                f'storageclass.storage.k8s.io "{class_name}" not found'
                if class_name
                else "no persistent volumes available for this claim and no storage class is set"
            )
            reason = "ProvisioningFailed" if class_name else "FailedBinding"
            self.recorder.event(claim, "Warning" if class_name else "Normal", reason, why)

    def _wanted(self, claim: Object) -> bool:
        if SELECTED_NODE in meta.annotations(claim):
            return True
        if self.config.per_node:  # the scheduler decides where
            return False
        return any(not meta.deleting(p) for p in self.pods.indexed("claim", meta.key(claim)))

    async def _provision(self, claim: Object, storage_class: Object) -> None:
        provisioner = storage_class["provisioner"]
        annotations = {**meta.annotations(claim), **dict.fromkeys(PROVISIONERS, provisioner)}
        if annotations != meta.annotations(claim):
            patch = {"metadata": {"annotations": dict.fromkeys(PROVISIONERS, provisioner)}}
            claim = await self.client.patch(PERSISTENTVOLUMECLAIMS, meta.name(claim), patch, meta.namespace(claim))
        if provisioner not in self._provisioners:
            self.recorder.event(
                claim,
                "Normal",
                "ExternalProvisioning",
                f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually "
                "by the system administrator. If volume creation is delayed, please verify that the provisioner is "
                "running and correctly registered.",
            )
            return
        name = f"pvc-{meta.uid(claim)}"
        path = self.context.data_dir / "volumes" / name
        node = meta.annotations(claim).get(SELECTED_NODE, "") if self.config.per_node else ""
        wanted = match.new_volume(name, claim, storage_class, str(path), node)
        try:
            volume = await self.client.create(PERSISTENTVOLUMES, wanted)
        except AlreadyExists:
            volume = await self.client.get(PERSISTENTVOLUMES, name)
        else:
            self.recorder.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        await self._bind(claim, volume)

    async def _bind(self, claim: Object, volume: Object) -> None:
        """Four writes, volume first; each is repeated until it is seen, so a crash between them does no harm."""
        reference = volume["spec"].get("claimRef") or {}
        if reference.get("uid") != meta.uid(claim):
            spec = {**volume["spec"], "claimRef": match.reference(claim)}
            annotations = meta.annotations(volume) if reference else {**meta.annotations(volume), BOUND_BY_US: "yes"}
            metadata = {**volume["metadata"], "annotations": dict(annotations)}
            volume = await self.client.update(PERSISTENTVOLUMES, {**volume, "spec": spec, "metadata": metadata})
        if (volume.get("status") or {}).get("phase") != "Bound":
            status = {**(volume.get("status") or {}), "phase": "Bound"}
            volume = await self.client.update(PERSISTENTVOLUMES, {**volume, "status": status}, subresource="status")
        if claim["spec"].get("volumeName") != meta.name(volume) or BIND_COMPLETED not in meta.annotations(claim):
            marks = {BIND_COMPLETED: "yes"}
            if not claim["spec"].get("volumeName"):
                marks[BOUND_BY_US] = "yes"
            metadata = {**claim["metadata"], "annotations": {**meta.annotations(claim), **marks}}
            spec = {**claim["spec"], "volumeName": meta.name(volume)}
            claim = await self.client.update(PERSISTENTVOLUMECLAIMS, {**claim, "metadata": metadata, "spec": spec})
        wanted = {
            "phase": "Bound",
            "accessModes": volume["spec"].get("accessModes") or [],
            "capacity": dict(volume["spec"].get("capacity") or {}),
        }
        await self._claim_status(claim, wanted)

    async def _claim_status(self, claim: Object, change: Object) -> None:
        status = {**(claim.get("status") or {}), **change}
        if status != claim.get("status"):
            await self.client.update(PERSISTENTVOLUMECLAIMS, {**claim, "status": status}, subresource="status")

    # --- volumes ---

    async def _volume(self, volume: Object) -> None:
        phase = (volume.get("status") or {}).get("phase", "")
        reference = volume["spec"].get("claimRef")
        if reference is None or not reference.get("uid"):
            if phase not in ("Available", "Bound"):
                await self._phase(volume, "Available")
            return
        claim = self.claims.get(f"{reference['namespace']}/{reference['name']}")
        if claim is None or meta.uid(claim) != reference["uid"]:
            try:
                claim = await self.client.get(PERSISTENTVOLUMECLAIMS, reference["name"], reference["namespace"])
            except NotFound:
                claim = None
        if claim is not None and meta.uid(claim) == reference["uid"]:
            return  # the claim's own turn binds it
        if phase != "Released":
            volume = await self._phase(volume, "Released")
        ours = meta.annotations(volume).get(PROVISIONED_BY) in self._provisioners
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete" and ours and not meta.deleting(volume):
            self._remove_data(volume)
            await self.client.delete(PERSISTENTVOLUMES, meta.name(volume), uid=meta.uid(volume))

    def _remove_data(self, volume: Object) -> None:
        root = self.context.data_dir / "volumes"
        path = Path((volume["spec"].get("hostPath") or {}).get("path", ""))
        if path.parent == root and path.name.startswith("pvc-"):
            shutil.rmtree(path, ignore_errors=True)

    async def _phase(self, volume: Object, phase: str) -> Object:
        status = {**(volume.get("status") or {}), "phase": phase}
        return await self.client.update(PERSISTENTVOLUMES, {**volume, "status": status}, subresource="status")
