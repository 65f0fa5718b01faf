"""certificates.k8s.io: requests for client and serving certificates."""

from __future__ import annotations

from kcore.api.kinds import Subresource
from kcore_kinds.declare import STATUS, Group, fields

group = Group("certificates.k8s.io")
group.serve(
    "CertificateSigningRequest",
    "certificatesigningrequests",
    selectable=fields("spec.signerName"),
    hash="95fRKMXA+00=",
    namespaced=False,
    short="csr",
    status=True,
    subresources=(Subresource("approval", "CertificateSigningRequest", STATUS, namespaced=False),),
)

KINDS = group.kinds
