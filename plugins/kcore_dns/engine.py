"""Everything behind the sockets, put together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import trio

from kcore import dns
from kcore.client import Client
from kcore.client.informer import Informers
from kcore.dns.records import Records
from kcore.registry import Context
from kcore_dns import DnsConfig
from kcore_dns.answers import Answers
from kcore_dns.forward import Forwarder
from kcore_dns.measures import Collector, Measures
from kcore_dns.replies import Cache
from kcore_dns.resolver import Resolver
from kcore_dns.server import Server
from kcore_dns.sockets import Sockets

SYNC_SECONDS = 5.0
"""How long the first questions wait for the cluster's objects; then what is not known is SERVFAIL."""


class Engine:
    """Serves the sockets while it runs."""

    def __init__(self, context: Context, config: DnsConfig, client: Client, sockets: Sockets, address: str) -> None:
        domain = context.cluster.domain
        self._sockets, self._informers = sockets, Informers(client)
        self.records = Records(self._informers, domain, service=address, ttl=config.ttl, pods=config.pods)
        self._measures, self._cache = Measures(), Cache(config.cache_entries, config.cache_seconds)
        own = {(sockets.address, sockets.port), (address, dns.PORT)}
        forwarder = Forwarder(
            config.forward,
            config.stub_domains,
            seconds=config.forward_seconds,
            limit=config.max_forwards,
            cache=self._cache,
            measures=self._measures,
            log=context.log,
            own=lambda: own,
        )
        forwards = bool(config.forward or config.stub_domains)
        resolver = Resolver(Answers(self.records), forwarder, _clients(context, config), forwards=forwards)
        self._server = Server(
            resolver, self._measures, domain, config.max_connections, config.idle_seconds, context.log
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._informers.run)
            with trio.move_on_after(SYNC_SECONDS):
                await self.records.wait_synced()
            nursery.start_soon(self._server.serve_udp, self._sockets.udp, nursery)
            nursery.start_soon(self._server.serve_tcp, self._sockets.tcp)
            task_status.started()

    def collect(self) -> Iterator[Any]:
        return Collector(self._measures, self._cache, f"dns://:{self._sockets.port}").collect()


def _clients(context: Context, config: DnsConfig) -> list[str]:
    """The networks that may ask for everything; [] when the ranges of the cluster are private anyway."""
    if config.clients:
        return config.clients
    cluster = context.cluster
    own = [cluster.pod_cidr, cluster.service_cidr, cluster.node_cidr]
    if all(ipaddress.ip_network(network).is_private for network in own):
        return []
    return [*own, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128"]
