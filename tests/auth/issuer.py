"""An OpenID Connect issuer for tests: discovery and keys over TLS, and tokens of all kinds."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import jwt
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kcore.http.listen import bound, listen
from kcore.http.messages import Request, Response
from kcore.http.server import serve
from kcore.pki import Pki


def _key(kid: str, kind: str = "RSA") -> tuple[str, Any]:
    if kind == "EC":
        return kid, ec.generate_private_key(ec.SECP256R1())
    return kid, rsa.generate_private_key(65537, 2048)


@attrs.define
class FakeIssuer:
    url: str
    ca_pem: bytes
    keys: dict[str, Any]
    fetched: int = 0
    claimed: str = ""
    """What the discovery document calls the issuer, if not its address."""

    async def handle(self, request: Request) -> Response:
        if request.path == "/.well-known/openid-configuration":
            return _json({"issuer": self.claimed or self.url, "jwks_uri": f"{self.url}/keys"})
        if request.path == "/keys":
            self.fetched += 1
            return _json({"keys": [_jwk(kid, key) for kid, key in self.keys.items()]})
        return Response(404)

    def rotate(self, kid: str, kind: str = "RSA") -> None:
        self.keys = dict([_key(kid, kind)])

    def token(self, kid: str = "", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        kid = kid or next(iter(self.keys))
        now = int(time.time())
        said = {"iss": self.url, "aud": "kcore", "sub": "jane", "iat": now, "exp": now + 600, **claims}
        key = self.keys[kid]
        algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        return jwt.encode(
            {k: v for k, v in said.items() if v is not None}, key, algorithm, {"kid": kid, **(header or {})}
        )

    def public_pem(self) -> bytes:
        key = next(iter(self.keys.values())).public_key()
        pem: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return pem


def _json(doc: Any) -> Response:
    return Response(200, json.dumps(doc).encode())


def _jwk(kid: str, key: Any) -> dict[str, Any]:
    public = key.public_key()
    algorithm: Any = jwt.algorithms.ECAlgorithm if hasattr(public, "curve") else jwt.algorithms.RSAAlgorithm
    return {**json.loads(algorithm.to_jwk(public)), "kid": kid, "use": "sig"}


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    """A JWT with nothing behind the last dot."""
    parts = (base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in (header, claims))
    return ".".join(parts) + "."


@asynccontextmanager
async def fake_issuer(directory: Path) -> AsyncIterator[FakeIssuer]:
    pki = Pki.open(directory)
    listener = await listen(0, "127.0.0.1")
    issuer = FakeIssuer(f"https://127.0.0.1:{bound(listener)[1]}", pki.ca_pem, dict([_key("one")]))
    async with trio.open_nursery() as nursery:
        context = pki.server_context(["127.0.0.1"])
        await nursery.start(partial(serve, issuer.handle, [listener], ssl_context=context))
        yield issuer
        nursery.cancel_scope.cancel()
