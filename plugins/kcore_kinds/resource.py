"""resource.k8s.io: devices and claims on them (dynamic resource allocation)."""

from __future__ import annotations

from kcore_kinds.declare import Builtin, Group, Object, fields
from kcore_kinds.podspec import missing


class ClaimStrategy(Builtin):
    def default(self, obj: Object) -> None:
        fill_requests(obj["spec"])


class ClaimTemplateStrategy(Builtin):
    def default(self, obj: Object) -> None:
        fill_requests(obj["spec"]["spec"])


def fill_requests(spec: Object) -> None:
    """A request is for exactly one device unless it says otherwise."""
    for request in spec["devices"].get("requests") or ():
        for choice in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if choice is None:
                continue
            missing(choice, {"allocationMode": "ExactCount"})
            if choice["allocationMode"] == "ExactCount" and not choice.get("count"):
                choice["count"] = 1


group = Group("resource.k8s.io")
group.serve("DeviceClass", "deviceclasses", generation=True, hash="Yk2PTc1Ybxk=", namespaced=False)
group.serve("ResourceClaim", "resourceclaims", strategy=ClaimStrategy(), hash="wgAZaHcZxUg=", status=True)
group.serve("ResourceClaimTemplate", "resourceclaimtemplates", strategy=ClaimTemplateStrategy(), hash="TuzjC49aUfM=")
group.serve(
    "ResourceSlice",
    "resourceslices",
    selectable=fields("spec.nodeName", "spec.driver"),
    generation=True,
    hash="KsC072WgaEY=",
    namespaced=False,
)

KINDS = group.kinds
