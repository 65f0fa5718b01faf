"""Tokens in Secrets: those of nodes that join, and those of service accounts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import trio.testing

from kcore import clock
from kcore.objects import Object
from kcore.objects.resources import CONFIGMAPS, SECRETS, SERVICEACCOUNTS
from kcore.pki import Pki

from .conftest import Start


def token(token_id: str, seconds: float | None = None, **more: str) -> Object:
    said = {"token-id": token_id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **more}
    if seconds is not None:
        said["expiration"] = clock.timestamp(clock.now() + seconds)
    return {
        "metadata": {"name": f"bootstrap-token-{token_id}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in said.items()},
    }


async def test_a_token_is_deleted_when_it_expires(cluster: Start, autojump_clock: trio.testing.MockClock) -> None:
    async with cluster("tokencleaner") as c:
        await c.client.create(SECRETS, token("aaaaaa", 100))
        await c.client.create(SECRETS, token("bbbbbb"))
        await c.client.create(SECRETS, token("cccccc", -5))
        await c.client.create(SECRETS, token("dddddd", expiration="soon"))
        await c.settle(90)
        names = [s["metadata"]["name"][-6:] for s in await c.all(SECRETS)]
        assert sorted(names) == ["aaaaaa", "bbbbbb"]
        await c.settle(20)
        assert [s["metadata"]["name"][-6:] for s in await c.all(SECRETS)] == ["bbbbbb"]


async def test_cluster_info_is_signed_with_every_token_that_may(
    cluster: Start, autojump_clock: trio.testing.MockClock
) -> None:
    async with cluster("bootstrapsigner") as c:
        meta = {"name": "cluster-info", "namespace": "kube-public"}
        await c.client.create(CONFIGMAPS, {"metadata": meta, "data": {"kubeconfig": "the: file\n"}})
        await c.client.create(SECRETS, token("aaaaaa", 100))
        await c.client.create(SECRETS, token("bbbbbb", **{"usage-bootstrap-signing": "false"}))
        await c.settle(10)
        data: dict[str, Any] = (await c.client.get(CONFIGMAPS, "cluster-info", "kube-public"))["data"]
        assert set(data) == {"kubeconfig", "jws-kubeconfig-aaaaaa"}
        header, nothing, mac = data["jws-kubeconfig-aaaaaa"].split(".")
        assert nothing == ""
        assert json.loads(jwt.utils.base64url_decode(header)) == {"alg": "HS256", "kid": "aaaaaa"}
        content = jwt.utils.base64url_encode(b"the: file\n").decode()
        signed = hmac.new(b"0123456789abcdef", f"{header}.{content}".encode(), hashlib.sha256).digest()
        assert jwt.utils.base64url_decode(mac) == signed
        await c.settle(120)
        data = (await c.client.get(CONFIGMAPS, "cluster-info", "kube-public"))["data"]
        assert set(data) == {"kubeconfig"}


def account_secret(name: str, account: str, **notes: str) -> Object:
    found = {"kubernetes.io/service-account.name": account, **notes}
    metadata = {"name": name, "namespace": "default", "annotations": found}
    return {"metadata": metadata, "type": "kubernetes.io/service-account-token"}


async def test_a_secret_that_asks_for_a_token_of_an_account_gets_one_and_goes_with_the_account(
    cluster: Start, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    pki = Pki.open(tmp_path)
    pki.service_account_key()  # made before, so that the thread which reads it is quick ...
    autojump_clock.autojump_threshold = 0.3  # ... and the virtual clock waits for it
    async with cluster("serviceaccount-token") as c:
        robot = await c.client.create(SERVICEACCOUNTS, {"metadata": {"name": "robot", "namespace": "default"}})
        await c.client.create(SECRETS, account_secret("for-robot", "robot"))
        await c.client.create(SECRETS, account_secret("for-nobody", "nobody"))
        former = {"kubernetes.io/service-account.uid": "somebody-else"}
        await c.client.create(SECRETS, account_secret("for-a-former-robot", "robot", **former))
        await c.settle(5)
        (secret,) = await c.all(SECRETS)
        assert secret["metadata"]["name"] == "for-robot"
        assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == robot["metadata"]["uid"]
        data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
        assert data["ca.crt"] == pki.ca_pem
        assert data["namespace"] == b"default"
        claims = jwt.decode(data["token"], options={"verify_signature": False})
        assert claims["iss"] == "kubernetes/serviceaccount"
        assert claims["sub"] == "system:serviceaccount:default:robot"
        assert claims["kubernetes.io/serviceaccount/secret.name"] == "for-robot"
        await c.client.delete(SERVICEACCOUNTS, "robot", "default")
        await c.settle(5)
        assert await c.all(SECRETS) == []
