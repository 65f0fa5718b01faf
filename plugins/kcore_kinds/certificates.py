"""certificates.k8s.io: requests for client and serving certificates."""

from __future__ import annotations

from kcore import clock
from kcore.api.auth import User
from kcore.api.kinds import Subresource
from kcore_kinds.declare import STATUS, Builtin, Group, Object, fields
from kcore_kinds.podspec import missing


class RequestStrategy(Builtin):
    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        for name in ("username", "uid", "groups", "extra"):
            obj["spec"].pop(name, None)

    def prepare_owner(self, obj: Object, user: User) -> None:
        """Who asks is not the client's to say."""
        spec = obj["spec"]
        spec["username"] = user.name
        if user.uid:
            spec["uid"] = user.uid
        if user.groups:
            spec["groups"] = list(user.groups)
        if user.extra:
            spec["extra"] = {key: list(values) for key, values in user.extra.items()}

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        obj["spec"] = old["spec"]

    def default(self, obj: Object) -> None:
        status = obj["status"]
        for condition in status.get("conditions") or ():
            now = clock.timestamp()
            missing(condition, {"status": "True", "lastUpdateTime": now, "lastTransitionTime": now})


group = Group("certificates.k8s.io")
group.serve(
    "CertificateSigningRequest",
    "certificatesigningrequests",
    strategy=RequestStrategy(),
    selectable=fields("spec.signerName"),
    hash="95fRKMXA+00=",
    namespaced=False,
    short="csr",
    status=True,
    subresources=(Subresource("approval", "CertificateSigningRequest", STATUS, namespaced=False),),
)

KINDS = group.kinds
