"""rbac.authorization.k8s.io: roles and who has them."""

from __future__ import annotations

from kcore.api.names import path_segment
from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing

RBAC = "rbac.authorization.k8s.io"


class RoleStrategy(Builtin):
    allow_create_on_update = True


class BindingStrategy(Builtin):
    allow_create_on_update = True

    def default(self, obj: Object) -> None:
        if not obj["roleRef"].get("apiGroup"):
            obj["roleRef"]["apiGroup"] = RBAC
        for subject in obj.get("subjects") or ():
            if subject.get("kind") in ("User", "Group"):
                missing(subject, {"apiGroup": RBAC})


group = Group("rbac.authorization.k8s.io")
group.serve(
    "ClusterRoleBinding",
    "clusterrolebindings",
    strategy=BindingStrategy(),
    names=path_segment,
    hash="48tpQ8gZHFc=",
    namespaced=False,
)
group.serve(
    "ClusterRole", "clusterroles", strategy=RoleStrategy(), names=path_segment, hash="bYE5ZWDrJ44=", namespaced=False
)
group.serve("RoleBinding", "rolebindings", strategy=BindingStrategy(), names=path_segment, hash="eGsCzGH6b1g=")
group.serve("Role", "roles", strategy=RoleStrategy(), names=path_segment, hash="7FuwZcIIItM=")

KINDS = group.kinds
