"""What is counted of flow control, under upstream's names: plain numbers until somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kcore.api.observe import Histogram

if TYPE_CHECKING:
    from prometheus_client import Metric

    from kcore.api.flow.control import FlowControl

_SECONDS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
_LENGTHS = (0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
_SEATS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0)
_WATCHES = (0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0)


class SchemaNumbers:
    """Of one flow schema with its priority level."""

    __slots__ = (
        "dispatched",
        "executing",
        "executing_seats",
        "execution",
        "lengths",
        "level",
        "refused",
        "regular",
        "schema",
        "seats",
        "waited",
        "waited_in_vain",
        "waiting",
        "waiting_seats",
        "watches",
    )  # fmt: skip

    def __init__(self, schema: str, level: str) -> None:
        self.schema, self.level = schema, level
        self.dispatched = self.executing = self.executing_seats = self.waiting = self.waiting_seats = 0
        self.refused: dict[str, int] = {}  # by reason
        self.regular = 0  # requests that neither waited nor were wide: their histograms are added when asked for
        self.execution = {"regular": Histogram(_SECONDS), "watch": Histogram(_SECONDS)}
        self.waited, self.waited_in_vain = Histogram(_SECONDS), Histogram(_SECONDS)
        self.lengths, self.seats, self.watches = Histogram(_LENGTHS), Histogram(_SEATS), Histogram(_WATCHES)


class LevelNumbers:
    __slots__ = ("high",)

    def __init__(self) -> None:
        self.high = 0  # the most seats that were wanted at a time, since the last scrape


def collect(control: FlowControl) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    both = ["priority_level", "flow_schema"]
    counters = {
        "dispatched": CounterMetricFamily(
            "apiserver_flowcontrol_dispatched_requests",
            "Number of requests executed by API Priority and Fairness subsystem",
            labels=both,
        ),
        "rejected": CounterMetricFamily(
            "apiserver_flowcontrol_rejected_requests",
            "Number of requests rejected by API Priority and Fairness subsystem",
            labels=[*both, "reason"],
        ),
    }
    gauges = {
        name: GaugeMetricFamily(f"apiserver_flowcontrol_{name}", text, labels=both)
        for name, text in (
            ("current_executing_requests", "Number of requests in initial execution stage"),
            ("current_executing_seats", "Concurrency (number of seats) occupied by executing requests"),
            ("current_inqueue_requests", "Number of requests currently pending in queues"),
            ("current_inqueue_seats", "Number of seats currently pending in queues"),
            ("request_concurrency_in_use", "Concurrency (number of seats) occupied by executing requests"),
        )
    }
    waits = HistogramMetricFamily(
        "apiserver_flowcontrol_request_wait_duration_seconds",
        "Length of time a request spent waiting in its queue",
        labels=[*both, "execute"],
    )
    execution = HistogramMetricFamily(
        "apiserver_flowcontrol_request_execution_seconds",
        "Duration of initial stage of request execution",
        labels=[*both, "type"],
    )
    lengths = HistogramMetricFamily(
        "apiserver_flowcontrol_request_queue_length_after_enqueue",
        "Length of queue after a request was put into it",
        labels=both,
    )
    seats = HistogramMetricFamily(
        "apiserver_flowcontrol_work_estimated_seats", "Number of estimated seats of a request", labels=both
    )
    watches = HistogramMetricFamily(
        "apiserver_flowcontrol_watch_count_samples", "Count of watchers for mutating requests", labels=both
    )
    for numbers in control.numbers.values():
        values = [numbers.level, numbers.schema]
        counters["dispatched"].add_metric(values, numbers.dispatched)
        for reason, count in numbers.refused.items():
            counters["rejected"].add_metric([*values, reason], count)
        gauges["current_executing_requests"].add_metric(values, numbers.executing)
        for name in ("current_executing_seats", "request_concurrency_in_use"):
            gauges[name].add_metric(values, numbers.executing_seats)
        gauges["current_inqueue_requests"].add_metric(values, numbers.waiting)
        gauges["current_inqueue_seats"].add_metric(values, numbers.waiting_seats)
        at_once = numbers.regular  # they waited 0 seconds, one seat wide
        waits.add_metric([*values, "true"], _with(numbers.waited, at_once), numbers.waited.sum)
        waits.add_metric([*values, "false"], numbers.waited_in_vain.buckets(), numbers.waited_in_vain.sum)
        seats.add_metric(values, _with(numbers.seats, at_once), numbers.seats.sum + at_once)
        for type, histogram in numbers.execution.items():
            execution.add_metric([*values, type], histogram.buckets(), histogram.sum)
        lengths.add_metric(values, numbers.lengths.buckets(), numbers.lengths.sum)
        watches.add_metric(values, numbers.watches.buckets(), numbers.watches.sum)
    yield from counters.values()
    yield from gauges.values()
    yield from (waits, execution, lengths, seats, watches)
    yield from _levels(control)


def _with(histogram: Histogram, more: int) -> list[tuple[str, float]]:
    """The buckets, with that many more in the first one."""
    return [(bound, count + more) for bound, count in histogram.buckets()]


def _levels(control: FlowControl) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    texts = {
        "nominal_limit_seats": "Nominal number of execution seats configured for each priority level",
        "request_concurrency_limit": "Nominal number of execution seats configured for each priority level",
        "lower_limit_seats": "Configured lower bound on number of execution seats available to each priority level",
        "upper_limit_seats": "Configured upper bound on number of execution seats available to each priority level",
        "current_limit_seats": "current derived number of execution seats available to each priority level",
        "demand_seats_high_watermark": "High watermark, over last adjustment period, of demand_seats",
        "current_r": "R(time of last change)",
    }
    families = {
        name: GaugeMetricFamily(f"apiserver_flowcontrol_{name}", text, labels=["priority_level"])
        for name, text in texts.items()
    }
    for level in control.levels:
        wanted = level.executing + level.waiting_seats
        figures = (
            level.nominal, level.nominal, level.minimum, min(level.maximum, control.total),
            max(level.nominal, level.executing), max(level.numbers.high, wanted), level.clock,
        )  # fmt: skip
        level.numbers.high = wanted
        for family, figure in zip(families.values(), figures, strict=True):
            family.add_metric([level.spec.name], figure)
    yield from families.values()
