"""Counters and histograms in plain Python, which become metric families only when somebody scrapes.

For what is counted on hot paths: an observation costs a dictionary look-up and a bisection, half a microsecond.
A scrape runs in a thread beside the event loop, so series are copied before they are gone through.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric


class Durations:
    """A histogram for each combination of label values."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        self.name, self.help, self.labels, self.bounds = name, help, labels, bounds
        self.series: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def observe(self, seconds: float, *values: str) -> None:
        found = self.series.get(values)
        if found is None:
            found = self.series[values] = ([0] * (len(self.bounds) + 1), [0.0])
        found[0][bisect_left(self.bounds, seconds)] += 1
        found[1][0] += seconds

    def family(self) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        out = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for values, (counts, total) in tuple(self.series.items()):
            sum_, buckets = 0, []
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
                sum_ += count
                shown = "+Inf" if bound == float("inf") else f"{bound:g}"
                buckets.append((shown, float(sum_)))
            out.add_metric(values, buckets, total[0])
        return out

    def summary(self, name: str, help: str) -> Metric:
        from prometheus_client.core import SummaryMetricFamily

        out = SummaryMetricFamily(name, help, labels=self.labels)
        for values, (counts, total) in tuple(self.series.items()):
            out.add_metric(values, count_value=sum(counts), sum_value=total[0])
        return out


class Counts:
    """A counter for each combination of label values."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...], *, total: bool = True) -> None:
        self.name, self.help, self.labels, self.total = name, help, labels, total
        self.series: dict[tuple[str, ...], int] = {}

    def add(self, *values: str) -> None:
        self.series[values] = self.series.get(values, 0) + 1

    def family(self) -> Metric:
        from prometheus_client.core import CounterMetricFamily, Metric

        if self.total:
            counter = CounterMetricFamily(self.name, self.help, labels=self.labels)
            for values, count in tuple(self.series.items()):
                counter.add_metric(values, count)
            return counter
        out = Metric(self.name, self.help, "unknown")  # a counter whose name does not end in _total
        for values, count in tuple(self.series.items()):
            out.add_sample(self.name, dict(zip(self.labels, values, strict=True)), count)
        return out
