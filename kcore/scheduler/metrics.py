"""The scheduler's metrics, with upstream's names, labels and buckets.

Children of labelled metrics are kept: finding them again would cost more than counting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from kcore.metrics import Metrics
from kcore.scheduler.queue import ACTIVE, BACKOFF, GATED, UNSCHEDULABLE


def _exponential(start: float, factor: float, count: int) -> tuple[float, ...]:
    return tuple(start * factor**i for i in range(count))


class SchedulerMetrics:
    def __init__(self, metrics: Metrics) -> None:
        seconds = _exponential(0.001, 2, 15)
        self._attempts = metrics.counter(
            "scheduler_schedule_attempts",
            "Number of attempts to schedule pods, by the result.",
            ("profile", "result"),
        )
        self._attempt_seconds = metrics.histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            ("profile", "result"),
            buckets=seconds,
        )
        self.algorithm_seconds = metrics.histogram(
            "scheduler_scheduling_algorithm_duration_seconds",
            "Scheduling algorithm latency in seconds",
            buckets=seconds,
        )
        self._sli_seconds = metrics.histogram(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "E2e latency for a pod being scheduled, from the time it enters the queue.",
            ("attempts",),
            buckets=_exponential(0.01, 2, 20),
        )
        self.pod_attempts = metrics.histogram(
            "scheduler_pod_scheduling_attempts",
            "Number of attempts to successfully schedule a pod.",
            buckets=(1, 2, 4, 8, 16),
        )
        self._points = metrics.histogram(
            "scheduler_framework_extension_point_duration_seconds",
            "Latency for running all plugins of a specific extension point.",
            ("extension_point", "profile", "status"),
            buckets=_exponential(0.0001, 2, 12),
        )
        self._incoming = metrics.counter(
            "scheduler_queue_incoming_pods",
            "Number of pods added to scheduling queues by event and queue type.",
            ("event", "queue"),
        )
        self._pending = metrics.gauge(
            "scheduler_pending_pods", "Number of pending pods, by the queue type.", ("queue",)
        )
        self.preemption_attempts = metrics.counter(
            "scheduler_preemption_attempts", "Total preemption attempts in the cluster till now"
        )
        self.preemption_victims = metrics.histogram(
            "scheduler_preemption_victims", "Number of selected preemption victims", buckets=_exponential(1, 2, 7)
        )
        self._cache_size = metrics.gauge(
            "scheduler_cache_size",
            "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
            ("type",),
        )
        self._unschedulable = metrics.gauge(
            "scheduler_unschedulable_pods",
            "The number of unschedulable pods broken down by plugin name.",
            ("plugin", "profile"),
        )
        self._failures = metrics.counter(
            "kcore_scheduler_policy_errors",
            "Errors that a policy raised, by the policy and where.",
            ("plugin", "point"),
        )
        # One child for each combination that occurs; there are only a few dozen.
        self._attempt = lru_cache(None)(
            lambda *labels: (self._attempts.labels(*labels), self._attempt_seconds.labels(*labels))
        )
        self._point = lru_cache(None)(self._points.labels)
        self._sli = lru_cache(None)(self._sli_seconds.labels)
        self._enter = lru_cache(None)(self._incoming.labels)

    def attempted(self, result: str, profile: str, seconds: float) -> None:
        """`result` is scheduled, unschedulable or error."""
        counter, histogram = self._attempt(profile, result)
        counter.inc()
        histogram.observe(seconds)

    def scheduled(self, attempts: int, seconds: float) -> None:
        self.pod_attempts.observe(attempts)
        self._sli(str(attempts) if attempts < 16 else "16+").observe(seconds)

    def observer(self, profile: str) -> Callable[[str, bool, float], None]:
        """For `kcore.scheduler.cycle.schedule`."""

        def observe(point: str, success: bool, seconds: float) -> None:
            self._point(point, profile, "Success" if success else "Unschedulable").observe(seconds)

        return observe

    def incoming(self, event: str, queue: str) -> None:
        self._enter(event, queue).inc()

    def policy_failed(self, policy: str, point: str) -> None:
        self._failures.labels(policy, point).inc()

    def show(
        self,
        sizes: dict[str, int],
        cache: dict[str, Callable[[], int]],
        waiting: dict[tuple[str, str], Callable[[], int]],
    ) -> None:
        """Sizes that are read when scraped: of the queues, of the cache, and of the pods waiting for each
        (policy, profile)."""
        for name in (ACTIVE, BACKOFF, UNSCHEDULABLE, GATED):
            self._pending.labels(name).set_function(partial(sizes.__getitem__, name))
        for type, size in cache.items():
            self._cache_size.labels(type).set_function(size)
        for labels, size in waiting.items():
            self._unschedulable.labels(*labels).set_function(size)
