"""The API server's own measurements, under upstream's names, labels and buckets.

A request costs two dictionary look-ups and a bisection here: the numbers are kept in plain Python and become metric
families only when somebody scrapes.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kcore.api.feed import Feed
from kcore.api.health import VERSION
from kcore.api.routing import RequestInfo
from kcore.api.served import Served
from kcore.http.messages import AnyResponse, StreamResponse
from kcore.metrics import Metrics

if TYPE_CHECKING:
    from prometheus_client import Metric

_DURATION = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
)  # fmt: skip
_SLI = (
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    1.0,
    1.25,
    1.5,
    2.0,
    3.0,
    4.0,
    5.0,
    6.0,
    8.0,
    10.0,
    15.0,
    20.0,
    30.0,
    45.0,
    60.0,
)
_SIZES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)

_VERBS = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
}
_READ = frozenset(("get", "list", "watch", "head", "options"))

Labels = tuple[str, str, str, str, str, str]  # verb, group, version, resource, subresource, scope


class Histogram:
    """Counts in buckets; the last one is +Inf."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        total, out = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            out.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return out


class _Series:
    """What is counted for one kind of request."""

    __slots__ = ("codes", "duration", "running", "size", "terminated")

    def __init__(self) -> None:
        self.codes: dict[tuple[int, str], int] = {}
        self.terminated: dict[int, int] = {}
        self.duration = Histogram(_DURATION)
        self.size = Histogram(_SIZES)
        self.running = 0  # long-running requests under way


class Observation:
    """One request under way."""

    __slots__ = ("_began", "_dry_run", "_info", "_observed", "_series")

    def __init__(self, observed: Observed, info: RequestInfo, series: _Series, dry_run: str) -> None:
        self._observed, self._info, self._series, self._dry_run = observed, info, series, dry_run
        self._began = time.perf_counter()

    def end(self, code: int, response: AnyResponse | None = None, terminated: bool = False) -> None:
        """`terminated` says that the server has ended the request in self-defence."""
        observed, series = self._observed, self._series
        if terminated:
            series.terminated[code] = series.terminated.get(code, 0) + 1
        if self._info.verb in _READ:
            observed.reading -= 1
        else:
            observed.writing -= 1
        key = (code, self._dry_run)
        series.codes[key] = series.codes.get(key, 0) + 1
        if isinstance(response, StreamResponse):
            series.running += 1
            return  # its duration is how long the client stays, which says nothing about the server
        series.duration.observe(time.perf_counter() - self._began)
        body = getattr(response, "body", b"")
        if self._info.verb in ("get", "list"):
            series.size.observe(sum(map(len, body)) if isinstance(body, list) else len(body))


class Observed:
    """All measurements; a collector of the component's registry."""

    def __init__(self, metrics: Metrics, feed: Feed) -> None:
        self._feed = feed
        self.reading = self.writing = 0
        self._series: dict[Labels, _Series] = {}
        self._watch_events: dict[tuple[str, str, str], int] = {}
        metrics.collect_with(self)

    def begin(self, info: RequestInfo, dry_run: bool = False) -> Observation:
        if info.verb in _READ:
            self.reading += 1
        else:
            self.writing += 1
        return Observation(self, info, self._of(info), "All" if dry_run else "")

    def watch_ended(self, served: Served, scope: str, sent: int) -> None:
        kind = served.kind
        key = (kind.group, kind.version, kind.plural)
        self._watch_events[key] = self._watch_events.get(key, 0) + sent
        series = self._series.get(("WATCH", kind.group, kind.version, kind.plural, "", scope))
        if series is not None and series.running:
            series.running -= 1

    def _of(self, info: RequestInfo) -> _Series:
        verb = _VERBS.get(info.verb) or info.verb.upper()
        labels = (verb, info.group, info.version, info.resource, info.subresource, scope(info))
        found = self._series.get(labels)
        if found is None:
            if len(self._series) > 2000 or not info.resource:
                labels = (verb, "", "", "", "", "")  # paths are the client's to invent: they make no label
            found = self._series.setdefault(labels, _Series())
        return found

    # --- for a scrape -------------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._gauges()

    def _requests(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        names = ["verb", "group", "version", "resource", "subresource", "scope", "component"]
        total = CounterMetricFamily(
            "apiserver_request",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, "
            "component, and HTTP response code.",
            labels=[*names, "dry_run", "code"],
        )
        duration = HistogramMetricFamily(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds.",
            labels=[*names, "dry_run"],
        )
        sli = HistogramMetricFamily(
            "apiserver_request_sli_duration_seconds",
            "Response latency distribution without time spent in webhooks and queues.",
            labels=names,
        )
        ended = CounterMetricFamily(
            "apiserver_request_terminations",
            "Number of requests which apiserver terminated in self-defense.",
            labels=[*names, "code"],
        )
        sizes = HistogramMetricFamily("apiserver_response_sizes", "Response size distribution in bytes.", labels=names)
        running = GaugeMetricFamily(
            "apiserver_longrunning_requests", "Gauge of all active long-running apiserver requests.", labels=names
        )
        for known in ("429", "504"):  # rates need to see where a counter began
            ended.add_metric(["", "", "", "", "", "", "apiserver", known], 0)
        for labels, series in tuple(self._series.items()):
            values = [*labels, "apiserver"]
            for ending, times in series.terminated.items():
                ended.add_metric([*values, str(ending)], times)
            for (code, dry_run), count in series.codes.items():
                total.add_metric([*values, dry_run, str(code)], count)
            if labels[0] == "WATCH":
                running.add_metric(values, series.running)
                continue
            duration.add_metric([*values, ""], series.duration.buckets(), series.duration.sum)
            sli.add_metric(values, _coarser(series.duration), series.duration.sum)
            if labels[0] in ("GET", "LIST"):
                sizes.add_metric(values, series.size.buckets(), series.size.sum)
        yield from (total, duration, sli, ended, sizes, running)

    def _gauges(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        inflight = GaugeMetricFamily(
            "apiserver_current_inflight_requests", "Requests being answered, by kind.", labels=["request_kind"]
        )
        inflight.add_metric(["readOnly"], self.reading)
        inflight.add_metric(["mutating"], self.writing)
        inqueue = GaugeMetricFamily(
            "apiserver_current_inqueue_requests", "Requests that wait, by kind.", labels=["request_kind"]
        )
        inqueue.add_metric(["readOnly"], 0)
        inqueue.add_metric(["mutating"], 0)
        events = CounterMetricFamily(
            "apiserver_watch_events", "Number of events sent in watches.", labels=["group", "version", "resource"]
        )
        for key, sent in self._watch_events.items():
            events.add_metric(list(key), sent)
        stored = GaugeMetricFamily("apiserver_storage_objects", "Number of stored objects.", labels=["resource"])
        objects = GaugeMetricFamily(
            "apiserver_resource_objects", "Number of stored objects.", labels=["group", "resource"]
        )
        for prefix, cache in self._feed.caches().items():
            group, _, plural = prefix.partition("/")
            group = "" if group == "core" else group
            stored.add_metric([f"{plural}.{group}" if group else plural], cache.count())
            objects.add_metric([group, plural], cache.count())
        info: dict[str, Any] = VERSION
        fields = {
            "major": "major",
            "minor": "minor",
            "git_version": "gitVersion",
            "git_commit": "gitCommit",
            "git_tree_state": "gitTreeState",
            "build_date": "buildDate",
            "go_version": "goVersion",
            "compiler": "compiler",
            "platform": "platform",
        }
        build = GaugeMetricFamily("kubernetes_build_info", "The version that is served.", labels=list(fields))
        build.add_metric([str(info[key]) for key in fields.values()], 1)
        yield from (inflight, inqueue, events, stored, objects, build)


def _coarser(duration: Histogram) -> list[tuple[str, float]]:
    """The SLI histogram has the same buckets but for the two smallest."""
    return duration.buckets()[len(_DURATION) - len(_SLI) :]


def scope(info: RequestInfo) -> str:
    """How far a request reaches: resource, namespace or cluster."""
    if not info.resource:
        return ""
    if info.named or info.verb == "create":
        return "resource"
    return "namespace" if info.namespace else "cluster"
