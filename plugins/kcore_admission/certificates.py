"""Certificate requests: who asked, and what nobody may ask for."""

from __future__ import annotations

import base64

from kcore.api.admission import AdmissionRequest
from kcore_admission.base import Plugin, forbidden, is_create

RESOURCE = "certificatesigningrequests"
GROUP = "certificates.k8s.io"


class CertificateRequester(Plugin):
    """Upstream does this while it prepares the object; it is here because only admission knows the user."""

    name = "CertificateRequester"

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, RESOURCE, group=GROUP)

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec, user = request.obj["spec"], request.user
        spec["username"] = user.name
        if user.uid:
            spec["uid"] = user.uid
        if user.groups:
            spec["groups"] = list(user.groups)
        if user.extra:
            spec["extra"] = {k: list(v) for k, v in user.extra.items()}


class CertificateSubjectRestriction(Plugin):
    name = "CertificateSubjectRestriction"

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, RESOURCE, group=GROUP)

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj["spec"]
        if spec.get("signerName") != "kubernetes.io/kube-apiserver-client":
            return
        from cryptography import x509  # heavy: only when somebody asks for a client certificate

        try:
            parsed = x509.load_pem_x509_csr(base64.b64decode(spec.get("request", "")))
        except ValueError:
            return  # validation says so
        for group in parsed.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME):
            if group.value == "system:masters":
                raise forbidden(
                    request,
                    "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
                )
