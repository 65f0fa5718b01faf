"""The cluster's DNS server, over UDP and TCP: services, headless services and pods; other names are asked of the
servers that this machine uses.

It listens at the address of the Service kube-dns where anybody may bind that (127.0.0.0/8); elsewhere at an address of
this machine, and the service proxy carries the Service to it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider

if TYPE_CHECKING:
    from kcore.dns import Dns


def _addresses(instance: Any, attribute: Any, value: list[str]) -> None:
    for text in value:
        host = text.rpartition("#")[0] or text
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"'{text}' is no address; write 10.0.0.2, or 10.0.0.2#5353 for another port") from None


@attrs.frozen
class DnsConfig:
    """``[dns] use = "server"``"""

    address: str = ""
    """Where to listen; empty: at the Service's own address if it is in 127.0.0.0/8, otherwise at the address that this
    machine reaches others from."""
    port: int = attrs.field(default=53, validator=[attrs.validators.ge(0), attrs.validators.le(65535)])
    """Where to listen; one below 1024 moves up by 8000 where it may not be bound, or is taken. 0: any free one."""
    service_ip: str = ""
    """Of the Service kube-dns; empty: the tenth address of the service range."""
    ttl: int = attrs.field(default=5, validator=[attrs.validators.ge(0), attrs.validators.le(3600)])
    """Seconds for which clients may keep the cluster's own records."""
    pods: str = attrs.field(default="insecure", validator=attrs.validators.in_(("insecure", "verified", "disabled")))
    """Records of pods (10-0-0-1.default.pod.cluster.local): for every address, for those of running pods, none."""
    forward: list[str] = attrs.field(factory=lambda: ["/etc/resolv.conf"])
    """Whom to ask for all other names: addresses (with #PORT for another port than 53), or this machine's resolv.conf;
    [] refuses them."""
    stub_domains: dict[str, list[str]] = attrs.Factory(dict)
    """Servers for single domains: ``{"consul.local" = ["10.0.0.7#8600"]}``."""
    forward_seconds: float = attrs.field(default=2.0, validator=attrs.validators.gt(0))
    """How long one of those servers may take before the next is asked."""
    max_forwards: int = attrs.field(default=1000, validator=attrs.validators.ge(1))
    """Questions to other servers that are under way at once; more are answered SERVFAIL."""
    cache_seconds: int = attrs.field(default=30, validator=attrs.validators.ge(0))
    """How long answers of other servers are kept at most; their own TTL may be less. 0: not at all."""
    cache_entries: int = attrs.field(default=10000, validator=attrs.validators.ge(1))
    """Answers that are kept; those not asked for longest go first."""
    max_connections: int = attrs.field(default=256, validator=attrs.validators.ge(1))
    """TCP connections that are open at once; more are closed."""
    idle_seconds: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    """How long a TCP client may be silent."""
    clients: list[str] = attrs.Factory(list)
    """Networks (CIDR) whose names outside the cluster are looked up; empty: private and loopback addresses, and the
    cluster's own ranges. Others are refused those."""

    def __attrs_post_init__(self) -> None:
        files = [text for text in self.forward if text.startswith("/")]
        _addresses(self, None, [text for text in self.forward if text not in files])
        for servers in self.stub_domains.values():
            _addresses(self, None, servers)
        for network in self.clients:
            ipaddress.ip_network(network)
        for text in (self.address, self.service_ip):
            if text:
                ipaddress.ip_address(text)


@asynccontextmanager
async def open_server(context: Context, config: DnsConfig) -> AsyncIterator[Dns]:
    from kcore_dns.part import open_part

    async with open_part(context, config) as part:
        yield part


@hookimpl
def kcore_dns() -> Iterable[Provider[Dns]]:
    return [Provider("server", open_server, DnsConfig, help="Answers cluster names, forwards others", exclusive=True)]
