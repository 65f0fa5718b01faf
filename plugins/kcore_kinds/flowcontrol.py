"""flowcontrol.apiserver.k8s.io: who waits for whom when the API is busy."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("flowcontrol.apiserver.k8s.io")
group.serve("FlowSchema", "flowschemas", generation=True, hash="GJVAJZSZBIw=", namespaced=False, status=True)
group.serve(
    "PriorityLevelConfiguration",
    "prioritylevelconfigurations",
    generation=True,
    hash="Kir5PVfvNeI=",
    namespaced=False,
    status=True,
)

KINDS = group.kinds
