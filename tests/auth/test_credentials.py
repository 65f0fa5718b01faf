"""Credentials of every kind at a server that runs: which count, which do not, and what a refusal looks like."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jwt
import pytest
from kcore_auth import RequestHeaderConfig

from kcore import clock
from kcore.pki import Pki
from kcore.testing.running import RunningCluster

from .conftest import Api

UNAUTHORIZED = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "Unauthorized",
    "reason": "Unauthorized",
    "code": 401,
}


async def test_a_foreign_certificate_is_told_401_after_a_handshake_that_succeeds(api: Api, tmp_path: Path) -> None:
    foreign = Pki.open(tmp_path).client_certificate("admin", ["system:masters"])
    assert await api.ask("GET", "/api/v1/namespaces", certificate=foreign) == (401, UNAUTHORIZED)
    assert await api.who(certificate=api.pki.client_certificate("jane", ["g"])) == {
        "username": "jane",
        "groups": ["g", "system:authenticated"],
    }


async def test_a_good_token_counts_beside_a_foreign_certificate(api: Api, tmp_path: Path) -> None:
    foreign = Pki.open(tmp_path).client_certificate("somebody")
    found = await api.who(certificate=foreign, token="weaktok")
    assert isinstance(found, dict)
    assert found["username"] == "weak"
    assert await api.who(certificate=foreign, token="nonsense") == 401


async def test_a_bad_token_is_not_anonymous_but_other_schemes_are(api: Api) -> None:
    assert (await api.ask("GET", "/version", token="nonsense"))[0] == 401
    assert (await api.ask("GET", "/version", headers={"Authorization": "Basic YTpi"}))[0] == 200
    assert (await api.ask("GET", "/version", headers={"Authorization": "Bearer "}))[0] == 200
    assert (await api.ask("GET", "/version", token="x" * 15_000))[0] == 401


async def test_only_a_front_proxy_speaks_for_others(api: Api) -> None:
    said = {"X-Remote-User": "bob", "X-Remote-Group": "g1, system:masters", "X-Remote-Extra-Scopes%2Fa": "read"}
    proxy = api.pki.front_proxy().client_certificate("front-proxy-client")
    found = await api.who(certificate=proxy, headers={**said, "X-Remote-Uid": "u-1"})
    # a comma is a part of the name, not the end of it
    groups = ["g1, system:masters", "system:authenticated"]
    assert found == {"username": "bob", "uid": "u-1", "groups": groups, "extra": {"scopes/a": ["read"]}}
    other = api.pki.front_proxy().client_certificate("another-proxy")
    assert await api.who(certificate=other, headers=said) == 401
    assert await api.who(certificate=proxy) == 401  # says for nobody, and is no user itself
    ordinary: Any = await api.who(certificate=api.pki.client_certificate("front-proxy-client"), headers=said)
    assert ordinary["username"] == "front-proxy-client"
    ordinary = await api.who(token="weaktok", headers=said)
    assert ordinary["username"] == "weak"
    assert await api.who(headers=said) == 403  # anonymous


def test_headers_of_proxies_are_those_that_are_kept_apart() -> None:
    with pytest.raises(ValueError, match="must be names that begin with X-Remote-"):
        RequestHeaderConfig(group_headers=["X-Group"])


def _bootstrap(cluster: RunningCluster, token_id: str, **data: str) -> None:
    fields = {
        "token-id": token_id,
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        **{k.replace("_", "-"): v for k, v in data.items()},
    }
    lines = "".join(f'  {k}: "{base64.b64encode(v.encode()).decode()}"\n' for k, v in fields.items())
    manifest = (
        f"apiVersion: v1\nkind: Secret\ntype: bootstrap.kubernetes.io/token\n"
        f"metadata: {{name: bootstrap-token-{token_id}, namespace: kube-system}}\ndata:\n{lines}"
    )
    cluster.kubectl("apply", "-f", "-", input=manifest)


async def test_a_bootstrap_token_is_good_while_its_secret_says_so(api: Api) -> None:
    good = clock.timestamp(clock.now() + 3600)
    _bootstrap(api.cluster, "aaaaaa", auth_extra_groups="system:bootstrappers:kubeadm", expiration=good)
    assert await api.who(token="aaaaaa.0123456789abcdef") == {
        "username": "system:bootstrap:aaaaaa",
        "groups": ["system:bootstrappers", "system:bootstrappers:kubeadm", "system:authenticated"],
    }
    assert await api.who(token="aaaaaa.0123456789abcdee") == 401
    _bootstrap(api.cluster, "bbbbbb", expiration=clock.timestamp(clock.now() - 1))
    _bootstrap(api.cluster, "cccccc", usage_bootstrap_authentication="false")
    _bootstrap(api.cluster, "dddddd", auth_extra_groups="system:masters")
    _bootstrap(api.cluster, "eeeeee", expiration="soon")
    for token_id in ("bbbbbb", "cccccc", "dddddd", "eeeeee", "ffffff"):
        assert await api.who(token=f"{token_id}.0123456789abcdef") == 401, token_id
    api.cluster.kubectl("delete", "secret", "-n", "kube-system", "bootstrap-token-aaaaaa")
    assert await api.who(token="aaaaaa.0123456789abcdef") == 401


async def test_a_browser_names_its_token_as_a_protocol_of_the_websocket(api: Api) -> None:
    hidden = base64.urlsafe_b64encode(b"weaktok").decode().rstrip("=")
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": f"v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{hidden}",
    }
    code, answer = await api.ask("GET", "/api/v1/namespaces/default/pods/x/exec", headers=headers)
    assert code == 403
    assert '"weak"' in answer["message"]
    headers["Sec-WebSocket-Protocol"] = f"base64url.bearer.authorization.k8s.io.{hidden}"
    assert (await api.ask("GET", "/api/v1/namespaces/default/pods/x/exec", headers=headers))[0] == 401


async def test_the_token_of_a_secret_is_good_while_the_secret_holds_it(api: Api) -> None:
    account, path = "/api/v1/namespaces/default/serviceaccounts", "/api/v1/namespaces/default/secrets"
    robot = (await api.ask("POST", account, {"metadata": {"name": "robot"}}, token="admintok"))[1]
    uid = robot["metadata"]["uid"]
    claim = "kubernetes.io/serviceaccount"
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:default:robot",
        f"{claim}/namespace": "default",
        f"{claim}/secret.name": "for-robot",
        f"{claim}/service-account.name": "robot",
        f"{claim}/service-account.uid": uid,
    }
    key = api.pki.service_account_key().decode()
    token = jwt.encode(claims, key, "RS256")
    assert await api.who(token=token) == 401  # signed, but in no Secret
    notes = {"kubernetes.io/service-account.name": "robot", "kubernetes.io/service-account.uid": uid}
    data = {"token": base64.b64encode(token.encode()).decode()}
    secret = {"metadata": {"name": "for-robot", "annotations": notes}, "type": "kubernetes.io/service-account-token"}
    assert (await api.ask("POST", path, {**secret, "data": data}, token="admintok"))[0] == 201
    found: Any = await api.who(token=token)
    assert found["username"] == "system:serviceaccount:default:robot"
    assert found["uid"] == uid
    nameless = jwt.encode({k: v for k, v in claims.items() if "secret" not in k}, key, "RS256")
    another = jwt.encode({**claims, "more": 1}, key, "RS256")
    for bad in (nameless, another, jwt.encode({**claims, "sub": "system:serviceaccount:default:x"}, key, "RS256")):
        assert await api.who(token=bad) == 401
