"""Which volume suits a claim, and what a new one looks like."""

from __future__ import annotations

from collections.abc import Iterable

from kcore.objects import Object, meta, quantity, selectors

LEGACY_CLASS = "volume.beta.kubernetes.io/storage-class"


def claim_key(volume: Object) -> str:
    reference = volume["spec"].get("claimRef")
    return f"{reference['namespace']}/{reference['name']}" if reference else ""


def is_for(reference: Object, claim: Object) -> bool:
    return bool(
        reference.get("name") == meta.name(claim)
        and reference.get("namespace") == meta.namespace(claim)
        and reference.get("uid", meta.uid(claim)) == meta.uid(claim)
    )


def reference(claim: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta.namespace(claim),
        "name": meta.name(claim),
        "uid": meta.uid(claim),
        "resourceVersion": meta.resource_version(claim),
    }


def class_of(claim: Object) -> str | None:
    """The claim's StorageClass; "" if it wants none, None if it says nothing. The old annotation goes first."""
    legacy = meta.annotations(claim).get(LEGACY_CLASS)
    named = claim["spec"].get("storageClassName") if legacy is None else legacy
    return None if named is None else str(named)


def requested(claim: Object) -> str:
    return str(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0"))


def suits(claim: Object, volume: Object) -> bool:
    """A free volume of the claim's class and mode, big enough, with its access modes, that its selector finds."""
    spec = volume["spec"]
    if spec.get("claimRef") or meta.deleting(volume) or (volume.get("status") or {}).get("phase") == "Failed":
        return False
    if spec.get("storageClassName", "") != (class_of(claim) or ""):
        return False
    if spec.get("volumeMode", "Filesystem") != claim["spec"].get("volumeMode", "Filesystem"):
        return False
    if not set(claim["spec"].get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    selector = claim["spec"].get("selector")
    if selector is not None and not selectors.from_object(selector).matches(meta.labels(volume)):
        return False
    return quantity.parse(capacity(volume)) >= quantity.parse(requested(claim))


def capacity(volume: Object) -> str:
    return str((volume["spec"].get("capacity") or {}).get("storage", "0"))


def best(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """The smallest that suits."""
    fitting = [v for v in volumes if suits(claim, v)]
    return min(fitting, key=lambda v: (quantity.parse(capacity(v)), meta.name(v)), default=None)


def new_volume(name: str, claim: Object, storage_class: Object, path: str, node: str) -> Object:
    """`node`: the only one that has the directory; "" if all have it."""
    spec: Object = {
        "capacity": {"storage": requested(claim)},
        "accessModes": list(claim["spec"].get("accessModes") or ["ReadWriteOnce"]),
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
        "storageClassName": meta.name(storage_class),
        "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
        "claimRef": reference(claim),
        "hostPath": {"path": path, "type": "DirectoryOrCreate"},
    }
    if node:
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    if storage_class.get("mountOptions"):
        spec["mountOptions"] = list(storage_class["mountOptions"])
    annotations = {"pv.kubernetes.io/provisioned-by": storage_class["provisioner"]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": annotations},
        "spec": spec,
    }
