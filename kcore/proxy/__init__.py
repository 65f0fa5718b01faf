"""The service proxy: what makes a service's addresses reach its ready endpoints (kube-proxy).

`kcore.proxy.tracker` watches Services and EndpointSlices and boils them down to `Route`s: one per service port, with
the endpoints that may be chosen now. A backend is told only the routes that changed, and puts them in force:

    class MyBackend:
        async def apply(self, changed: Mapping[str, Route | None]) -> None: ...

    async with tracker.run(context.client(), MyBackend(), node="") as proxy:
        yield proxy

Whatever the backend, the rules are upstream's: only ready endpoints are chosen; if there are none, those that are
terminating but still serve; ``internalTrafficPolicy`` and ``externalTrafficPolicy: Local`` keep to this node; hints
(``trafficDistribution``) keep traffic on the node or in its zone as long as every ready endpoint has one; session
affinity sticks a client to an endpoint until it has been silent for the timeout.
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
    """One port of one service, as it should be in force. Addresses and endpoints are of both IP families."""

    service: str  # namespace/name
    port_name: str
    protocol: str  # TCP, UDP, SCTP
    addresses: tuple[str, ...]  # ClusterIPs
    port: int
    node_port: int = 0  # 0 for none
    cluster_endpoints: tuple[Endpoint, ...] = ()  # of the whole cluster; with topology hints those near to this node
    local_endpoints: tuple[Endpoint, ...] = ()  # on this node
    external_addresses: tuple[str, ...] = ()  # externalIPs
    balancer_addresses: tuple[str, ...] = ()  # of the load balancer
    source_ranges: tuple[str, ...] = ()  # who may use `balancer_addresses`; empty: everybody
    internal_local: bool = False  # internalTrafficPolicy: Local
    external_local: bool = False  # externalTrafficPolicy: Local
    affinity_seconds: int = 0  # 0 for no session affinity
    health_port: int = 0  # healthCheckNodePort, 0 for none
    served_anywhere: bool = False  # some node has an endpoint, though perhaps none that may be chosen here

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """For traffic to `addresses`."""
        return self.local_endpoints if self.internal_local else self.cluster_endpoints

    @property
    def node_endpoints(self) -> tuple[Endpoint, ...]:
        """For traffic from outside: to the node port, the external and the load balancer's addresses."""
        return self.local_endpoints if self.external_local else self.cluster_endpoints

    @property
    def outside_addresses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.external_addresses + self.balancer_addresses))

    @property
    def title(self) -> str:
        """``namespace/name:port`` with the port's name, if it has one: how kube-proxy speaks of a service port."""
        return f"{self.service}:{self.port_name}" if self.port_name else self.service

    def of_family(self, v6: bool) -> Route:
        """What of it belongs to one IP family: traffic of one is never sent to endpoints of the other."""

        def mine(addresses: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(a for a in addresses if (":" in a) is v6)

        def behind(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
            return tuple(e for e in endpoints if (":" in e.address) is v6)

        return attrs.evolve(
            self,
            addresses=mine(self.addresses),
            external_addresses=mine(self.external_addresses),
            balancer_addresses=mine(self.balancer_addresses),
            source_ranges=mine(self.source_ranges),
            cluster_endpoints=behind(self.cluster_endpoints),
            local_endpoints=behind(self.local_endpoints),
        )

    @property
    def key(self) -> str:
        """``namespace/name:port/protocol``."""
        return f"{self.service}:{self.port_name or self.port}/{self.protocol}"


class Backend(Protocol):
    """What a proxy plugin writes: the part that differs."""

    async def apply(self, changed: Mapping[str, Route | None]) -> None:
        """Put the changed routes in force, by key; None: the route is gone. Returns when traffic follows them.

        The first call has all that there is, and comes even if that is nothing: what is left of an earlier run may go.
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
