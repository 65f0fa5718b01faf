"""Certificate requests: who asked, and what nobody may ask for."""

from __future__ import annotations

import base64

from kcore.api.admission import AdmissionRequest
from kcore_admission.base import Plugin, forbidden, is_create

RESOURCE = "certificatesigningrequests"
GROUP = "certificates.k8s.io"


class CertificateApproval(Plugin):
    """Approving a request needs the verb ``approve`` on its signer, beside the right to write the approval."""

    name = "CertificateApproval"

    def handles(self, request: AdmissionRequest) -> bool:
        return _is_update(request, "approval")

    async def validate(self, request: AdmissionRequest) -> None:
        await _check_signer(self, request, "approve")


class CertificateSigning(Plugin):
    """Issuing a certificate, or failing a request, needs the verb ``sign`` on its signer."""

    name = "CertificateSigning"

    def handles(self, request: AdmissionRequest) -> bool:
        return _is_update(request, "status")

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = (request.obj or {}).get("status") or {}, (request.old or {}).get("status") or {}
        same = all((new.get(k) or None) == (old.get(k) or None) for k in ("certificate", "conditions"))
        if not same:
            await _check_signer(self, request, "sign")


def _is_update(request: AdmissionRequest, subresource: str) -> bool:
    about = request.kind.plural == RESOURCE and request.kind.group == GROUP
    return about and request.operation == "UPDATE" and request.subresource == subresource


async def _check_signer(plugin: Plugin, request: AdmissionRequest, verb: str) -> None:
    """The signer itself or all of its domain: ``example.com/one``, ``example.com/*``."""
    signer = ((request.old or {}).get("spec") or {}).get("signerName") or ""
    for name in (signer, signer.partition("/")[0] + "/*"):
        if (await plugin.may(request.user, verb, (GROUP, "*", "signers"), "", name)).allowed:
            return
    raise forbidden(request, f'user not permitted to {verb} requests with signerName "{signer}"')


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
