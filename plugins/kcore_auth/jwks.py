"""The public keys of somebody else's issuer: found by OIDC discovery, kept, and fetched again when an unknown one
is needed. Only requests that show a token of that issuer wait for it."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

import msgspec
import trio

from kcore.http.client import HttpClient
from kcore.objects import Object

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
"""No symmetric one: a public key must never serve as a secret. And never none."""
_PAUSE = 1.0  # seconds between fetches that an unknown key causes
_MOST = 1024 * 1024  # bytes of a document
_TIMEOUT = 10.0


class IssuerUnreachable(Exception):
    """The issuer's documents cannot be had. The text is for the log."""


class Keys:
    """One issuer's keys by id."""

    def __init__(self, url: str, discovery_url: str = "", ca_pem: bytes = b""):
        self.url = url
        self._discovery = discovery_url or url.rstrip("/") + "/.well-known/openid-configuration"
        self._ca_pem = ca_pem
        self._context: ssl.SSLContext | None = None
        self._keys: dict[str, Any] = {}
        self._jwks_uri = ""
        self._lock = trio.Lock()
        self._fetched = float("-inf")

    def same(self, other: Keys) -> bool:
        """Whether both are of one issuer, found in one way."""
        return (self._discovery, self._ca_pem) == (other._discovery, other._ca_pem)

    async def get(self, key_id: str) -> list[Any]:
        """The keys that may have signed a token: that with the id it names, or all if it names none.

        Raises IssuerUnreachable.
        """
        found = self._find(key_id)
        if found:
            return found
        asked = trio.current_time()
        async with self._lock:  # one fetch answers all who wait for it
            if self._fetched < asked and self._fetched + _PAUSE < asked:
                await self._fetch()
        return self._find(key_id)

    def _find(self, key_id: str) -> list[Any]:
        if not key_id:
            return list(self._keys.values())
        return [self._keys[key_id]] if key_id in self._keys else []

    async def _fetch(self) -> None:
        from jwt import PyJWK, PyJWTError

        self._fetched = trio.current_time()
        if not self._jwks_uri:
            found = await self._document(self._discovery)
            if found.get("issuer") != self.url:
                raise IssuerUnreachable(f"issuer did not match: expected {self.url!r}, got {found.get('issuer')!r}")
            uri = found.get("jwks_uri")
            if not isinstance(uri, str) or not uri.startswith("https://"):
                raise IssuerUnreachable("the discovery document names no https jwks_uri")
            self._jwks_uri = uri
        try:
            found = await self._document(self._jwks_uri)
        except IssuerUnreachable:
            self._jwks_uri = ""  # it may have moved
            raise
        keys: dict[str, Any] = {}
        for number, one in enumerate(k for k in found.get("keys") or () if isinstance(k, dict)):
            if one.get("use", "sig") != "sig" or one.get("kty") not in ("RSA", "EC"):
                continue
            try:
                keys[str(one.get("kid") or f"#{number}")] = PyJWK.from_dict(one).key
            except (PyJWTError, ValueError, TypeError, KeyError):
                continue  # a kind that we do not know
        self._keys = keys

    async def _document(self, url: str) -> Object:
        if self._context is None:
            from kcore.pki import client_context

            try:
                self._context = await trio.to_thread.run_sync(client_context, self._ca_pem)
            except ValueError as error:
                raise IssuerUnreachable(f"the certificate authority cannot be used: {error}") from error
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            client = HttpClient(f"https://{parts.netloc}", self._context, timeout=_TIMEOUT, max_body=_MOST)
            try:
                answer = await client.request("GET", target, headers={"Accept": "application/json"})
            finally:
                await client.aclose()
            found = msgspec.json.decode(answer.body)
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise IssuerUnreachable(f"{url}: {error}") from error
        if answer.status != 200 or not isinstance(found, dict):
            raise IssuerUnreachable(f"{url} answered {answer.status}")
        return found
