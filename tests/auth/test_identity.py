"""Who is asking: certificates, fixed tokens, tokens of service accounts, and the reviews that tell."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
import trio.testing
from kcore_auth import ServiceAccountConfig, TokensConfig
from kcore_auth.anonymous import Anonymous
from kcore_auth.certificates import Certificates
from kcore_auth.rbac import Rbac
from kcore_auth.reviews import Reviews
from kcore_auth.serviceaccounts import Issuer, ServiceAccountTokens, open_tokens
from kcore_auth.tokens import Tokens, load

from kcore import clock, errors
from kcore.api.auth import ANONYMOUS, User
from kcore.api.routes import Call
from kcore.http.messages import Request
from kcore.metrics import Metrics
from kcore.objects import Object
from kcore.objects.resources import PODS, SERVICEACCOUNTS
from kcore.pki import Pki, x509

ISSUER = "https://kubernetes.default.svc"
GROUPS = ("system:serviceaccounts", "system:serviceaccounts:ns1")


def request(token: str = "", certificate: bytes | None = None) -> Request:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return Request("GET", "/", "", headers, peer_certificate=certificate)


async def test_a_certificate_says_user_and_groups_until_it_expires(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    clock.use_virtual()
    pem, _ = Pki.open(tmp_path).client_certificate("jane:ä", ["g2", "g1"])
    certificates = Certificates(Metrics("apiserver"))
    shown = request(certificate=x509.der(pem))
    assert await certificates.authenticate(shown) == User("jane:ä", ("g1", "g2", "system:authenticated"))
    assert await certificates.authenticate(request()) is None
    with pytest.raises(errors.Unauthorized):
        await certificates.authenticate(request(certificate=b"\x30\x82\xff\xff"))
    await trio.sleep(366 * 86400)
    with pytest.raises(errors.Unauthorized):
        await certificates.authenticate(shown)


async def test_fixed_tokens_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('# token,user,uid,groups\nadmintok,admin,admin-uid,"system:masters,b"\nweaktok,weak,u\n\n')
    tokens = Tokens(load(Path(TokensConfig(str(file)).file)))
    assert await tokens.authenticate(request("admintok")) == User("admin", ("system:masters", "b"), "admin-uid")
    assert await tokens.authenticate(request("weaktok")) == User("weak", (), "u")
    assert await tokens.authenticate(request("nope")) is None
    file.write_text("onlyatoken\n")
    with pytest.raises(errors.ConfigError, match=r"tokens.csv:1: must be token,user,uid"):
        load(file)


async def test_anonymous_is_who_shows_nothing() -> None:
    assert await Anonymous().authenticate(request()) == ANONYMOUS
    assert await Anonymous().authenticate(request("bad")) is None


class World:
    """A service account, a pod of it, and an API that knows both."""

    def __init__(self, context: Any, tokens: ServiceAccountTokens):
        self.client, self.tokens = context.client(), tokens
        server = context.part("api").server
        server.authenticators.append(tokens)
        server.authorizers.append(Rbac())
        self.reviews = Reviews(server)

    def call(self, body: Object | None, name: str = "", namespace: str = "", user: User = ANONYMOUS) -> Call:
        sent = Request("POST", "/", "", {"host": "api:6443"})
        return Call(sent, user, "create", None, namespace, name, "", "", self.client, body)

    async def token(self, **spec: Any) -> str:
        asked: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        made = await self.reviews.token_request(self.call(asked, "robot", "ns1"))
        return str(made["status"]["token"])


@asynccontextmanager
async def world(context: Any) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(open_tokens(context, ServiceAccountConfig()))
        await context.client().create(SERVICEACCOUNTS, {"metadata": {"name": "robot", "namespace": "ns1"}})
        spec = {"serviceAccountName": "robot"}
        await context.client().create(PODS, {"metadata": {"name": "p", "namespace": "ns1"}, "spec": spec})
        yield World(context, tokens)


async def test_a_requested_token_is_who_it_says(context: Any) -> None:
    async with world(context) as at:
        token = await at.token()
        user = await at.tokens.authenticate(request(token))
        account = await at.client.get(SERVICEACCOUNTS, "robot", "ns1")
    assert user == User("system:serviceaccount:ns1:robot", GROUPS, account["metadata"]["uid"])
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == [ISSUER]
    assert claims["exp"] - claims["iat"] == 3600
    assert user.extra == {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}


async def test_a_token_dies_with_the_pod_that_it_is_bound_to(
    context: Any, autojump_clock: trio.testing.MockClock
) -> None:
    clock.use_virtual()
    async with world(context) as at:
        token = await at.token(boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "p"})
        user = await at.tokens.authenticate(request(token))
        assert user is not None
        assert user.extra["authentication.kubernetes.io/pod-name"] == ["p"]
        await at.client.delete(PODS, "p", "ns1")
        await trio.sleep(10)
        with pytest.raises(errors.Unauthorized):
            await at.tokens.authenticate(request(token))


async def test_a_token_dies_with_its_account_and_with_time(
    context: Any, autojump_clock: trio.testing.MockClock
) -> None:
    clock.use_virtual()
    async with world(context) as at:
        short, long = await at.token(expirationSeconds=600), await at.token(expirationSeconds=7200)
        assert await at.tokens.authenticate(request(short))
        await trio.sleep(601)
        with pytest.raises(errors.Unauthorized):
            await at.tokens.authenticate(request(short))
        assert await at.tokens.authenticate(request(long))
        await at.client.delete(SERVICEACCOUNTS, "robot", "ns1")
        await at.client.create(SERVICEACCOUNTS, {"metadata": {"name": "robot", "namespace": "ns1"}})
        await trio.sleep(10)
        with pytest.raises(errors.Unauthorized):  # the same name, but another account
            await at.tokens.authenticate(request(long))


async def test_forged_and_foreign_tokens(context: Any, tmp_path: Path) -> None:
    async with world(context) as at:
        token = await at.token()
        head, body, signature = token.split(".")
        claims = jwt.decode(token, options={"verify_signature": False})
        foreign = Issuer(Pki.open(tmp_path / "foreign"), ServiceAccountConfig())
        unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
        other = {**claims, "sub": "system:serviceaccount:kube-system:admin"}
        hmac = jwt.encode(other, "x" * 32, "HS256")
        swapped = base64.urlsafe_b64encode(json.dumps(other).encode()).decode().rstrip("=")
        for bad in (
            f"{unsigned}.{body}.",
            f"{head}.{swapped}.{signature}",
            hmac,
            await foreign.sign(claims),
            await at.token(audiences=["other"]),
        ):
            with pytest.raises(errors.Unauthorized):
                await at.tokens.authenticate(request(bad))
        for unknown in ("a.b.c", "..", "plain", await foreign.sign({**claims, "iss": "https://other"})):
            assert await at.tokens.authenticate(request(unknown)) is None


async def test_a_token_request_that_makes_no_sense_is_refused(context: Any) -> None:
    async with world(context) as at:
        with pytest.raises(errors.Invalid, match="may not specify a duration less than 10 minutes"):
            await at.token(expirationSeconds=1)
        with pytest.raises(errors.NotFound):
            await at.token(boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "nope"})
        with pytest.raises(errors.Conflict):
            await at.token(boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "other"})
        with pytest.raises(errors.BadRequest):
            await at.token(boundObjectRef={"apiVersion": "v1", "kind": "ConfigMap", "name": "c"})


async def review(at: World, spec: Object) -> Object:
    made = await at.reviews.token_review(at.call({"kind": "TokenReview", "spec": spec}))
    status: Object = made["status"]
    return status


async def test_a_token_review_tells_who_a_token_is(context: Any) -> None:
    async with world(context) as at:
        token = await at.token()
        good = await review(at, {"token": token})
        assert (good["authenticated"], good["audiences"]) == (True, [ISSUER])
        assert good["user"]["groups"] == [*GROUPS, "system:authenticated"]
        assert await review(at, {"token": token, "audiences": ["other"]}) == {
            "error": f'[invalid bearer token, token audiences ["{ISSUER}"] is invalid for the target audiences '
            '["other"]]',
            "user": {},
        }
        assert "authenticated" not in await review(at, {"token": "nonsense"})
        with pytest.raises(errors.BadRequest, match="token is required"):
            await review(at, {})


async def test_access_reviews_ask_the_authorizers(context: Any) -> None:
    async with world(context) as at:
        boss = User("boss", ("system:masters",))
        pods = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "ns1"}}
        mine = await at.reviews.self_access_review(at.call({"spec": pods}, user=boss))
        assert mine["status"] == {"allowed": True}
        theirs = await at.reviews.access_review(at.call({"spec": {**pods, "user": "weak"}}))
        assert theirs["status"] == {"allowed": False}
        for bad in ({}, {**pods, "nonResourceAttributes": {"path": "/", "verb": "get"}}, pods):
            with pytest.raises(errors.Invalid):
                await at.reviews.access_review(at.call({"spec": bad}))
        local = at.call({"spec": {**pods, "user": "weak"}}, namespace="ns2")
        with pytest.raises(errors.Invalid):
            await at.reviews.access_review(local)


async def test_the_issuer_publishes_its_key(context: Any) -> None:
    async with world(context) as at:
        found = await at.reviews.openid(at.call(None))
        assert found["issuer"] == ISSUER
        assert found["jwks_uri"] == "https://api:6443/openid/v1/jwks"
        answer = await at.reviews.jwks(at.call(None))
        key = jwt.PyJWKSet.from_json(answer.body.decode()).keys[0]  # type: ignore[union-attr]
        assert jwt.decode(await at.token(), key, ["RS256"], audience=ISSUER)["iss"] == ISSUER
