"""discovery.k8s.io: the addresses behind services."""

from __future__ import annotations

from kcore_kinds import services
from kcore_kinds.declare import Group

group = Group("discovery.k8s.io")
group.serve(
    "EndpointSlice", "endpointslices", strategy=services.EndpointSliceStrategy(), generation=True, hash="qgS0xkrxYAI="
)

KINDS = group.kinds
