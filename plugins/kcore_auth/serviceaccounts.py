"""Service-account tokens: signed JWTs that stand for a service account, and perhaps for one pod of it.

A token is good while its signature and times are, while its service account exists with the same uid, and while the
object that it is bound to does (Kubernetes, "Managing Service Accounts", bound tokens).
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from kcore import clock, errors
from kcore.api.access import bearer
from kcore.api.auth import User
from kcore.client import Client
from kcore.http.messages import Request
from kcore.objects import Object
from kcore.objects.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS
from kcore.pki import Pki
from kcore.registry import Context
from kcore_auth import ServiceAccountConfig, secret_tokens
from kcore_auth.tokens import peek

_KEPT = 10_000  # verified tokens
_FRESH = 5.0  # seconds for which the look at the bound objects counts
_CLAIM = "kubernetes.io"
_EXTRA = "authentication.kubernetes.io/"
_BOUND = {"pod": PODS, "secret": SECRETS, "node": NODES}


class NotForUs(Exception):
    """A good token, for other audiences than were asked for."""

    def __init__(self, audiences: list[str]):
        self.audiences = audiences
        super().__init__(f"for {audiences}")


class Issuer:
    """Makes and verifies tokens. The key is loaded, and at first made, when the first token is seen."""

    def __init__(self, pki: Pki, config: ServiceAccountConfig):
        self.url = config.issuer
        self.audiences = config.audiences or [config.issuer]
        self._pki = pki
        self._key: Any = None
        self._public: Any = None
        self._lock = trio.Lock()
        self.key_id = ""

    async def _load(self) -> None:
        async with self._lock:
            if self._key is None:
                await trio.to_thread.run_sync(self._load_now)

    def _load_now(self) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

        key = load_pem_private_key(self._pki.service_account_key(), None)
        self._public = key.public_key()
        der = self._public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key_id = _b64(hashlib.sha256(der).digest())
        self._key = key

    async def sign(self, claims: Object) -> str:
        import jwt

        await self._load()
        return jwt.encode(claims, self._key, "RS256", {"kid": self.key_id, "typ": None})

    async def verify(self, token: str) -> Object | None:
        """The claims of a token of ours whose times are good; None for somebody else's. Raises Unauthorized."""
        import jwt

        shown = peek(token)
        if shown is None or shown[1].get("iss") not in (self.url, secret_tokens.ISSUER):
            return None
        await self._load()
        checked: Any = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        try:
            claims: Object = jwt.decode(token, self._public, ["RS256"], options=checked)
            if claims["iss"] == secret_tokens.ISSUER:
                claims = secret_tokens.normal(claims, self.audiences)
        except (jwt.PyJWTError, TypeError, ValueError, KeyError) as error:
            raise errors.Unauthorized("Unauthorized") from error
        return claims

    async def jwks(self) -> Object:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        await self._load()
        numbers = self._public.public_numbers()

        def number(value: int) -> str:
            return _b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))

        key = {"use": "sig", "kty": "RSA", "kid": self.key_id, "alg": "RS256"}
        return {"keys": [{**key, "n": number(numbers.n), "e": number(numbers.e)}]}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@attrs.define
class _Verified:
    claims: Object
    user: User
    fresh_until: float = 0.0


class ServiceAccountTokens:
    """The authenticator."""

    def __init__(self, issuer: Issuer, client: Client):
        self.issuer, self._client = issuer, client
        self._verified: dict[str, _Verified] = {}

    async def authenticate(self, request: Request) -> User | None:
        token = bearer(request)
        if token.count(".") != 2:  # no JWT
            return None
        try:
            found = await self.check(token, self.issuer.audiences)
        except NotForUs as error:
            raise errors.Unauthorized("Unauthorized") from error
        return None if found is None else found[0]

    async def check(self, token: str, audiences: Sequence[str]) -> tuple[User, list[str]] | None:
        """The user and the audiences that fit; None for a token that is not ours.

        Raises NotForUs, or Unauthorized for a token that is ours but bad.
        """
        known = self._verified.get(token)
        if known is None:
            claims = await self.issuer.verify(token)
            if claims is None:
                return None
            known = _Verified(claims, _user(claims))
            if len(self._verified) >= _KEPT:
                self._verified.clear()
            self._verified[token] = known
        now = clock.now()
        claims = known.claims
        if not claims.get("nbf", 0) <= now < claims.get("exp", 0):
            self._verified.pop(token, None)
            raise errors.Unauthorized("Unauthorized")
        meant = claims.get("aud") or []
        meant = [meant] if isinstance(meant, str) else meant
        fitting = [a for a in meant if a in audiences]
        if not fitting:
            raise NotForUs(meant)
        if known.fresh_until <= now:
            await self._alive(claims[_CLAIM], token)
            known.fresh_until = now + _FRESH
        return known.user, fitting

    async def _alive(self, said: Object, token: str) -> None:
        """Raises Unauthorized unless everything that the token is bound to is still there, and the same."""
        namespace = said["namespace"]
        wanted = [(SERVICEACCOUNTS, namespace, said["serviceaccount"])]
        for member in ("pod", "secret"):
            if member in said:
                wanted.append((_BOUND[member], namespace, said[member]))
        if "node" in said and "uid" in said["node"]:
            wanted.append((NODES, "", said["node"]))
        for resource, where, ref in wanted:
            try:
                found = await self._client.get(resource, ref["name"], where)
            except errors.NotFound:
                raise errors.Unauthorized("Unauthorized") from None
            in_secret = resource is SECRETS and "uid" not in ref
            if not (secret_tokens.holds(found, token) if in_secret else found["metadata"]["uid"] == ref.get("uid")):
                raise errors.Unauthorized("Unauthorized")


def _user(claims: Object) -> User:
    try:
        said = claims[_CLAIM]
        namespace, account = said["namespace"], said["serviceaccount"]
        name = f"system:serviceaccount:{namespace}:{account['name']}"
        if claims.get("sub") != name:
            raise KeyError("sub")
        extra = {f"{_EXTRA}credential-id": [f"JTI={claims['jti']}"]} if claims.get("jti") else {}
        for member in ("node", "pod"):
            if member in said:
                extra[f"{_EXTRA}{member}-name"] = [said[member]["name"]]
                if "uid" in said[member]:
                    extra[f"{_EXTRA}{member}-uid"] = [said[member]["uid"]]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return User(name, groups, account["uid"], extra)
    except (KeyError, TypeError) as error:
        raise errors.Unauthorized("Unauthorized") from error


async def claims_for(issuer: Issuer, client: Client, account: Object, spec: Object) -> Object:
    """The claims of a new token as a TokenRequest's (defaulted) spec asks for them. Raises NotFound, Conflict,
    BadRequest."""
    meta = account["metadata"]
    now = int(clock.now())
    private: Object = {
        "namespace": meta["namespace"],
        "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
    }
    bound = spec.get("boundObjectRef")
    if bound:
        private |= await _bound_claims(client, meta, bound)
    return {
        "aud": spec["audiences"],
        "exp": now + spec["expirationSeconds"],
        "iat": now,
        "iss": issuer.url,
        "jti": str(uuid.uuid4()),
        _CLAIM: private,
        "nbf": now,
        "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
    }


async def _bound_claims(client: Client, account: Object, bound: Object) -> Object:
    kind, name = bound.get("kind", ""), bound.get("name", "")
    member = kind.lower()
    if kind not in ("Pod", "Secret", "Node") or bound.get("apiVersion", "v1") != "v1":
        raise errors.BadRequest(f"cannot bind token for serviceaccount to kind {bound.get('apiVersion')}, Kind={kind}")
    resource = _BOUND[member]
    found = await client.get(resource, name, account["namespace"] if resource.namespaced else "")
    uid = found["metadata"]["uid"]
    if bound.get("uid") and bound["uid"] != uid:
        why = (
            f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(resource.resource, name, why)
    out: Object = {member: {"name": name, "uid": uid}}
    if kind == "Pod":
        spec = found["spec"]
        if spec.get("serviceAccountName") != account["name"]:
            raise errors.BadRequest(
                f"cannot bind token for serviceaccount {account['name']!r} to pod running with different "
                "serviceaccount name."
            )
        if spec.get("nodeName"):
            out["node"] = {"name": spec["nodeName"]}
            try:
                out["node"]["uid"] = (await client.get(NODES, spec["nodeName"]))["metadata"]["uid"]
            except errors.NotFound:
                pass
    return out


@asynccontextmanager
async def open_tokens(context: Context, config: ServiceAccountConfig) -> AsyncIterator[ServiceAccountTokens]:
    pki = context.part("api").pki
    yield ServiceAccountTokens(Issuer(pki, config), context.client())
