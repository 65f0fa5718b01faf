"""storage.k8s.io: classes, drivers and attachments of volumes."""

from __future__ import annotations

from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing


class StorageClassStrategy(Builtin):
    returns_deleted = True

    def default(self, obj: Object) -> None:
        missing(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})


class DriverStrategy(Builtin):
    returns_deleted = True

    def default(self, obj: Object) -> None:
        missing(
            obj["spec"],
            {
                "attachRequired": True,
                "podInfoOnMount": False,
                "storageCapacity": False,
                "fsGroupPolicy": "ReadWriteOnceWithFSType",
                "requiresRepublish": False,
                "seLinuxMount": False,
                "volumeLifecycleModes": ["Persistent"],
            },
        )


class Returned(Builtin):
    """A kind whose DELETE answers with the object."""

    returns_deleted = True


group = Group("storage.k8s.io")
group.serve("CSIDriver", "csidrivers", blind=False, strategy=DriverStrategy(), hash="hL6j/rwBV5w=", namespaced=False)
group.serve("CSINode", "csinodes", blind=False, strategy=Returned(), hash="Pe62DkZtjuo=", namespaced=False)
group.serve("CSIStorageCapacity", "csistoragecapacities", hash="xeVl+2Ly1kE=")
group.serve(
    "StorageClass",
    "storageclasses",
    strategy=StorageClassStrategy(),
    hash="K+m6uJwbjGY=",
    namespaced=False,
    short="sc",
)
group.serve(
    "VolumeAttachment",
    "volumeattachments",
    blind=False,
    strategy=Returned(),
    hash="tJx/ezt6UDU=",
    namespaced=False,
    status=True,
)
group.serve(
    "VolumeAttributesClass",
    "volumeattributesclasses",
    strategy=Returned(),
    hash="tIjydgKBC5w=",
    namespaced=False,
    short="vac",
)

KINDS = group.kinds
