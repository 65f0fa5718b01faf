"""Measurements for Prometheus and ``kubectl top``.

The slot `metrics` exposes what the components of this process count, each on its upstream port; the route `metrics`
answers the API group metrics.k8s.io from what the kubelets say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider

if TYPE_CHECKING:
    from kcore.api.kinds import Kind
    from kcore.api.routes import Routes
    from kcore.metrics import MetricsPart


@attrs.frozen
class ExpositionConfig:
    """``[metrics] use = "prometheus"``"""

    address: str = "127.0.0.1"
    """Where to listen."""
    scheduler_port: int = 10259
    """The scheduler's port (HTTPS), as upstream; 0 takes a free one."""
    controller_manager_port: int = 10257
    """The controller manager's port (HTTPS)."""
    proxy_port: int = 10249
    """The service proxy's port (plain HTTP, as upstream)."""
    dns_port: int = 9153
    """The DNS server's port (plain HTTP, as upstream)."""


@attrs.frozen
class ResourceMetricsConfig:
    """Settings of the route `metrics`."""

    fresh_seconds: float = 15.0
    """How old an answer of a kubelet may be before it is asked again (metrics-server's resolution)."""
    node_timeout: float = 5.0
    """How long a kubelet may take before it is left out."""
    concurrency: int = 16
    """Kubelets that are asked at a time."""


@asynccontextmanager
async def open_exposition(context: Context, config: ExpositionConfig) -> AsyncIterator[MetricsPart]:
    from kcore_metrics_prometheus.exposition import open_part

    async with open_part(context, config) as part:
        yield part


@asynccontextmanager
async def open_routes(context: Context, config: ResourceMetricsConfig) -> AsyncIterator[Routes]:
    from kcore_metrics_prometheus.resources import ResourceMetrics

    async with ResourceMetrics.open(context, config) as resources:
        yield resources.routes()


@hookimpl
def kcore_metrics() -> Iterable[Provider[MetricsPart]]:
    help = "Prometheus exposition on every component's own port"
    return [Provider("prometheus", open_exposition, ExpositionConfig, help, exclusive=True)]


@hookimpl
def kcore_route() -> Iterable[Provider[Routes]]:
    return [Provider("metrics", open_routes, ResourceMetricsConfig, "metrics.k8s.io, for kubectl top and autoscaling")]


@hookimpl
def kcore_kinds() -> Iterable[Kind]:
    from kcore_metrics_prometheus.kinds import KINDS

    return KINDS
