"""Tokens of other issuers: mapped by claim and by expression, and refused whatever is wrong with them."""

from __future__ import annotations

import hashlib
import hmac
import logging
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
from kcore_auth import FileConfig
from kcore_auth.oidc import Configured, load, open_config

from kcore import errors
from kcore.api.auth import ANONYMOUS, User
from kcore.errors import ConfigError
from kcore.http.messages import Request

from .issuer import FakeIssuer, fake_issuer, unsigned

MAPPINGS = """
claimMappings:
  username: {claim: sub, prefix: "oidc:"}
  groups: {claim: groups, prefix: ""}
"""
EXPRESSIONS = """
claimValidationRules:
- {claim: hd, requiredValue: example.com}
- {expression: 'claims.exp - claims.iat <= 3600', message: too long a life}
claimMappings:
  username: {expression: 'claims.email_verified ? claims.email.split("@")[0] : ""'}
  groups: {expression: 'claims.roles.split(",")'}
  uid: {claim: sub}
  extra:
  - {key: example.org/tenant, valueExpression: claims.tenant}
userValidationRules:
- {expression: '!user.username.startsWith("system:")', message: no system users}
- {expression: "user.groups.all(g, !g.startsWith('system:'))"}
"""


def write(directory: Path, issuer: FakeIssuer, rules: str = MAPPINGS, more: str = "") -> Path:
    authority = textwrap.indent(issuer.ca_pem.decode(), " " * 6)
    text = (
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n"
        f"    url: {issuer.url}\n    audiences: [kcore]\n    certificateAuthority: |\n{authority}"
        f"{textwrap.indent(rules.strip(), '  ')}\n{more}"
    )
    file = directory / "authentication.yaml"
    file.write_text(text)
    return file


def asked(token: str, path: str = "/") -> Request:
    return Request("GET", path, "", {"authorization": f"Bearer {token}"} if token else {})


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[FakeIssuer]:
    async with fake_issuer(tmp_path) as found:
        yield found


def configured(directory: Path, issuer: FakeIssuer, rules: str = MAPPINGS, more: str = "") -> Configured:
    return Configured(load(write(directory, issuer, rules, more)), logging.getLogger("test"))


async def test_claims_become_user_and_groups(issuer: FakeIssuer, tmp_path: Path) -> None:
    found = configured(tmp_path, issuer)
    token = issuer.token(groups=["a", "b"])
    assert await found.authenticate(asked(token)) == User("oidc:jane", ("a", "b"))
    assert await found.authenticate(asked(issuer.token(groups="one"))) == User("oidc:jane", ("one",))
    assert await found.authenticate(asked(issuer.token(aud=["x", "kcore"]))) == User("oidc:jane")
    assert issuer.fetched == 1
    assert await found.authenticate(asked("opaque")) is None
    assert await found.authenticate(asked(issuer.token(iss="https://else"))) is None
    assert await found.authenticate(asked("")) is None


async def test_expressions_map_and_judge(issuer: FakeIssuer, tmp_path: Path) -> None:
    found = configured(tmp_path, issuer, EXPRESSIONS)
    good: dict[str, Any] = {
        "hd": "example.com",
        "email": "jane@example.com",
        "email_verified": True,
        "roles": "dev,ops",
        "tenant": "t1",
    }
    user = await found.authenticate(asked(issuer.token(**good)))
    assert user == User("jane", ("dev", "ops"), "jane")
    assert user is not None
    assert user.extra == {"example.org/tenant": ["t1"]}
    for wrong in (
        {"hd": "evil.com"},
        {"hd": None},
        {"email": "system:admin@example.com"},
        {"email_verified": False},
        {"roles": "system:masters"},
        {"roles": None},
        {"exp": int(time.time()) + 7200},
    ):
        with pytest.raises(errors.Unauthorized):
            await found.authenticate(asked(issuer.token(**{**good, **wrong})))


async def test_forged_foreign_and_stale_tokens_are_refused(issuer: FakeIssuer, tmp_path: Path) -> None:
    found = configured(tmp_path, issuer)
    now = int(time.time())
    claims = {"iss": issuer.url, "aud": "kcore", "sub": "root", "exp": now + 600}
    # the issuer's public key as the secret of a symmetric signature
    signed = unsigned(claims, {"alg": "HS256", "kid": "one"})
    mac = hmac.new(issuer.public_pem(), signed[:-1].encode(), hashlib.sha256).digest()
    bad = [
        unsigned(claims, {"alg": "none"}),
        unsigned(claims, {"alg": "nOnE", "kid": "one"}),
        unsigned(claims, {"alg": ["RS256"], "kid": {"a": 1}}),
        signed + jwt.utils.base64url_encode(mac).decode(),
        issuer.token(aud="else"),
        issuer.token(aud=None),
        issuer.token(aud={"kcore": 1}),
        issuer.token(exp=now - 1),
        issuer.token(exp=None),
        issuer.token(exp="tomorrow"),
        issuer.token(nbf=now + 3600),
        issuer.token(sub=None),
        issuer.token(sub=["jane"]),
        issuer.token(groups=[["a"]]),
        issuer.token()[:-8] + "AAAAAAAA",
    ]
    for token in bad:
        with pytest.raises(errors.Unauthorized):
            await found.authenticate(asked(token))
    for garbage in ("a.b.c", "..", "e30.e30.", "." * 10, "\xff.\xff.\xff"):
        assert await found.authenticate(asked(garbage)) is None
    deep = jwt.utils.base64url_encode(b"[" * 100_000).decode()
    assert await found.authenticate(asked(f"{deep}.{deep}.x")) is None


async def test_a_new_key_is_fetched_when_it_is_first_seen(
    issuer: FakeIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kcore_auth.jwks._PAUSE", 0.0)
    found = configured(tmp_path, issuer)
    assert await found.authenticate(asked(issuer.token())) == User("oidc:jane")
    old = issuer.token(jti="another")
    issuer.rotate("two", "EC")
    assert await found.authenticate(asked(issuer.token())) == User("oidc:jane")
    assert issuer.fetched == 2
    with pytest.raises(errors.Unauthorized):  # its key has gone
        await found.authenticate(asked(old))


async def test_unknown_keys_do_not_make_a_flood_of_fetches(issuer: FakeIssuer, tmp_path: Path) -> None:
    found = configured(tmp_path, issuer)
    await found.authenticate(asked(issuer.token()))

    async def one(number: int) -> None:
        with pytest.raises(errors.Unauthorized):
            await found.authenticate(asked(issuer.token(header={"kid": f"unknown-{number}"})))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)
    assert issuer.fetched <= 2


async def test_an_issuer_that_calls_itself_otherwise_is_not_believed(issuer: FakeIssuer, tmp_path: Path) -> None:
    issuer.claimed = "https://else.example.com"
    with pytest.raises(errors.Unauthorized):
        await configured(tmp_path, issuer).authenticate(asked(issuer.token()))


async def test_the_file_says_who_may_be_anonymous(issuer: FakeIssuer, tmp_path: Path) -> None:
    more = "anonymous: {enabled: true, conditions: [{path: /healthz}]}\n"
    found = configured(tmp_path, issuer, more=more)
    assert await found.authenticate(asked("", "/healthz")) == ANONYMOUS
    assert await found.authenticate(asked("", "/version")) is None


async def test_a_changed_file_counts_at_once_and_a_wrong_one_does_not(
    issuer: FakeIssuer, tmp_path: Path, context: Any
) -> None:
    file = write(tmp_path, issuer)
    async with open_config(context, FileConfig(str(file))) as found:
        assert await found.authenticate(asked(issuer.token())) == User("oidc:jane")
        await trio.testing.wait_all_tasks_blocked()
        write(tmp_path, issuer, MAPPINGS.replace("oidc:", "other:"))
        with trio.fail_after(5):
            while True:
                user = await found.authenticate(asked(issuer.token()))
                if user == User("other:jane"):
                    break
                await trio.sleep(0.01)
        file.write_text("kind: Nonsense")
        await trio.sleep(0.2)
        assert await found.authenticate(asked(issuer.token())) == User("other:jane")
        assert issuer.fetched == 1  # the keys stay while the issuer is the same


def test_what_is_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "authentication.yaml"
    file.write_text(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
        "jwt:\n- issuer: {url: 'http://x', audiences: []}\n"
        "  claimMappings:\n    username: {expression: 'claims.email'}\n    groups: {claim: groups}\n"
        "  userValidationRules: [{expression: 'user.nobody'}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file)
    text = str(caught.value)
    for part in (
        "URL scheme must be https",
        "at least one issuer.audiences",
        "claims.email_verified",
        "groups.prefix",
    ):
        assert part in text
    assert "undefined field 'nobody'" in text
