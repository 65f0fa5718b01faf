"""apiextensions.k8s.io: kinds that users declare."""

from __future__ import annotations

from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing


class DefinitionStrategy(Builtin):
    def prepare_create(self, obj: Object) -> None:
        """Accepted names and conditions are the controller's to write; which version is stored is known at once."""
        super().prepare_create(obj)
        obj["status"]["storedVersions"] = [v["name"] for v in obj["spec"]["versions"] or () if v["storage"]]

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        status = dict(obj.get("status") or {})
        stored = list(status.get("storedVersions") or ())
        for version in obj["spec"].get("versions") or ():
            if version.get("storage") and version.get("name") not in stored:
                status["storedVersions"] = [*stored, version["name"]]
        obj["status"] = status

    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        missing(spec, {"conversion": {"strategy": "None"}})
        names = spec["names"]
        if names.get("kind"):
            missing(names, {"singular": names["kind"].lower(), "listKind": names["kind"] + "List"})
        client = (spec["conversion"].get("webhook") or {}).get("clientConfig") or {}
        if client.get("service"):
            missing(client["service"], {"port": 443})


group = Group("apiextensions.k8s.io", package="apiextensions-apiserver.pkg.apis.apiextensions.v1")
group.serve(
    "CustomResourceDefinition",
    "customresourcedefinitions",
    blind=False,
    strategy=DefinitionStrategy(),
    generation=True,
    hash="jfWCUB31mvA=",
    namespaced=False,
    short="crd crds",
    category="api-extensions",
    status=True,
)

KINDS = group.kinds
