"""Defaults that an administrator marks by annotation, and finalizers that keep what is in use."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kcore.api.admission import AdmissionRequest
from kcore.objects import Object, quantity
from kcore.objects.resources import GVR, STORAGECLASSES
from kcore_admission.base import Plugin, forbidden, is_create

INGRESSCLASSES = GVR("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)
DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
LEGACY_CLASS = "volume.beta.kubernetes.io/storage-class"
FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
    "volumeattributesclasses.storage.k8s.io": "kubernetes.io/vac-protection",
}


def _marked(obj: Object, *annotations: str) -> bool:
    found = obj["metadata"].get("annotations") or {}
    return any(found.get(a) == "true" for a in annotations)


def _age(obj: Object) -> tuple[Any, ...]:
    return obj["metadata"].get("creationTimestamp", ""), obj["metadata"]["name"]


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"
    looks_at = (STORAGECLASSES,)

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, "persistentvolumeclaims")

    async def admit(self, request: AdmissionRequest) -> None:
        claim = request.obj
        assert claim is not None
        named = claim["spec"].get("storageClassName") is not None
        if named or LEGACY_CLASS in (claim["metadata"].get("annotations") or {}):
            return  # an empty name is a choice too: no class
        classes = [c for c in await self.seen["storageclasses"].all(sure=True) if _marked(c, *DEFAULT_CLASS)]
        if classes:  # the newest of several; of equal age the first by name
            newest = max(_age(c)[0] for c in classes)
            names = sorted(c["metadata"]["name"] for c in classes if _age(c)[0] == newest)
            claim["spec"]["storageClassName"] = names[0]


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"

    def handles(self, request: AdmissionRequest) -> bool:
        return request.operation == "CREATE" and not request.subresource and request.kind.resource in FINALIZERS

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        meta, finalizer = request.obj["metadata"], FINALIZERS[request.kind.resource]
        given = meta.get("finalizers") or []
        if finalizer not in given:
            meta["finalizers"] = [*given, finalizer]


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"
    looks_at = (INGRESSCLASSES,)

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, "ingresses", group="networking.k8s.io")

    async def admit(self, request: AdmissionRequest) -> None:
        ingress = request.obj
        assert ingress is not None
        spec = ingress.setdefault("spec", {})
        legacy = "kubernetes.io/ingress.class" in (ingress["metadata"].get("annotations") or {})
        if spec.get("ingressClassName") is not None or legacy:
            return
        classes = [c for c in await self.seen["ingressclasses"].all(sure=True) if _marked(c, DEFAULT_INGRESS)]
        if not classes:
            return
        if len(classes) > 1:
            raise forbidden(request, f"{len(classes)} default IngressClasses were found, only 1 allowed")
        spec["ingressClassName"] = classes[0]["metadata"]["name"]


class PersistentVolumeClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"
    looks_at = (STORAGECLASSES,)

    def handles(self, request: AdmissionRequest) -> bool:
        claim = request.kind.resource == "persistentvolumeclaims"
        return claim and request.operation == "UPDATE" and not request.subresource

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = request.obj or {}, request.old or {}
        if _size(new) <= _size(old):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise forbidden(request, "Only bound persistent volume claims can be expanded")
        names = {_class_of(new), _class_of(old)}
        found = await self.seen["storageclasses"].get(names.pop()) if len(names) == 1 and "" not in names else None
        if found is None or not found.get("allowVolumeExpansion"):
            raise forbidden(
                request,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize",
            )


def _size(claim: Object) -> Decimal:
    resources = (claim.get("spec") or {}).get("resources") or {}
    return quantity.parse((resources.get("requests") or {}).get("storage", "0"))


def _class_of(claim: Object) -> str:
    notes = claim["metadata"].get("annotations") or {}
    return notes.get(LEGACY_CLASS) or claim["spec"].get("storageClassName") or ""
