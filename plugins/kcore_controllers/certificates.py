"""CertificateSigningRequests: approves those of kubelets for themselves, and signs what is approved."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from kcore import clock
from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.objects import Object, meta
from kcore.objects.resources import GVR

CERTIFICATESIGNINGREQUESTS = GVR(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)
CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LIFETIME = 365 * 24 * 3600  # seconds (--cluster-signing-duration)
BACKDATE = 300  # seconds a certificate is valid before it is made: clocks differ


class SigningController(Reconciler):
    name = "certificatesigningrequest"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.requests = self.watch(CERTIFICATESIGNINGREQUESTS, self.enqueue)

    async def reconcile(self, key: str) -> float | None:
        request = self.requests.get(key)
        if request is None or request["spec"]["signerName"] not in (CLIENT, KUBELET_CLIENT, KUBELET_SERVING):
            return None
        status = request.get("status") or {}
        if status.get("certificate") or meta.condition_is(request, "Denied") or meta.condition_is(request, "Failed"):
            return None
        if not meta.condition_is(request, "Approved"):
            if request["spec"]["signerName"] == KUBELET_CLIENT and _of_its_own_node(request):
                await self._approve(request)
            return None
        pki = self.context.keys / "pki"
        certificate, private = pki / "ca.crt", pki / "ca.key"
        if not (certificate.exists() and private.exists()):  # two stat calls on a local disk
            self.log.warning("no CA key at %s: certificate requests stay unsigned", private)
            return None
        try:
            pem = sign(request, certificate.read_bytes(), private.read_bytes())  # a few kB
        except ValueError as error:
            await self._fail(request, str(error))
            return None
        new = {**status, "certificate": base64.b64encode(pem).decode()}
        await self.client.update(CERTIFICATESIGNINGREQUESTS, {**request, "status": new}, subresource="status")
        return None

    async def _approve(self, request: Object) -> None:
        status = {**(request.get("status") or {})}
        status["conditions"] = [dict(c) for c in status.get("conditions") or ()]
        now = clock.timestamp()
        meta.set_condition(
            status,
            {
                "type": "Approved",
                "status": "True",
                "reason": "AutoApproved",
                "message": "Auto approving self kubelet client certificate after SubjectAccessReview.",
                "lastUpdateTime": now,
            },
        )
        await self.client.update(CERTIFICATESIGNINGREQUESTS, {**request, "status": status}, subresource="approval")

    async def _fail(self, request: Object, why: str) -> None:
        status = {**(request.get("status") or {})}
        status["conditions"] = [dict(c) for c in status.get("conditions") or ()]
        failed = {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why}
        meta.set_condition(status, {**failed, "lastUpdateTime": clock.timestamp()})
        await self.client.update(CERTIFICATESIGNINGREQUESTS, {**request, "status": status}, subresource="status")


def _load(request: Object) -> Any:
    from cryptography import x509

    return x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))


def _subject(csr: Any) -> tuple[str, list[str]]:
    """(common name, organizations)."""
    from cryptography.x509.oid import NameOID

    names = [a.value for a in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [a.value for a in csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return (names[0] if names else ""), groups


def _of_its_own_node(request: Object) -> bool:
    """A node renews its own client certificate: the subject is the user who asks."""
    try:
        name, groups = _subject(_load(request))
    except ValueError:
        return False
    return groups == ["system:nodes"] and name.startswith("system:node:") and name == request["spec"].get("username")


def sign(request: Object, ca_pem: bytes, key_pem: bytes) -> bytes:
    """The certificate, PEM. Raises ValueError if the signer must not sign such a request."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    csr = _load(request)
    name, groups = _subject(csr)
    signer = request["spec"]["signerName"]
    usages = set(request["spec"].get("usages") or ())
    if not csr.is_signature_valid:
        raise ValueError("the request's own signature is not valid")
    if signer in (KUBELET_CLIENT, KUBELET_SERVING) and (
        groups != ["system:nodes"] or not name.startswith("system:node:")
    ):
        raise ValueError('subject organization is not system:nodes, or its common name has no prefix "system:node:"')
    needed = "server auth" if signer == KUBELET_SERVING else "client auth"
    if needed not in usages:
        raise ValueError(f"usages did not include {needed!r}")
    ca = x509.load_pem_x509_certificate(ca_pem)
    key: Any = serialization.load_pem_private_key(key_pem, None)
    now = datetime.fromtimestamp(clock.now(), UTC)
    lifetime = min(request["spec"].get("expirationSeconds") or LIFETIME, LIFETIME)
    purposes = [
        oid
        for usage, oid in (
            ("client auth", ExtendedKeyUsageOID.CLIENT_AUTH),
            ("server auth", ExtendedKeyUsageOID.SERVER_AUTH),
        )
        if usage in usages
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(ca.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATE))
        .not_valid_after(min(now + timedelta(seconds=lifetime), ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(usages), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    for extension in csr.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _key_usage(usages: set[str]) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature="digital signature" in usages,
        content_commitment=False,
        key_encipherment="key encipherment" in usages,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
