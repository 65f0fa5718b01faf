"""Client certificates: the common name is the user, the organizations are the groups.

The TLS layer has verified the certificate against the cluster's CA; here it is only read, once for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kcore import clock, errors
from kcore.api.auth import AUTHENTICATED, User
from kcore.http.messages import Request
from kcore.metrics import Metrics
from kcore.metrics.plain import Durations
from kcore.pki import x509
from kcore.registry import Context, NoConfig

if TYPE_CHECKING:
    from prometheus_client import Metric

_HOUR, _DAY = 3600.0, 86400.0
_LEFT = (
    0.0, _HOUR / 2, _HOUR, 2 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY,
    180 * _DAY, 360 * _DAY,
)  # fmt: skip
_KEPT = 10_000  # certificates that are remembered


class Certificates:
    def __init__(self, metrics: Metrics) -> None:
        self._known: dict[bytes, tuple[User, float, float]] = {}
        self._left = Durations(
            "apiserver_client_certificate_expiration_seconds",
            "Distribution of the remaining lifetime on the certificate used to authenticate a request.",
            (),
            _LEFT,
        )
        metrics.collect_with(self)

    def collect(self) -> Iterator[Metric]:
        yield self._left.family()

    async def authenticate(self, request: Request) -> User | None:
        certificate = request.peer_certificate
        if certificate is None:
            if request.peer_unverified is not None:  # another authority's, unless it is a front proxy's
                raise errors.Unauthorized("Unauthorized")
            return None
        found = self._known.get(certificate)
        if found is None:
            found = self._read(certificate)
        now = clock.now()
        self._left.observe(found[2] - now)
        if not found[1] <= now <= found[2]:  # a connection may outlive its certificate
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
        groups = (*said.organizations, AUTHENTICATED)  # once, not for every request
        found = (User(said.common_name, groups), said.not_before, said.not_after)
        self._known[certificate] = found
        return found


@asynccontextmanager
async def open_certificates(context: Context, config: NoConfig) -> AsyncIterator[Certificates]:
    yield Certificates(context.metrics)
