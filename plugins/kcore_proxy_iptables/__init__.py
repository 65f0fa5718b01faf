"""The iptables proxy: service addresses are rewritten to endpoints by the kernel, in kube-proxy's chains. Needs root.

The rules stay when the part closes, so that a restart disturbs nobody; ``kcore proxy cleanup`` takes them away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from kcore import Context, Provider, hookimpl
from kcore.proxy import Proxy, tracker

if TYPE_CHECKING:
    from kcore.cli import Command


@attrs.frozen
class IptablesConfig:
    """Settings of the iptables proxy."""

    node: str = ""
    """The node whose endpoints are local, for traffic policies and hints; empty: every endpoint is."""
    cluster_cidr: str = ""
    """The pods' addresses, with a comma for two families: what comes to a ClusterIP from elsewhere is masqueraded."""
    masquerade_all: bool = False
    """Masquerade all that goes to a ClusterIP."""
    masquerade_bit: int = attrs.field(default=14, validator=[attrs.validators.ge(0), attrs.validators.le(31)])
    """The bit of the packet mark that says: to be masqueraded."""
    localhost_node_ports: bool = True
    """Whether node ports answer at 127.0.0.1 too (sets net.ipv4.conf.all.route_localnet; strangers stay out)."""
    node_port_addresses: tuple[str, ...] = ()
    """CIDRs of those of this machine's addresses that node ports answer at; empty: all."""
    health_address: str = "0.0.0.0"
    """Where the ports for health checks of services answer; empty: nowhere."""
    check_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    """How often is looked whether somebody has flushed the rules."""
    remove_on_close: bool = False
    """Whether the rules go when the part closes."""


@asynccontextmanager
async def open_iptables(context: Context, config: IptablesConfig) -> AsyncIterator[Proxy]:
    from kcore_proxy_iptables.backend import IptablesBackend

    backend = await IptablesBackend.open(config, context.log, context.metrics)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.watch)
            async with tracker.run(
                context.client(),
                backend,
                node=config.node,
                metrics=context.metrics,
                health_address=config.health_address,
            ) as proxy:
                yield proxy
            nursery.cancel_scope.cancel()
    finally:
        if config.remove_on_close:
            with trio.CancelScope(shield=True):
                await backend.remove()


@hookimpl
def kcore_proxy() -> list[Provider[Proxy]]:
    return [Provider("iptables", open_iptables, IptablesConfig, "Rules in the kernel, as kube-proxy's; needs root")]


@hookimpl
def kcore_command() -> Iterable[Command]:
    from kcore_proxy_iptables.command import PROXY

    return [PROXY]
