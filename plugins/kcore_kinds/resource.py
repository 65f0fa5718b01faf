"""resource.k8s.io: devices and claims on them (dynamic resource allocation)."""

from __future__ import annotations

from kcore_kinds.declare import Group, fields

group = Group("resource.k8s.io")
group.serve("DeviceClass", "deviceclasses", generation=True, hash="Yk2PTc1Ybxk=", namespaced=False)
group.serve("ResourceClaim", "resourceclaims", hash="wgAZaHcZxUg=", status=True)
group.serve("ResourceClaimTemplate", "resourceclaimtemplates", hash="TuzjC49aUfM=")
group.serve(
    "ResourceSlice",
    "resourceslices",
    selectable=fields("spec.nodeName", "spec.driver"),
    generation=True,
    hash="KsC072WgaEY=",
    namespaced=False,
)

KINDS = group.kinds
