"""The open part: two sockets, and a task that waits for the first question.

Nothing else is loaded or followed before: a cluster whose names nobody asks for pays for two sockets. The first
question waits until the cluster's objects have been listed.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from kcore import dns
from kcore.api.auth import User
from kcore.registry import Context
from kcore_dns import DnsConfig
from kcore_dns.sockets import Sockets, bind_both

if TYPE_CHECKING:
    from kcore_dns.engine import Engine

SELF = User("system:kube-dns", ("system:masters", "system:authenticated"))
"""In this process; a server in a process of its own is whoever its kubeconfig says."""


class Part:
    """See `kcore.dns.Dns`."""

    def __init__(self, address: str, sockets: Sockets, context: Context, config: DnsConfig) -> None:
        self.address, self._sockets, self._context, self._config = address, sockets, context, config
        self._wanted = trio.Event()
        self._started = trio.Event()
        self._engine: Engine | None = None

    def served(self) -> list[tuple[str, str, int]]:
        return [(protocol, self._sockets.address, self._sockets.port) for protocol in ("UDP", "TCP")]

    async def settled(self) -> None:
        self._wanted.set()
        await self._started.wait()
        assert self._engine is not None
        await self._engine.records.wait_synced()

    def notes(self) -> list[str]:
        sockets = self._sockets
        if sockets.port == sockets.asked or not sockets.asked:
            return []
        where = f"{sockets.address}:{sockets.port}"
        return [f"cluster DNS answers at {where}: this user may not listen on {sockets.asked}, or it is taken"]

    def collect(self) -> Iterator[Any]:
        """For the part's metrics: a collector of prometheus-client."""
        return self._engine.collect() if self._engine is not None else iter(())

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as first:
            for wait in (self._wanted.wait, self._readable(self._sockets.udp), self._readable(self._sockets.tcp)):
                first.start_soon(_then_cancel, wait, first)
        from kcore_dns.engine import Engine

        client = self._context.client(SELF)
        self._engine = Engine(self._context, self._config, client, self._sockets, self.address)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._engine.run)
            self._started.set()

    def _readable(self, sock: socket.socket) -> Any:
        async def wait() -> None:
            await trio.lowlevel.wait_readable(sock)

        return wait

    async def publish(self) -> None:
        """The Service and what stands behind it."""
        from kcore.dns import service

        await service.publish(self._context.client(SELF), self.address, self.served(), self._context.log)


async def _then_cancel(wait: Any, nursery: trio.Nursery) -> None:
    await wait()
    nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_part(context: Context, config: DnsConfig) -> AsyncIterator[Part]:
    """Its sockets take questions when it yields."""
    address = config.service_ip or dns.service_address(context.cluster.service_cidr)
    sockets = bind_both(config.address or _where(address), config.port)
    part = Part(address, sockets, context, config)
    context.metrics.collect_with(part)
    async with sockets, trio.open_nursery() as nursery:
        nursery.start_soon(part.run)
        nursery.start_soon(part.publish)
        yield part
        nursery.cancel_scope.cancel()


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
