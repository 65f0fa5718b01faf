"""node.k8s.io: classes of container runtimes."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("node.k8s.io")
group.serve("RuntimeClass", "runtimeclasses", blind=False, hash="WQTu1GL3T2Q=", namespaced=False)

KINDS = group.kinds
