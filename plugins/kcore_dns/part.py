"""The open part: sockets, and the tasks behind them."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from kcore import dns
from kcore.api.auth import User
from kcore.client.informer import Informers
from kcore.dns import service
from kcore.dns.records import Records
from kcore.registry import Context
from kcore_dns import DnsConfig
from kcore_dns.answers import Answers
from kcore_dns.forward import Forwarder
from kcore_dns.measures import Collector, Measures
from kcore_dns.replies import Cache
from kcore_dns.resolver import Resolver
from kcore_dns.server import Server
from kcore_dns.sockets import Sockets, bind_both

SELF = User("system:kube-dns", ("system:masters", "system:authenticated"))
"""In this process; a server in a process of its own is whoever its kubeconfig says."""


@attrs.define(eq=False)
class Part:
    """See `kcore.dns.Dns`."""

    address: str
    sockets: Sockets
    records: Records

    def served(self) -> list[tuple[str, str, int]]:
        return [("UDP", self.sockets.address, self.sockets.port), ("TCP", self.sockets.address, self.sockets.port)]

    async def settled(self) -> None:
        await self.records.wait_synced()

    def notes(self) -> list[str]:
        if self.sockets.port == self.sockets.asked or not self.sockets.asked:
            return []
        where = f"{self.sockets.address}:{self.sockets.port}"
        return [f"cluster DNS answers at {where}: this user may not listen on {self.sockets.asked}, or it is taken"]


@asynccontextmanager
async def open_part(context: Context, config: DnsConfig) -> AsyncIterator[Part]:
    """Answers when it yields; names of the cluster are complete soon after (until then missing ones are SERVFAIL)."""
    address = config.service_ip or dns.service_address(context.cluster.service_cidr)
    sockets = bind_both(config.address or _where(address), config.port)
    client = context.client(SELF)
    informers = Informers(client)
    domain = context.cluster.domain
    records = Records(informers, domain, service=address, ttl=config.ttl, pods=config.pods)
    measures, cache = Measures(domain), Cache(config.cache_entries, config.cache_seconds)
    own = {(sockets.address, sockets.port), (address, dns.PORT)}
    forwarder = Forwarder(
        config.forward,
        config.stub_domains,
        seconds=config.forward_seconds,
        limit=config.max_forwards,
        cache=cache,
        measures=measures,
        log=context.log,
        own=lambda: own,
    )
    forwards = bool(config.forward or config.stub_domains)
    resolver = Resolver(Answers(records), forwarder, _clients(context, config), forwards=forwards)
    server = Server(resolver, measures, domain, config.max_connections, config.idle_seconds, context.log)
    context.metrics.collect_with(Collector(measures, cache, lambda: f"dns://:{sockets.port}"))
    part = Part(address, sockets, records)
    async with sockets, trio.open_nursery() as nursery:
        await nursery.start(informers.run)
        nursery.start_soon(server.serve_udp, sockets.udp, nursery)
        nursery.start_soon(server.serve_tcp, sockets.tcp)
        nursery.start_soon(_publish, client, part, context.log)
        yield part
        nursery.cancel_scope.cancel()


async def _publish(client: object, part: Part, log: logging.Logger) -> None:
    await service.publish(client, part.address, part.served(), log)  # type: ignore[arg-type]


def _clients(context: Context, config: DnsConfig) -> list[str]:
    """The networks that may ask for everything; [] when the ranges of the cluster are private anyway."""
    if config.clients:
        return config.clients
    cluster = context.cluster
    own = [cluster.pod_cidr, cluster.service_cidr, cluster.node_cidr]
    if all(ipaddress.ip_network(network).is_private for network in own):
        return []
    return [*own, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128"]


def _where(address: str) -> str:
    """The service's own address where anybody may bind it; otherwise this machine's, as others see it."""
    if address.startswith("127."):
        return address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))  # nothing is sent
        except OSError:  # no way out: nobody but this machine asks
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
        found: str = sock.getsockname()[0]
        return found
