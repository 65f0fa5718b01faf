"""Requests that a node answers: ``pods/log``, ``exec``, ``attach``, ``portforward``, and ``proxy`` of pods, services,
nodes.

The API server dials the kubelet over TLS with a client certificate of its own, forwards the request, and passes bytes
on in both directions as they come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import attrs

from kcore.api.routes import Routes
from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider


@attrs.frozen
class NodesRoutesConfig:
    """``[api.routes.nodes]``"""

    connect_seconds: float = 5.0
    """How long a node has to accept a connection."""
    address_types: list[str] = attrs.Factory(lambda: ["InternalIP", "ExternalIP", "Hostname"])
    """Which of a node's addresses to dial, in order of preference."""


@asynccontextmanager
async def open_routes(context: Context, config: NodesRoutesConfig) -> AsyncIterator[Routes]:
    from kcore_routes_nodes.dial import Kubelets
    from kcore_routes_nodes.handlers import NodeRoutes

    yield NodeRoutes(Kubelets(context, config)).routes()


@hookimpl
def kcore_route() -> Iterable[Provider[Routes]]:
    return [Provider("nodes", open_routes, NodesRoutesConfig, help="Logs, exec and proxying, answered by nodes")]
