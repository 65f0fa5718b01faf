"""sig-auth: service accounts and their tokens, certificate requests, reviews of access."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from kubernetes import client, watch

from tests.conformance.conftest import Place

ISSUER = "https://kubernetes.default.svc"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def account(name: str, **members: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **members}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox", "command": ["sleep", "1000"], **spec.pop("container", {})}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def shown(place: Place, name: str, path: str) -> str:
    """What a file in a container holds."""
    return place.kubectl("exec", name, "--", "cat", path)


@pytest.mark.conformance("ServiceAccounts should mount an API token into pods")
def test_a_pod_finds_token_authority_and_namespace(place: Place) -> None:
    core = client.CoreV1Api(place.client)
    core.create_namespaced_service_account(place.namespace, account("mounts"))
    core.create_namespaced_pod(place.namespace, pod("p", serviceAccountName="mounts"))
    place.kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=20s")
    token = shown(place, "p", f"{MOUNT}/token")
    review = client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token, audiences=[ISSUER]))
    status = client.AuthenticationV1Api(place.client).create_token_review(review).status
    assert status.authenticated
    assert status.user.username == f"system:serviceaccount:{place.namespace}:mounts"
    assert set(status.user.groups) == {
        "system:serviceaccounts", f"system:serviceaccounts:{place.namespace}", "system:authenticated",
    }  # fmt: skip
    assert status.user.extra["authentication.kubernetes.io/pod-name"] == ["p"]
    root = core.read_namespaced_config_map("kube-root-ca.crt", place.namespace).data["ca.crt"]
    assert shown(place, "p", f"{MOUNT}/ca.crt") == root
    assert shown(place, "p", f"{MOUNT}/namespace") == place.namespace


@pytest.mark.conformance("ServiceAccounts should allow opting out of API token automount")
@pytest.mark.parametrize("of_account", [None, True, False])
@pytest.mark.parametrize("of_pod", [None, True, False])
def test_a_pod_or_its_account_may_do_without_a_token(place: Place, of_account: Any, of_pod: Any) -> None:
    core = client.CoreV1Api(place.client)
    core.create_namespaced_service_account(place.namespace, account("a", automountServiceAccountToken=of_account))
    body = pod("p", serviceAccountName="a", automountServiceAccountToken=of_pod)
    made = core.create_namespaced_pod(place.namespace, body)
    mounts = [m.mount_path for m in made.spec.containers[0].volume_mounts or ()]
    wanted = of_pod if of_pod is not None else of_account is not False
    assert (MOUNT in mounts) == wanted


@pytest.mark.conformance("ServiceAccounts should mount projected service account token")
def test_a_token_is_projected_where_and_for_whom_the_pod_says(place: Place) -> None:
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 7200, "audience": "vault"}}
    volume = {"name": "t", "projected": {"sources": [source], "defaultMode": 0o400}}
    mount = {"volumeMounts": [{"name": "t", "mountPath": "/test-volume"}]}
    client.CoreV1Api(place.client).create_namespaced_pod(place.namespace, pod("p", volumes=[volume], container=mount))
    place.kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=20s")
    claims = jwt.decode(shown(place, "p", "/test-volume/token"), options={"verify_signature": False})
    assert (claims["aud"], claims["sub"]) == (["vault"], f"system:serviceaccount:{place.namespace}:default")
    assert claims["exp"] - claims["iat"] == 7200
    assert claims["kubernetes.io"]["pod"]["name"] == "p"


@pytest.mark.conformance("ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview")
def test_a_token_that_was_asked_for_is_reviewed(place: Place) -> None:
    core = client.CoreV1Api(place.client)
    made = core.create_namespaced_service_account(place.namespace, account("asked"))
    body = client.AuthenticationV1TokenRequest(
        spec=client.V1TokenRequestSpec(audiences=[ISSUER], expiration_seconds=900)
    )
    token = core.create_namespaced_service_account_token("asked", place.namespace, body).status.token
    review = client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token))
    status = client.AuthenticationV1Api(place.client).create_token_review(review).status
    assert (status.error, status.authenticated) == (None, True)
    assert status.user.username == f"system:serviceaccount:{place.namespace}:asked"
    assert status.user.uid == made.metadata.uid
    assert "system:serviceaccounts" in status.user.groups


@pytest.mark.conformance("ServiceAccounts should update a ServiceAccount")
def test_an_account_is_updated(place: Place) -> None:
    core = client.CoreV1Api(place.client)
    made = core.create_namespaced_service_account(place.namespace, account("a", automountServiceAccountToken=False))
    made.automount_service_account_token = True
    assert core.replace_namespaced_service_account("a", place.namespace, made).automount_service_account_token
    assert core.read_namespaced_service_account("a", place.namespace).automount_service_account_token


@pytest.mark.conformance("ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace")
def test_the_root_certificate_comes_back_as_it_was(place: Place) -> None:
    core = client.CoreV1Api(place.client)

    def data() -> Any:
        found = core.list_namespaced_config_map(place.namespace, field_selector="metadata.name=kube-root-ca.crt").items
        return found[0].data if found else None

    was = place.until(data)
    core.delete_namespaced_config_map("kube-root-ca.crt", place.namespace)
    assert place.until(data) == was
    core.patch_namespaced_config_map("kube-root-ca.crt", place.namespace, {"data": {"ca.crt": "nonsense"}})
    place.until(lambda: data() == was)


@pytest.mark.conformance(
    "ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer"
)
def test_anybody_with_an_account_can_verify_tokens_by_discovery(place: Place) -> None:
    server = place.client.configuration.host
    token = place.kubectl("create", "token", "default").strip()
    kubectl = ("--token", token, "--server", server, "--kubeconfig=/dev/null", "--insecure-skip-tls-verify")
    found = json.loads(place.kubectl("get", "--raw", "/.well-known/openid-configuration", *kubectl))
    assert found["issuer"] == jwt.decode(token, options={"verify_signature": False})["iss"]
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    path = "/" + found["jwks_uri"].split("/", 3)[3]
    keys = jwt.PyJWKSet.from_json(place.kubectl("get", "--raw", path, *kubectl)).keys
    kid = jwt.get_unverified_header(token)["kid"]
    (key,) = [key for key in keys if key.key_id == kid]
    assert jwt.decode(token, key, ["RS256"], audience=ISSUER, issuer=found["issuer"])["sub"].endswith(":default")


@pytest.mark.conformance("SubjectReview should support SubjectReview API operations")
def test_access_of_others_and_of_oneself_is_reviewed(place: Place) -> None:
    api = client.AuthorizationV1Api(place.client)
    user = f"system:serviceaccount:{place.namespace}:reviewed"
    attributes = {"group": "apps", "namespace": place.namespace, "resource": "deployments", "verb": "list"}
    spec = {"user": user, "resourceAttributes": attributes}

    def allowed() -> list[bool]:
        everywhere = api.create_subject_access_review({"spec": spec}).status
        here = api.create_namespaced_local_subject_access_review(
            place.namespace, {"metadata": {"namespace": place.namespace}, "spec": spec}
        ).status
        return [everywhere.allowed, here.allowed]

    assert allowed() == [False, False]
    place.kubectl("create", "role", "lists", "--verb=list", "--resource=deployments.apps")
    place.kubectl("create", "rolebinding", "lists", "--role=lists", f"--serviceaccount={place.namespace}:reviewed")
    place.until(lambda: allowed() == [True, True])
    mine = api.create_self_subject_access_review({"spec": {"resourceAttributes": attributes}})
    assert mine.status.allowed


def request_of(name: str) -> bytes:
    """A PKCS #10 request as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )


@pytest.mark.conformance("Certificates API should support CSR API operations")
def test_requests_for_certificates_are_made_approved_and_deleted(place: Place) -> None:
    api = client.CertificatesV1Api(place.client)
    label = f"of={place.namespace}"
    plural = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    assert "certificatesigningrequests/approval" in [
        r["name"] for r in place.call("GET", "/apis/certificates.k8s.io/v1")["resources"]
    ]

    def new() -> Any:
        spec = {"request": base64.b64encode(request_of("e2e")).decode(), "usages": ["client auth"],
                "signerName": "example.com/e2e", "expirationSeconds": 3600}  # fmt: skip
        meta = {"generateName": "e2e-", "labels": {"of": place.namespace}}
        return api.create_certificate_signing_request({"metadata": meta, "spec": spec})

    one = new()
    name = one.metadata.name
    assert one.spec.username == "kubernetes-admin"
    events = watch.Watch().stream(
        api.list_certificate_signing_request, label_selector=label,
        resource_version=one.metadata.resource_version, timeout_seconds=20,
    )  # fmt: skip
    two, _three = new(), new()
    assert len(api.list_certificate_signing_request(label_selector=label).items) == 3
    patched = api.patch_certificate_signing_request(name, {"metadata": {"annotations": {"patched": "true"}}})
    assert patched.metadata.annotations["patched"] == "true"
    patched.metadata.annotations["updated"] = "true"
    assert api.replace_certificate_signing_request(name, patched).metadata.annotations["updated"] == "true"
    found = place.call("GET", f"{plural}/{name}/approval")
    found["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "E2E", "message": "by a test"}]}
    approved = place.call("PUT", f"{plural}/{name}/approval", found)
    assert approved["status"]["conditions"][0]["type"] == "Approved"
    place.call("PATCH", f"{plural}/{name}/approval", {"metadata": {"annotations": {"approval": "patched"}}})
    authority = place.kubectl.cluster.directory / "pki" / "ca.crt"
    certificate = base64.b64encode(authority.read_bytes()).decode()
    status = place.call("PATCH", f"{plural}/{name}/status", {"status": {"certificate": certificate}})["status"]
    assert status["certificate"] == certificate
    seen = [(e["type"], e["object"].metadata.name) for _, e in zip(range(4), events, strict=False)]
    assert ("ADDED", two.metadata.name) in seen
    assert ("MODIFIED", name) in seen
    api.delete_certificate_signing_request(name)
    place.call("GET", f"{plural}/{name}", expect=404)
    api.delete_collection_certificate_signing_request(label_selector=label)
    assert api.list_certificate_signing_request(label_selector=label).items == []
