"""Measurements: one Prometheus registry per component, even when all of them share a process.

`Metrics` is what a part gets in its `Context`. Names, labels and buckets are upstream's, so that existing
dashboards and rules work. prometheus-client is imported when the first metric is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The registry of one component ("apiserver", "scheduler", "kubelet/node-1", ...)."""

    def __init__(self, component: str):
        self.component = component
        self._registry: CollectorRegistry | None = None
        self._waiting: list[Any] = []  # collectors to register once there is a registry

    @property
    def registry(self) -> CollectorRegistry:
        if self._registry is None:
            from prometheus_client import CollectorRegistry, disable_created_metrics

            disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped
            self._registry = CollectorRegistry(auto_describe=False)
            for collector in self._waiting:
                self._registry.register(collector)
            self._waiting.clear()
        return self._registry

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """`name` as it is exposed but without ``_total``. Keep the children that `.labels()` returns."""
        from prometheus_client import Counter

        return Counter(name, help, labels, registry=self.registry)

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
        from prometheus_client import Gauge

        return Gauge(name, help, labels, registry=self.registry)

    def histogram(self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float]) -> Histogram:
        from prometheus_client import Histogram

        return Histogram(name, help, labels, registry=self.registry, buckets=buckets)

    def collect_with(self, collector: Any) -> None:
        """Add a custom collector: an object whose ``collect()`` yields metric families when scraped.

        By itself it does not load prometheus-client: a component whose numbers are its own starts without it.
        """
        if self._registry is None:
            self._waiting.append(collector)
        else:
            self._registry.register(collector)

    def expose(self) -> bytes:
        """The text exposition. 10,000 samples take 60-150 ms: call it in a thread."""
        from prometheus_client import generate_latest

        return bytes(generate_latest(self.registry))


class MetricsPart(Protocol):
    """What a provider of the slot `metrics` opens to."""
