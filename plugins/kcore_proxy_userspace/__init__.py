"""The userspace proxy: listens on every service address itself, and copies bytes. Needs no root and no iptables.

It suits service ranges inside 127.0.0.0/8, where Linux lets anybody bind any address. Root may have any other range:
a route then makes all its addresses this machine's own, and pods with networks of their own reach them as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from kcore import Context, Provider, hookimpl
from kcore.errors import UserError
from kcore.loopback import MOVE
from kcore.proxy import Proxy, tracker


@attrs.frozen
class UserspaceConfig:
    """Settings of the userspace proxy."""

    node: str = ""
    """The node whose endpoints are local, for traffic policies; empty: this process serves all nodes."""
    udp_timeout: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    """Seconds after which a silent UDP client is forgotten."""
    max_connections: int = attrs.field(default=10000, validator=attrs.validators.ge(1))
    """Connections that are open at once; more wait in the kernel's queue."""
    port_offset: int = MOVE
    """What is added to a port below 1024 that this user may not listen on."""
    drain_seconds: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    """How long connections may go on when the proxy is closed or swapped: time for a request to be answered."""


@asynccontextmanager
async def open_userspace(context: Context, config: UserspaceConfig) -> AsyncIterator[Proxy]:
    from kcore_proxy_userspace.backend import UserspaceBackend

    async with _reachable(context.cluster.service_cidr), trio.open_nursery() as connections:
        async with trio.open_nursery() as listeners:
            backend = UserspaceBackend(listeners, connections, config, context.log, context.metrics)
            async with tracker.run(
                context.client(), backend, node=config.node, metrics=context.metrics, health_address="lo"
            ) as proxy:
                yield proxy
            listeners.cancel_scope.cancel()
        connections.cancel_scope.deadline = trio.current_time() + config.drain_seconds


@asynccontextmanager
async def _reachable(service_cidr: str) -> AsyncIterator[None]:
    """Outside 127.0.0.0/8 the services' addresses are nobody's, until they are made this machine's own."""
    if service_cidr.startswith("127."):
        yield
        return
    from kcore.linux.network import NetworkFailure, local_range

    try:
        async with local_range(service_cidr):
            yield
    except NetworkFailure as error:
        raise UserError(f"{error}; run as root, or choose a range inside 127.0.0.0/8: cluster.service_cidr") from error


@hookimpl
def kcore_proxy() -> list[Provider[Proxy]]:
    return [Provider("userspace", open_userspace, UserspaceConfig, "Copies bytes itself; no root needed")]
