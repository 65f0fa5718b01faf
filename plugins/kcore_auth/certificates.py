"""Client certificates: the common name is the user, the organizations are the groups.

The TLS layer has verified the certificate against the cluster's CA; here it is only read, once for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kcore import clock, errors
from kcore.api.auth import User
from kcore.http.messages import Request
from kcore.pki import x509
from kcore.registry import Context, NoConfig

_KEPT = 10_000  # certificates that are remembered


class Certificates:
    def __init__(self) -> None:
        self._known: dict[bytes, tuple[User, float, float]] = {}

    async def authenticate(self, request: Request) -> User | None:
        certificate = request.peer_certificate
        if certificate is None:
            if request.peer_unverified is not None:  # another authority's, unless it is a front proxy's
                raise errors.Unauthorized("Unauthorized")
            return None
        found = self._known.get(certificate)
        if found is None:
            found = self._read(certificate)
        if not found[1] <= clock.now() <= found[2]:  # a connection may outlive its certificate
            raise errors.Unauthorized("Unauthorized")
        return found[0]

    def _read(self, certificate: bytes) -> tuple[User, float, float]:
        try:
            said = x509.summary(certificate)
        except ValueError as error:
            raise errors.Unauthorized("Unauthorized") from error
        if not said.common_name:
            raise errors.Unauthorized("Unauthorized")
        if len(self._known) >= _KEPT:
            self._known.clear()
        found = (User(said.common_name, said.organizations), said.not_before, said.not_after)
        self._known[certificate] = found
        return found


@asynccontextmanager
async def open_certificates(context: Context, config: NoConfig) -> AsyncIterator[Certificates]:
    yield Certificates()
