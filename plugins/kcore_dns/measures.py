"""What the server counts, told to Prometheus under CoreDNS' names."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from kcore_dns.replies import Cache

VERSION = "1.12.1"  # of the CoreDNS whose names and answers these are
DURATIONS = (0.00025, 0.0005, *(0.001 * 2**i for i in range(14)))
SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)


@attrs.define(slots=True)
class Histogram:
    """Counts by upper bound."""

    bounds: tuple[float, ...]
    counts: list[int] = attrs.field(init=False)
    sum: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        total, out = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            out.append(("+Inf" if bound == float("inf") else f"{bound:g}", float(total)))
        return out


@attrs.define(eq=False)
class Measures:
    """The counters of one server."""

    requests: dict[tuple[str, str, str, str], int] = attrs.Factory(dict)  # (zone, proto, family, type)
    responses: dict[tuple[str, str], int] = attrs.Factory(dict)  # (zone, rcode)
    durations: dict[str, Histogram] = attrs.Factory(dict)  # by zone
    request_sizes: dict[tuple[str, str], Histogram] = attrs.Factory(dict)  # (zone, proto)
    response_sizes: dict[tuple[str, str], Histogram] = attrs.Factory(dict)
    upstream: dict[tuple[str, str], Histogram] = attrs.Factory(dict)  # (to, rcode)
    rejects: int = 0
    dropped: int = 0
    panics: int = 0

    def answered(
        self, zone: str, proto: str, family: str, type: str, rcode: str, asked: int, told: int, seconds: float
    ) -> None:
        """One question; sizes in bytes."""
        key = zone, proto, family, type
        self.requests[key] = self.requests.get(key, 0) + 1
        self.responses[zone, rcode] = self.responses.get((zone, rcode), 0) + 1
        of = zone, proto
        if of not in self.request_sizes:
            self.request_sizes[of], self.response_sizes[of] = Histogram(SIZES), Histogram(SIZES)
            self.durations.setdefault(zone, Histogram(DURATIONS))
        self.request_sizes[of].observe(asked)
        self.response_sizes[of].observe(told)
        self.durations[zone].observe(seconds)

    def forwarded(self, to: str, rcode: str, seconds: float) -> None:
        """One question to another server."""
        if (to, rcode) not in self.upstream:
            self.upstream[to, rcode] = Histogram(DURATIONS)
        self.upstream[to, rcode].observe(seconds)


@attrs.frozen
class Collector:
    """`Measures` for a registry; prometheus-client is loaded when somebody looks."""

    measures: Measures
    cache: Cache
    server: str  # "dns://:53"

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        m, server = self.measures, self.server
        build = GaugeMetricFamily("coredns_build_info", "A metric with a constant '1' value.", labels=["version"])
        build.add_metric([VERSION], 1)
        yield build
        requests = CounterMetricFamily(
            "coredns_dns_requests",
            "Counter of DNS requests made per zone, protocol and family.",
            labels=["server", "zone", "view", "proto", "family", "type"],
        )
        for (zone, proto, family, type), count in list(m.requests.items()):
            requests.add_metric([server, zone, "", proto, family, type], count)
        yield requests
        responses = CounterMetricFamily(
            "coredns_dns_responses",
            "Counter of response status codes.",
            labels=["server", "zone", "view", "rcode", "plugin"],
        )
        for (zone, rcode), count in list(m.responses.items()):
            plugin = "forward" if zone == "." else "kubernetes"
            responses.add_metric([server, zone, "", rcode, plugin], count)
        yield responses
        durations = HistogramMetricFamily(
            "coredns_dns_request_duration_seconds",
            "Histogram of the time (in seconds) each request took per zone.",
            labels=["server", "zone", "view"],
        )
        for zone, found in list(m.durations.items()):
            durations.add_metric([server, zone, ""], found.buckets(), found.sum)
        yield durations
        for name, sizes in (("request", m.request_sizes), ("response", m.response_sizes)):
            family_ = HistogramMetricFamily(
                f"coredns_dns_{name}_size_bytes",
                f"Size of the DNS {name}.",
                labels=["server", "zone", "view", "proto"],
            )
            for (zone, proto), found in list(sizes.items()):
                family_.add_metric([server, zone, "", proto], found.buckets(), found.sum)
            yield family_
        upstream = HistogramMetricFamily(
            "coredns_proxy_request_duration_seconds",
            "Histogram of the time each request to another server took.",
            labels=["proxy_name", "to", "rcode"],
        )
        for (to, rcode), found in list(m.upstream.items()):
            upstream.add_metric(["forward", to, rcode], found.buckets(), found.sum)
        yield upstream
        yield CounterMetricFamily(
            "coredns_forward_max_concurrent_rejects", "Questions given up as too many were under way.", value=m.rejects
        )
        yield CounterMetricFamily("coredns_panics", "Mistakes of the server itself.", value=m.panics)
        yield CounterMetricFamily("kcore_dns_dropped_packets", "Packets that are no questions.", value=m.dropped)
        yield from self._of_cache()

    def _of_cache(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        server, cache = self.server, self.cache
        labels = ["server", "type", "zones", "view"]
        entries = GaugeMetricFamily("coredns_cache_entries", "Elements in the cache.", labels=labels)
        hits = CounterMetricFamily("coredns_cache_hits", "The count of cache hits.", labels=labels)
        for type, count in cache.counts().items():
            entries.add_metric([server, type, ".", ""], count)
            hits.add_metric([server, type, ".", ""], cache.hits[type])
        yield entries
        yield hits
        for name, value in (("misses", cache.misses), ("requests", cache.misses + sum(cache.hits.values()))):
            family = CounterMetricFamily(
                f"coredns_cache_{name}", f"The count of cache {name}.", labels=["server", "zones", "view"]
            )
            family.add_metric([server, ".", ""], value)
            yield family
