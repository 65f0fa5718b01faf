"""rbac.authorization.k8s.io: roles and who has them."""

from __future__ import annotations

from kcore.api.names import path_segment
from kcore_kinds.declare import Group

group = Group("rbac.authorization.k8s.io")
group.serve(
    "ClusterRoleBinding",
    "clusterrolebindings",
    names=path_segment,
    hash="48tpQ8gZHFc=",
    namespaced=False,
)
group.serve("ClusterRole", "clusterroles", names=path_segment, hash="bYE5ZWDrJ44=", namespaced=False)
group.serve("RoleBinding", "rolebindings", names=path_segment, hash="eGsCzGH6b1g=")
group.serve("Role", "roles", names=path_segment, hash="7FuwZcIIItM=")

KINDS = group.kinds
