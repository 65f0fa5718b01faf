"""Front proxies: who shows a certificate of their authority says in headers for whom the request is.

(Kubernetes, "Authenticating Proxy".) The headers of anybody else mean nothing. An API server in front of this one --
the aggregator -- is such a proxy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import trio

from kcore import clock
from kcore.api.auth import User
from kcore.errors import ConfigError
from kcore.http.messages import Request, values
from kcore.pki import Pki, x509
from kcore.registry import Context
from kcore_auth import RequestHeaderConfig

_KEPT = 1000  # certificates that are remembered
_NOBODY = ("", 0.0, 0.0)


class RequestHeader:
    """The authenticator."""

    def __init__(self, authority: Callable[[], bytes], config: RequestHeaderConfig, *, shared: bool = False):
        """`authority` is called in a thread when the first proxy comes; `shared`: it is the users' own as well."""
        self._authority, self._names, self._shared = authority, frozenset(config.allowed_names), shared
        self._users = [h.lower() for h in config.username_headers]
        self._uids = [h.lower() for h in config.uid_headers]
        self._groups = [h.lower() for h in config.group_headers]
        self._extra = tuple(p.lower() for p in config.extra_headers_prefixes)
        self._known: dict[bytes, tuple[str, float, float]] = {}
        self._authorities: list[Any] = []

    async def authenticate(self, request: Request) -> User | None:
        certificate = request.peer_unverified
        if certificate is None:
            certificate = request.peer_certificate
            if certificate is None or not self._shared:
                return None
        headers = request.headers
        name = _first(headers, self._users)
        if not name:
            return None
        found = self._known.get(certificate)
        if found is None:
            found = await trio.to_thread.run_sync(self._look, certificate)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[certificate] = found
        proxy, begins, ends = found
        if not begins <= clock.now() <= ends or (self._names and proxy not in self._names):
            return None  # what follows calls the certificate bad
        groups = [g for header in self._groups for g in values(headers, header) if g]
        extra = {
            unquote(key[len(prefix) :]).lower(): values(headers, key)
            for prefix in self._extra
            for key in headers
            if key.startswith(prefix)
        }
        user = User(name, tuple(groups), _first(headers, self._uids), extra)
        self._hide(request)
        return user

    def _hide(self, request: Request) -> None:
        """What a proxy said is not passed on."""
        own = {*self._users, *self._uids, *self._groups}
        for key in [k for k in request.headers if k in own or k.startswith(self._extra)]:
            del request.headers[key]

    def _look(self, certificate: bytes) -> tuple[str, float, float]:
        """(common name, valid from, until) of a certificate of the front proxies' authority; in a thread."""
        from cryptography import x509 as cx
        from cryptography.exceptions import InvalidSignature

        if not self._authorities:
            self._authorities = list(cx.load_pem_x509_certificates(self._authority()))
        try:
            shown = cx.load_der_x509_certificate(certificate)
            said = x509.summary(certificate)
            try:
                purposes = shown.extensions.get_extension_for_class(cx.ExtendedKeyUsage).value
                if cx.OID_CLIENT_AUTH not in purposes:
                    return _NOBODY
            except cx.ExtensionNotFound:
                pass
        except ValueError:
            return _NOBODY
        for authority in self._authorities:
            try:
                shown.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return said.common_name, said.not_before, said.not_after
        return _NOBODY


def _first(headers: dict[str, str], names: list[str]) -> str:
    for name in names:
        for value in values(headers, name):
            if value:
                return value
    return ""


def _authority(context: Context, config: RequestHeaderConfig) -> bytes:
    """The PEM in the file. Raises ConfigError."""
    try:
        pem = context.file(config.client_ca_file).read_bytes()
        x509.der(pem)
    except (OSError, ValueError) as error:
        raise ConfigError([f"api.settings.request-header.client_ca_file: {error}"]) from error
    return pem


@asynccontextmanager
async def open_request_header(context: Context, config: RequestHeaderConfig) -> AsyncIterator[RequestHeader]:
    pki: Pki = context.part("api").pki
    if config.client_ca_file:
        pem = await trio.to_thread.run_sync(_authority, context, config)
        yield RequestHeader(lambda: pem, config, shared=pem.strip() == pki.ca_pem.strip())
    else:
        yield RequestHeader(lambda: pki.front_proxy().ca_pem, config)
