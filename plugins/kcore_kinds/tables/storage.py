"""The tables of volumes, claims and what provides them."""

from __future__ import annotations

from kcore.api.kinds import Column
from kcore.objects import meta
from kcore_kinds.tables.cells import AGE, CREATED, NAME, NONE, UNSET, Object, at, col, count

_SHORT = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def _modes(modes: list[str] | None) -> str:
    return ",".join(short for mode, short in _SHORT.items() if mode in (modes or ()))


def _phase(obj: Object) -> str:
    return "Terminating" if meta.deleting(obj) else str((obj.get("status") or {}).get("phase", ""))


def _class(obj: Object) -> str:
    legacy = meta.annotations(obj).get("volume.beta.kubernetes.io/storage-class")
    return str(legacy or obj.get("spec", {}).get("storageClassName") or "")


def _claim_capacity(claim: Object) -> str:
    bound = claim.get("spec", {}).get("volumeName")
    return str(((claim.get("status") or {}).get("capacity") or {}).get("storage", "")) if bound else ""


def _claim_modes(claim: Object) -> str:
    bound = claim.get("spec", {}).get("volumeName")
    return _modes((claim.get("status") or {}).get("accessModes")) if bound else ""


def _claim_ref(volume: Object) -> str:
    ref = volume.get("spec", {}).get("claimRef")
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""


def _class_name(storage_class: Object) -> str:
    name = meta.name(storage_class)
    default = any(meta.annotations(storage_class).get(a) == "true" for a in _DEFAULT)
    return f"{name} (default)" if default else name


def _tokens(driver: Object) -> str:
    requests = driver.get("spec", {}).get("tokenRequests") or ()
    return ",".join(r.get("audience", "") for r in requests) or UNSET


TABLES: dict[str, tuple[Column, ...]] = {
    "persistentvolumeclaims": (
        NAME,
        col("Status", _phase),
        col("Volume", at("spec.volumeName")),
        col("Capacity", _claim_capacity),
        col("Access Modes", _claim_modes),
        col("StorageClass", _class),
        col("VolumeAttributesClass", at("spec.volumeAttributesClassName", UNSET)),
        AGE,
        col("VolumeMode", at("spec.volumeMode", UNSET), wide=True),
    ),
    "persistentvolumes": (
        NAME,
        col("Capacity", at("spec.capacity.storage")),
        col("Access Modes", lambda v: _modes(v.get("spec", {}).get("accessModes"))),
        col("Reclaim Policy", at("spec.persistentVolumeReclaimPolicy")),
        col("Status", _phase),
        col("Claim", _claim_ref),
        col("StorageClass", _class),
        col("VolumeAttributesClass", at("spec.volumeAttributesClassName", UNSET)),
        col("Reason", at("status.reason")),
        AGE,
        col("VolumeMode", at("spec.volumeMode", UNSET), wide=True),
    ),
    "storageclasses.storage.k8s.io": (
        col("Name", _class_name, format="name"),
        col("Provisioner", at("provisioner")),
        col("ReclaimPolicy", at("reclaimPolicy")),
        col("VolumeBindingMode", at("volumeBindingMode")),
        col("AllowVolumeExpansion", at("allowVolumeExpansion", False)),
        AGE,
    ),
    "csidrivers.storage.k8s.io": (
        NAME,
        col("AttachRequired", at("spec.attachRequired", True), "boolean"),
        col("PodInfoOnMount", at("spec.podInfoOnMount", False), "boolean"),
        col("StorageCapacity", at("spec.storageCapacity", False), "boolean"),
        col("TokenRequests", _tokens),
        col("RequiresRepublish", at("spec.requiresRepublish", False), "boolean"),
        col("Modes", lambda d: ",".join(d.get("spec", {}).get("volumeLifecycleModes") or ()) or NONE),
        AGE,
    ),
    "csinodes.storage.k8s.io": (NAME, col("Drivers", count("spec.drivers"), "integer"), AGE),
    "csistoragecapacities.storage.k8s.io": (NAME, CREATED),
    "volumeattachments.storage.k8s.io": (
        NAME,
        col("Attacher", at("spec.attacher"), format="name"),
        col("PV", at("spec.source.persistentVolumeName")),
        col("Node", at("spec.nodeName")),
        col("Attached", at("status.attached", False), "boolean"),
        AGE,
    ),
    "volumeattributesclasses.storage.k8s.io": (NAME, col("DriverName", at("driverName")), AGE),
}
