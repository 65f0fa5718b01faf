"""Where load balancers ask whether this node has endpoints of a service: ``healthCheckNodePort``.

A service with ``externalTrafficPolicy: Local`` gets its traffic only at nodes that have an endpoint. An HTTP server at
the service's port answers 200 there and 503 elsewhere, with the number of local endpoints, as kube-proxy does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import attrs
import trio

from kcore.errors import UserError
from kcore.proxy import Route

LOOPBACK = "lo"

_log = logging.getLogger("kcore.proxy")


@attrs.define
class _Server:
    service: str
    scope: trio.CancelScope
    local: int = 0


class HealthServers:
    """One HTTP server for each port that a service has for it, in `nursery`, on `address` (numeric; "lo" for all
    addresses of the loopback device)."""

    def __init__(self, nursery: trio.Nursery, address: str):
        self._nursery, self._loopback_only = nursery, address == LOOPBACK
        self._address = "0.0.0.0" if self._loopback_only else address
        self._servers: dict[int, _Server] = {}
        self._ports: dict[str, int] = {}  # by service

    async def update(self, routes: Mapping[str, Route], changed: Mapping[str, Route | None]) -> None:
        """Heed `changed` routes; `routes` are all that are in force now."""
        touched = {key.rpartition(":")[0] for key in changed}
        touched = {s for s in touched if s in self._ports} | {
            r.service for r in changed.values() if r and r.health_port
        }
        if not touched:
            return
        wanted: dict[str, tuple[int, set[str]]] = {}
        for route in routes.values():
            if route.service in touched and route.health_port:
                _, found = wanted.setdefault(route.service, (route.health_port, set()))
                found.update(e.address for e in route.local_endpoints)
        for service in touched:
            port, addresses = wanted.get(service, (0, set()))
            before = self._ports.get(service, 0)
            if before and before != port:
                self._servers.pop(before).scope.cancel()
                del self._ports[service]
        for service, (port, addresses) in wanted.items():
            if service not in self._ports:
                await self._open(service, port)
            if service in self._ports:
                self._servers[port].local = len(addresses)

    async def _open(self, service: str, port: int) -> None:
        from kcore.http.listen import listen

        try:
            listener = await listen(port, self._address, loopback_only=self._loopback_only)
        except UserError as error:
            _log.warning("%s: its port for health checks: %s", service, error)
            return
        server = self._servers[port] = _Server(service, trio.CancelScope())
        self._ports[service] = port
        self._nursery.start_soon(self._serve, server, listener)

    async def _serve(self, server: _Server, listener: trio.SocketListener) -> None:
        from kcore.http.messages import Request, Response
        from kcore.http.server import serve

        namespace, _, name = server.service.partition("/")

        async def answer(request: Request) -> Response:
            said = {
                "service": {"namespace": namespace, "name": name},
                "localEndpoints": server.local,
                "serviceProxyHealthy": True,
            }
            headers = [
                (b"x-content-type-options", b"nosniff"),
                (b"x-load-balancing-endpoint-weight", str(server.local).encode()),
            ]
            return Response(200 if server.local else 503, json.dumps(said).encode(), headers=headers)

        with server.scope:
            await serve(answer, [listener])
