"""The API server over HTTPS (kube-apiserver's front end): `kcore.api.server.ApiServer` behind `kcore.http`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider
from kcore_api_http.order import ADMISSION, AUTHENTICATION

__all__ = ["ADMISSION", "AUTHENTICATION", "Config", "kcore_api"]


@attrs.frozen
class Config:
    """``[api]`` with ``use = "http"``. An entry of a list is a plugin's name; its own settings stand in `settings`."""

    address: str = "127.0.0.1"
    """Where to listen: an address of this machine."""
    port: int = 6443
    """The port; 0 takes a free one."""
    advertise_address: str = ""
    """Where nodes and pods reach this server: what stands behind the Service ``kubernetes``. Empty: `address`, or
    where that is every address, the one from which this machine reaches others."""
    hostnames: list[str] = attrs.Factory(list)
    """More names and addresses for the server's certificate, beside localhost, the address and the service names."""
    kinds: list[str] = attrs.Factory(list)
    """The plugins whose kinds are served; empty for all that are installed."""
    authentication: list[str] = attrs.field(factory=lambda: list(AUTHENTICATION))
    """Who is asking: tried in this order."""
    authorization: list[str] = attrs.field(factory=lambda: ["node", "rbac"])
    """May they: asked in this order until one has an opinion."""
    admission: list[str] = attrs.field(factory=lambda: list(ADMISSION))
    """What sees every write. They run in upstream's order, others between its own and its webhooks."""
    routes: list[str] = attrs.field(factory=lambda: ["reviews", "nodes", "metrics"])
    """What answers requests that the store does not."""
    extensions: list[str] = attrs.field(factory=lambda: ["custom-resources", "aggregation"])
    """What changes the API while it serves: custom resources, aggregated APIs."""
    audit: list[str] = attrs.Factory(list)
    """Where audit events go: sinks."""
    audit_policy: str = ""
    """The audit policy: a file with an ``audit.k8s.io/v1`` Policy, relative to the data directory. It is read again
    when it changes."""
    encryption: str = ""
    """Encryption at rest: a file with an ``apiserver.config.k8s.io/v1`` EncryptionConfiguration, relative to the data
    directory. It is read again when it changes."""
    settings: dict[str, dict[str, Any]] = attrs.Factory(dict)
    """Settings of the plugins above, by name."""
    priority_and_fairness: bool = True
    """Whether FlowSchemas and PriorityLevelConfigurations decide who waits when there is much to do."""
    max_requests_inflight: int = 400
    """With the next one: the seats that priority levels share."""
    max_mutating_requests_inflight: int = 200
    """With the one before: the seats that priority levels share."""
    max_body_bytes: int = 3 * 1024 * 1024
    """The largest request body."""
    max_header_bytes: int = 64 * 1024
    """A request's line and header fields together; the request target alone may have a quarter of it."""
    request_timeout_seconds: float = 60.0
    """How long a request may take that is no watch, log, exec, attach, proxy or port-forward (504)."""
    max_connections: int = 10_000
    """Open connections at a time."""
    max_streams: int = 20_000
    """Watches, exec and port-forward sessions at a time."""
    shutdown_delay_seconds: float = 0.0
    """How long the server goes on serving when it has been told to stop, while ``/readyz`` fails."""
    grace_seconds: float = 1.0
    """How long requests in flight may take to finish when the server stops."""


@asynccontextmanager
async def _open(context: Context, config: Config) -> AsyncIterator[Any]:
    from kcore_api_http.part import open_api

    async with open_api(context, config) as part:
        yield part


@hookimpl
def kcore_api() -> Iterable[Provider[Any]]:
    return [Provider("http", _open, Config, help="The Kubernetes API over HTTPS", exclusive=True)]
