"""Which endpoint a new client gets."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterator

import trio

from kcore.proxy import Endpoint

MAX_CLIENTS = 10_000
"""How many clients session affinity remembers for one service port; the longest silent are forgotten first."""


class Balancer:
    """Round robin over the endpoints of one service port, with session affinity by client address if wanted."""

    def __init__(self, endpoints: tuple[Endpoint, ...], affinity_seconds: int, sources: tuple[str, ...] = ()):
        self._next = 0
        self._sources = sources  # CIDRs of those who alone may connect; empty for everybody
        self._clients: OrderedDict[str, tuple[Endpoint, float]] = OrderedDict()
        self._endpoints = endpoints
        self._affinity = affinity_seconds

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._endpoints

    def update(self, endpoints: tuple[Endpoint, ...], affinity_seconds: int, sources: tuple[str, ...] = ()) -> None:
        self._endpoints, self._affinity, self._sources = endpoints, affinity_seconds, sources
        if not affinity_seconds:
            self._clients.clear()

    def candidates(self, client: str) -> Iterator[Endpoint]:
        """Endpoints to try for a new connection, best first, each once. None for whom may not come."""
        endpoints = self._endpoints
        if not endpoints or (self._sources and not self._admits(client)):
            return
        first = self._remembered(client) if self._affinity else None
        if first is not None:
            yield first
        start = self._next
        self._next = (start + 1) % len(endpoints)
        for i in range(len(endpoints)):
            endpoint = endpoints[(start + i) % len(endpoints)]
            if endpoint != first:
                yield endpoint

    def remember(self, client: str, endpoint: Endpoint) -> None:
        """The client has been connected to the endpoint."""
        if not self._affinity:
            return
        self._clients[client] = (endpoint, trio.current_time() + self._affinity)
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)

    def _admits(self, client: str) -> bool:
        address = ipaddress.ip_address(client)
        return any(address in ipaddress.ip_network(source, strict=False) for source in self._sources)

    def _remembered(self, client: str) -> Endpoint | None:
        endpoint, until = self._clients.get(client, (None, 0.0))
        if endpoint is None or until < trio.current_time() or endpoint not in self._endpoints:
            self._clients.pop(client, None)
            return None
        return endpoint
