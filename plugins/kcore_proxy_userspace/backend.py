"""Which sockets are open for which route."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import attrs
import trio

from kcore.metrics import Metrics
from kcore.proxy import Endpoint, Route
from kcore_proxy_userspace import UserspaceConfig, sockets
from kcore_proxy_userspace.balancer import Balancer
from kcore_proxy_userspace.tcp import serve_tcp
from kcore_proxy_userspace.udp import serve_udp


@attrs.define
class _Port:
    """One listening address of a route."""

    wanted: tuple[str, str, int]  # protocol, address, port
    at: tuple[str, int]  # where it really listens
    balancer: Balancer
    scope: trio.CancelScope


@attrs.define
class _Served:
    route: Route
    ports: list[_Port] = attrs.Factory(list)


class UserspaceBackend:
    """See `kcore.proxy.Backend`. The listeners' tasks run in one nursery, connections in another that outlives it."""

    def __init__(
        self,
        listeners: trio.Nursery,
        connections: trio.Nursery,
        config: UserspaceConfig,
        log: logging.Logger,
        metrics: Metrics,
    ):
        self._listeners, self._connections, self._config, self._log = listeners, connections, config, log
        self._served: dict[str, _Served] = {}
        self._limit = trio.CapacityLimiter(config.max_connections)
        self._open = metrics.gauge("kcore_proxy_connections", "Connections that are being copied now.")

    async def apply(self, changed: Mapping[str, Route | None]) -> None:
        for key, route in changed.items():  # first let go of addresses, that another route may take over
            self._drop(key, keep=_wanted(route) if route is not None else ())
        for key, route in changed.items():
            if route is not None:
                await self._put(key, route)

    def served(self, route: Route) -> list[tuple[str, int]]:
        served = self._served.get(route.key)
        return [port.at for port in served.ports] if served else []

    def _drop(self, key: str, keep: tuple[tuple[str, str, int], ...]) -> None:
        served = self._served.get(key)
        if served is None:
            return
        for port in [p for p in served.ports if p.wanted not in keep]:
            port.scope.cancel()  # stops listening; connections that are established go on
            served.ports.remove(port)
        if not keep:
            del self._served[key]

    async def _put(self, key: str, route: Route) -> None:
        served = self._served.setdefault(key, _Served(route))
        served.route = route
        for port in served.ports:
            port.balancer.update(_endpoints(route, port.wanted), route.affinity_seconds, _sources(route, port.wanted))
        have = {port.wanted for port in served.ports}
        for wanted in _wanted(route):
            if wanted in have:
                continue
            balancer = Balancer(_endpoints(route, wanted), route.affinity_seconds, _sources(route, wanted))
            try:
                served.ports.append(await self._listen(wanted, balancer))
            except OSError as e:
                self._log.warning("%s: cannot listen on %s:%s: %s", key, wanted[1], wanted[2], e.strerror or e)

    async def _listen(self, wanted: tuple[str, str, int], balancer: Balancer) -> _Port:
        protocol, address, port = wanted
        scope = trio.CancelScope()
        if protocol == "TCP":
            sock = sockets.bind("TCP", address, port, self._config.port_offset)
            offset = self._config.port_offset
            self._listeners.start_soon(
                serve_tcp, sock, balancer, scope, self._connections, self._limit, self._open, offset
            )
        elif protocol == "UDP":
            sock = sockets.bind("UDP", address, port, self._config.port_offset)
            self._listeners.start_soon(serve_udp, sock, balancer, scope, self._config.udp_timeout)
        else:
            raise OSError(f"the userspace proxy does not carry {protocol}")
        name = sock.getsockname()
        return _Port(wanted, (name[0], name[1]), balancer, scope)


def _wanted(route: Route) -> tuple[tuple[str, str, int], ...]:
    """The addresses a route should listen on; node ports answer on every local address."""
    addresses = dict.fromkeys(route.addresses + route.outside_addresses)
    wanted = [(route.protocol, address, route.port) for address in addresses]
    if route.node_port:
        wanted.append((route.protocol, sockets.ANY, route.node_port))
    return tuple(wanted)


def _endpoints(route: Route, wanted: tuple[str, str, int]) -> tuple[Endpoint, ...]:
    route = route.of_family(":" in wanted[1])
    return route.endpoints if wanted[1] in route.addresses else route.node_endpoints


def _sources(route: Route, wanted: tuple[str, str, int]) -> tuple[str, ...]:
    """Who alone may come to that address; empty for everybody."""
    return route.source_ranges if wanted[1] in route.balancer_addresses else ()
