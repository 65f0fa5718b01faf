"""storage.k8s.io: classes, drivers and attachments of volumes."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("storage.k8s.io")
group.serve("CSIDriver", "csidrivers", hash="hL6j/rwBV5w=", namespaced=False)
group.serve("CSINode", "csinodes", hash="Pe62DkZtjuo=", namespaced=False)
group.serve("CSIStorageCapacity", "csistoragecapacities", hash="xeVl+2Ly1kE=")
group.serve("StorageClass", "storageclasses", hash="K+m6uJwbjGY=", namespaced=False, short="sc")
group.serve("VolumeAttachment", "volumeattachments", hash="tJx/ezt6UDU=", namespaced=False, status=True)
group.serve(
    "VolumeAttributesClass",
    "volumeattributesclasses",
    hash="tIjydgKBC5w=",
    namespaced=False,
    short="vac",
)

KINDS = group.kinds
