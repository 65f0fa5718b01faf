"""apiregistration.k8s.io: which server answers for which API group."""

from __future__ import annotations

from kcore.api.names import path_segment
from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing


class APIServiceStrategy(Builtin):
    def default(self, obj: Object) -> None:
        if obj["spec"].get("service"):
            missing(obj["spec"]["service"], {"port": 443})

    def validate_name(self, name: str, *, prefix: bool = False) -> list[str]:
        return path_segment(name, prefix=prefix)  # that of the core group ends with a dot


group = Group("apiregistration.k8s.io", package="kube-aggregator.pkg.apis.apiregistration.v1")
group.serve(
    "APIService",
    "apiservices",
    blind=False,
    strategy=APIServiceStrategy(),
    hash="InPBPD7+PqM=",
    namespaced=False,
    category="api-extensions",
    status=True,
)

KINDS = group.kinds
