"""PersistentVolumes and the claims on them."""

from __future__ import annotations

from typing import Any

from kcore import clock
from kcore_kinds.declare import Builtin
from kcore_kinds.podspec import fill_source, missing

Object = dict[str, Any]


class VolumeStrategy(Builtin):
    returns_deleted = True

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": clock.timestamp()}

    def prepare_status(self, obj: Object, old: Object) -> None:
        super().prepare_status(obj, old)
        status, was = obj.setdefault("status", {}), old.get("status") or {}
        if status.get("phase") != was.get("phase"):
            if status.get("lastPhaseTransitionTime") == was.get("lastPhaseTransitionTime"):
                status["lastPhaseTransitionTime"] = clock.timestamp()
        elif "lastPhaseTransitionTime" in was:
            missing(status, {"lastPhaseTransitionTime": was["lastPhaseTransitionTime"]})

    def default(self, obj: Object) -> None:
        missing(obj["spec"], {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"})
        missing(obj["status"], {"phase": "Pending"})
        fill_source(obj["spec"])


class ClaimStrategy(Builtin):
    returns_deleted = True

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending"}

    def default(self, obj: Object) -> None:
        missing(obj["status"], {"phase": "Pending"})
        fill_claim(obj["spec"])


def fill_claim(spec: Object) -> None:
    """dataSource and dataSourceRef are two names of one thing, as far as both can say it."""
    missing(spec, {"volumeMode": "Filesystem"})
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and not ref:
        spec["dataSourceRef"] = dict(source)
    elif (
        ref
        and not source
        and not ref.get("namespace")
        and ref.get("kind") in ("PersistentVolumeClaim", "VolumeSnapshot")
    ):
        spec["dataSource"] = {k: v for k, v in ref.items() if k != "namespace"}
