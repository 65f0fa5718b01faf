"""apiextensions.k8s.io: kinds that users declare."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("apiextensions.k8s.io", package="apiextensions-apiserver.pkg.apis.apiextensions.v1")
group.serve(
    "CustomResourceDefinition",
    "customresourcedefinitions",
    generation=True,
    hash="jfWCUB31mvA=",
    namespaced=False,
    short="crd crds",
    category="api-extensions",
    status=True,
)

KINDS = group.kinds
