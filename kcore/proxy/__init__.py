"""The service proxy: what makes a service's addresses reach its ready endpoints (kube-proxy).

`kcore.proxy.tracker` watches Services and EndpointSlices and boils them down to `Route`s: one per service port, with
the endpoints that may be chosen now. A backend is told only the routes that changed, and puts them in force:

    class MyBackend:
        async def apply(self, changed: Mapping[str, Route | None]) -> None: ...

    async with tracker.run(context.client(), MyBackend(), node="") as proxy:
        yield proxy

Whatever the backend, the rules are upstream's: only ready endpoints are chosen; if there are none, those that are
terminating but still serve; ``internalTrafficPolicy`` and ``externalTrafficPolicy: Local`` keep to this node;
session affinity sticks a client to an endpoint until it has been silent for the timeout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs


@attrs.frozen(slots=True)
class Endpoint:
    """One address behind a service port."""

    address: str
    port: int
    node: str = ""


@attrs.frozen(slots=True)
class Route:
    """One port of one service, as it should be in force."""

    service: str  # namespace/name
    port_name: str
    protocol: str  # TCP, UDP, SCTP
    addresses: tuple[str, ...]  # ClusterIPs, external IPs, load-balancer IPs
    port: int
    node_port: int  # 0 for none
    endpoints: tuple[Endpoint, ...]  # for traffic to `addresses`
    node_endpoints: tuple[Endpoint, ...]  # for traffic to the node port
    affinity_seconds: int = 0  # 0 for no session affinity

    @property
    def key(self) -> str:
        """``namespace/name:port/protocol``."""
        return f"{self.service}:{self.port_name or self.port}/{self.protocol}"


class Backend(Protocol):
    """What a proxy plugin writes: the part that differs."""

    async def apply(self, changed: Mapping[str, Route | None]) -> None:
        """Put the changed routes in force, by key; None: the route is gone. Returns when traffic follows them.

        Connections that are established stay where they are. Called by one task, never twice at once. An exception is
        the end of the part: the kernel opens it again, and everything is applied from the start.
        """

    def served(self, route: Route) -> list[tuple[str, int]]:
        """The (address, port) pairs at which the route answers now: a backend may have had to move a port."""


class Proxy(Protocol):
    """What a provider of the slot `proxy` opens to."""

    async def settled(self) -> None:
        """Return when every change that has reached this process so far is in force."""

    def routes(self) -> Mapping[str, Route]:
        """The routes in force, by key."""

    def served(self, key: str) -> list[tuple[str, int]]:
        """Where a route answers. Raises KeyError."""

    def notes(self) -> list[str]:
        """What a person should know: ports that had to be moved."""
