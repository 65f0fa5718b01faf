"""apiregistration.k8s.io: which server answers for which API group."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("apiregistration.k8s.io", package="kube-aggregator.pkg.apis.apiregistration.v1")
group.serve(
    "APIService",
    "apiservices",
    hash="InPBPD7+PqM=",
    namespaced=False,
    category="api-extensions",
    status=True,
)

KINDS = group.kinds
