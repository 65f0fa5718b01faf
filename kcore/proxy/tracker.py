"""From Services and EndpointSlices to `Route`s, and from their changes to `Backend.apply`.

Only services that changed are looked at again. Changes that arrive while a backend is busy are taken together in its
next turn, so that a thousand changes cost a few turns, and the order of events does not matter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from kcore import clock
from kcore.client import Client
from kcore.client.informer import Informer, Informers
from kcore.metrics import Metrics
from kcore.objects import Object, meta
from kcore.objects.resources import ENDPOINTSLICES, NODES, SERVICES
from kcore.proxy import Backend, Endpoint, Route
from kcore.proxy.health import HealthServers

ZONE = "topology.kubernetes.io/zone"
SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"  # another proxy's: left alone
TRIGGERED = "endpoints.kubernetes.io/last-change-trigger-time"
PROGRAMMING_BUCKETS = (0.25, 0.5, *map(float, range(1, 60)), *map(float, range(60, 120, 5)), 120.0, 150.0, 180.0)
PROGRAMMING_BUCKETS = (*PROGRAMMING_BUCKETS, 210.0, 240.0, 270.0, 300.0)  # upstream's
SYNC_BUCKETS = tuple(0.001 * 2**i for i in range(15))  # upstream's: 1 ms, doubled


class Tracker:
    """Keeps one backend in step with the cluster. Made by `run`."""

    def __init__(
        self, informers: Informers, backend: Backend, node: str, metrics: Metrics, health: HealthServers | None = None
    ):
        self._services: Informer = informers.get(SERVICES)
        self._slices: Informer = informers.get(ENDPOINTSLICES)
        self._slices.add_index("service", lambda s: [_service_of(s)])
        self._nodes: Informer | None = None
        if node:
            self._nodes = informers.get(NODES, field_selector=f"metadata.name={node}")
        self._backend, self._node, self._zone, self._health = backend, node, "", health
        self._routes: dict[str, Route] = {}
        self._by_service: dict[str, tuple[str, ...]] = {}
        self._dirty: set[str] = set()
        self._applied = False  # the backend has heard of everything once
        self._wake = trio.Event()
        self._idle = trio.Event()
        self._seconds = metrics.histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds", "How long a turn took.", buckets=SYNC_BUCKETS
        )
        self._programming = metrics.histogram(
            "kubeproxy_network_programming_duration_seconds",
            "Seconds from a change of a service or pod until it is heeded.",
            buckets=PROGRAMMING_BUCKETS,
        )
        self._began = clock.now()
        self._triggers: list[float] = []  # when the changes came about that the next turn heeds
        self._last = metrics.gauge(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the rules were last brought in step."
        )

    # --- kcore.proxy.Proxy ---

    async def settled(self) -> None:
        await self._synced()
        await trio.lowlevel.checkpoint()
        while self._dirty or not self._idle.is_set():
            await self._idle.wait()
            await trio.lowlevel.checkpoint()

    def routes(self) -> Mapping[str, Route]:
        return self._routes

    def served(self, key: str) -> list[tuple[str, int]]:
        return self._backend.served(self._routes[key])

    def notes(self) -> list[str]:
        notes = []
        for key, route in sorted(self._routes.items()):
            moved = sorted({port for _, port in self._backend.served(route)} - {route.port, route.node_port})
            for port in moved:
                notes.append(f"{key} is served at port {port}: this user may not listen on {route.port}")
        return notes

    # --- the loop ---

    async def run(self) -> None:
        self._services.on_change(lambda old, new: self._mark(meta.key(new or old or {})))
        self._slices.on_change(self._slice_changed)
        if self._nodes is not None:
            self._nodes.on_change(self._node_changed)
        await self._synced()
        while True:
            if self._applied and not self._dirty:
                self._idle.set()
                await self._wake.wait()
            self._wake = trio.Event()
            if self._idle.is_set():  # else somebody may be waiting for this one
                self._idle = trio.Event()
            dirty, self._dirty = self._dirty, set()
            triggers, self._triggers = self._triggers, []
            began = trio.current_time()
            changed = self._changes(dirty)
            if changed or not self._applied:
                await self._backend.apply(changed)
                self._applied = True
            if self._health is not None:
                await self._health.update(self._routes, changed)
            self._seconds.observe(trio.current_time() - began)
            now = clock.now()
            self._last.set(now)
            for triggered in triggers:
                self._programming.observe(max(0.0, now - triggered))

    async def _synced(self) -> None:
        await self._services.synced.wait()
        await self._slices.synced.wait()
        if self._nodes is not None:
            await self._nodes.synced.wait()

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        zone = meta.labels(new).get(ZONE, "") if new else ""
        if zone != self._zone:
            self._zone = zone
            self._mark(*(meta.key(s) for s in self._services.items()))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and (old is None or any(old.get(k) != new.get(k) for k in ("endpoints", "ports"))):
            self._triggered((new["metadata"].get("annotations") or {}).get(TRIGGERED))
        self._mark(*{_service_of(s) for s in (old, new) if s})

    def _triggered(self, when: str | None) -> None:
        """What came about before this tracker began says nothing of how quick it is."""
        try:
            at = clock.parse(when) if when else 0.0
        except ValueError:
            return  # an annotation is anybody's to write
        if at > self._began:
            self._triggers.append(at)

    def _mark(self, *services: str) -> None:
        self._dirty.update(services)
        self._wake.set()

    def _changes(self, services: Iterable[str]) -> dict[str, Route | None]:
        changed: dict[str, Route | None] = {}
        for name in services:
            wanted = {route.key: route for route in self._routes_of(name)}
            for key in self._by_service.pop(name, ()):
                if key not in wanted:
                    del self._routes[key]
                    changed[key] = None
            for key, route in wanted.items():
                if self._routes.get(key) != route:
                    self._routes[key] = changed[key] = route
            if wanted:
                self._by_service[name] = tuple(wanted)
        return changed

    def _routes_of(self, name: str) -> Iterable[Route]:
        service = self._services.get(name)
        if service is None or meta.deleting(service) or PROXY_NAME in meta.labels(service):
            return
        spec = service["spec"]
        addresses = tuple(ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP", "")] if ip and ip != "None")
        if spec.get("type") == "ExternalName" or not addresses:
            return  # headless: clients find the endpoints themselves
        slices = self._slices.indexed("service", name)
        affinity = 0
        if spec.get("sessionAffinity") == "ClientIP":
            affinity = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds", 10800)
        for port in spec.get("ports") or ():
            endpoints = [e for s in slices for e in _endpoints(s, port)]
            here = [e for e in endpoints if e.endpoint.node == self._node] if self._node else endpoints
            yield Route(
                service=name,
                port_name=port.get("name", ""),
                protocol=port.get("protocol", "TCP"),
                addresses=addresses,
                port=port["port"],
                node_port=port.get("nodePort", 0),
                cluster_endpoints=_usable(self._near(endpoints)),
                local_endpoints=_usable(here),
                external_addresses=tuple(spec.get("externalIPs") or ()),
                balancer_addresses=_balancer_addresses(service),
                source_ranges=tuple(r.strip() for r in spec.get("loadBalancerSourceRanges") or ()),
                internal_local=spec.get("internalTrafficPolicy") == "Local",
                external_local=spec.get("externalTrafficPolicy") == "Local",
                affinity_seconds=affinity,
                health_port=spec.get("healthCheckNodePort", 0),
                served_anywhere=any(e.ready or (e.serving and e.terminating) for e in endpoints),
            )

    def _near(self, endpoints: list[_Found]) -> list[_Found]:
        """Those that the hints mean for this node, else for its zone; all, if any ready one is without a hint, or
        none is meant for here."""
        ready = [e for e in endpoints if e.ready]
        for place, hints in ((self._node, "nodes"), (self._zone, "zones")):
            if place and all(getattr(e, hints) for e in ready):
                near = [e for e in ready if place in getattr(e, hints)]
                if near:
                    return near
        return endpoints


def _usable(endpoints: list[_Found]) -> tuple[Endpoint, ...]:
    chosen = [e for e in endpoints if e.ready] or [e for e in endpoints if e.serving and e.terminating]
    return tuple(sorted({e.endpoint for e in chosen}, key=lambda e: (e.address, e.port)))


@attrs.frozen(slots=True)
class _Found:
    endpoint: Endpoint
    ready: bool
    serving: bool
    terminating: bool
    nodes: frozenset[str] = frozenset()  # hints
    zones: frozenset[str] = frozenset()


def _service_of(slice: Object) -> str:
    return f"{meta.namespace(slice)}/{meta.labels(slice).get(SERVICE_NAME, '')}"


def _balancer_addresses(service: Object) -> tuple[str, ...]:
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    return tuple(i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP")


def _endpoints(slice: Object, service_port: Object) -> Iterable[_Found]:
    """The endpoints of a slice for one port of the service: ports are matched by name and protocol."""
    for port in slice.get("ports") or ():
        same_name = (port.get("name") or "") == service_port.get("name", "")
        if not same_name or port.get("protocol", "TCP") != service_port.get("protocol", "TCP") or not port.get("port"):
            continue
        for endpoint in slice.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready") is not False
            hints = endpoint.get("hints") or {}
            yield _Found(
                Endpoint(endpoint["addresses"][0], port["port"], endpoint.get("nodeName", "")),
                ready,
                conditions.get("serving", ready) is not False,
                bool(conditions.get("terminating")),
                frozenset(h["name"] for h in hints.get("forNodes") or ()),
                frozenset(h["name"] for h in hints.get("forZones") or ()),
            )


@asynccontextmanager
async def run(
    client: Client, backend: Backend, *, node: str, metrics: Metrics, health_address: str = ""
) -> AsyncIterator[Tracker]:
    """Track with `backend` while the block runs. `node` is the node whose endpoints are local; "" when the
    process serves all nodes, and then every endpoint is. `health_address`: where the ports for health checks of
    services (``healthCheckNodePort``) answer, see `HealthServers`; "" for nowhere."""
    async with trio.open_nursery() as nursery:
        informers = Informers(client)
        health = HealthServers(nursery, health_address) if health_address else None
        tracker = Tracker(informers, backend, node, metrics, health)
        await nursery.start(informers.run)
        nursery.start_soon(tracker.run)
        yield tracker
        nursery.cancel_scope.cancel()
