"""Work queues: keys of objects to look at, each at most once at a time, with delays and back-off.

The semantics are those of client-go's ``workqueue``: a key that is added while it waits is there once; a key that is
added while it is being worked on comes back when that work is done; so two workers never hold the same key.

    queue = WorkQueue[str]("deployment")
    nursery.start_soon(run_workers, queue, reconcile, 5, log, metrics)
    queue.add("default/web")
"""

from __future__ import annotations

import heapq
import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import attrs
import trio

from kcore.errors import ApiError, Conflict, NotFound, ServiceUnavailable

if TYPE_CHECKING:
    from kcore.metrics import Metrics

K = TypeVar("K", bound=Hashable)

BACKOFF_FIRST, BACKOFF_MAX = 0.005, 1000.0  # seconds; client-go's item exponential failure limiter
_BUCKETS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)


@attrs.define
class _Durations:
    """A histogram of seconds, cheap enough for the hot path."""

    counts: list[int] = attrs.Factory(lambda: [0] * (len(_BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        out, running = [], 0
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), self.counts, strict=True):
            running += count
            out.append((bound, float(running)))
        return out


class WorkQueue(Generic[K]):
    """Keys to work on. `add` and its sisters never block; `run_workers` owns the timer."""

    def __init__(self, name: str = ""):
        self.name = name
        self.adds = 0
        self.retries = 0
        self.waited = _Durations()
        self.worked = _Durations()
        self._ready: deque[K] = deque()
        self._dirty: dict[K, float] = {}  # waiting for a worker, or to be taken again; since when
        self._working: dict[K, float] = {}  # held by a worker; since when
        self._getters = trio.lowlevel.ParkingLot()
        self._later: dict[K, float] = {}  # when a delayed key is due
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._failures: dict[K, int] = {}
        self._earlier = trio.Event()  # the first deadline has moved forward

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing is ready and nothing is being worked on (delayed keys do not count)."""
        return not self._ready and not self._working

    def add(self, key: K) -> None:
        if key in self._dirty:
            return
        self.adds += 1
        self._dirty[key] = trio.current_time()
        if key not in self._working:
            self._ready.append(key)
            self._getters.unpark()

    def add_after(self, key: K, delay: float) -> None:
        """Add in `delay` seconds. Of several delays for one key the earliest counts."""
        if delay <= 0:
            self.add(key)
            return
        due = trio.current_time() + delay
        if self._later.get(key, due + 1) <= due:
            return
        self._later[key] = due
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        if self._heap[0][1] == self._sequence:
            self._earlier.set()

    def add_rate_limited(self, key: K) -> None:
        """Add after a delay that doubles with every failure, until `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries += 1
        self.add_after(key, min(BACKOFF_FIRST * 2.0 ** min(failures, 30), BACKOFF_MAX))

    def forget(self, key: K) -> None:
        """The key's work succeeded: its next failure counts as the first one."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key. Its holder must call `done`."""
        while not self._ready:
            await self._getters.park()
        key = self._ready.popleft()
        now = trio.current_time()
        self.waited.observe(now - self._dirty.pop(key))
        self._working[key] = now
        return key

    def done(self, key: K) -> None:
        self.worked.observe(trio.current_time() - self._working.pop(key))
        if key in self._dirty:
            self._ready.append(key)
            self._getters.unpark()

    async def run_timer(self) -> None:
        """Move delayed keys over when they are due. One task, asleep until the next deadline."""
        while True:
            self._earlier = trio.Event()
            deadline = self._move_due(trio.current_time())
            with trio.move_on_at(deadline):
                await self._earlier.wait()

    def _move_due(self, now: float) -> float:
        """Returns the next deadline."""
        while self._heap:
            due, _, key = self._heap[0]
            if self._later.get(key) != due:  # superseded by an earlier one
                heapq.heappop(self._heap)
            elif due <= now:
                heapq.heappop(self._heap)
                del self._later[key]
                self.add(key)
            else:
                return due
        return float("inf")

    def _unfinished(self) -> tuple[float, float]:
        """(sum, maximum) of the seconds that present work has taken so far."""
        now = trio.current_time()
        ages = [now - since for since in self._working.values()]
        return sum(ages), max(ages, default=0.0)


async def run_workers(
    queue: WorkQueue[K],
    reconcile: Callable[[K], Awaitable[float | None]],
    n: int,
    log: logging.Logger,
    metrics: Metrics | None = None,
) -> None:
    """Work off `queue` with `n` workers until cancelled.

    A number that `reconcile` returns is the seconds after which it wants to see the key again. What it raises is
    logged, and the key comes back with back-off: the error of one object never stops the others.
    """

    async def work() -> None:
        while True:
            key = await queue.get()
            try:
                again = await reconcile(key)
            except Exception as error:
                _report(log, queue.name, key, error)
                queue.add_rate_limited(key)
            else:
                queue.forget(key)
                if again is not None:
                    queue.add_after(key, max(again, 0.001))
            finally:
                queue.done(key)

    shown = _collector(metrics) if metrics is not None else None
    if shown is not None:
        shown.queues.append(queue)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.run_timer)
            for _ in range(n):
                nursery.start_soon(work)
    finally:
        if shown is not None:
            shown.queues.remove(queue)


def _report(log: logging.Logger, name: str, key: Any, error: Exception) -> None:
    if isinstance(error, Conflict | NotFound | ServiceUnavailable | OSError):
        log.debug("%s: %s: %s; will look again", name, key, error)  # ordinary life: somebody else was quicker
    elif isinstance(error, ApiError):
        log.warning("%s: %s: %s; will look again", name, key, error)
    else:
        log.error("%s: %s failed; will look again", name, key, exc_info=error)


@attrs.define(eq=False)
class _Collector:
    """The ``workqueue_*`` families, made when somebody scrapes."""

    queues: list[WorkQueue[Any]] = attrs.Factory(list)

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        adds = CounterMetricFamily("workqueue_adds", "Total number of adds handled by workqueue", labels=["name"])
        retries = CounterMetricFamily(
            "workqueue_retries", "Total number of retries handled by workqueue", labels=["name"]
        )
        depth = GaugeMetricFamily("workqueue_depth", "Current depth of workqueue", labels=["name"])
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "Seconds of work in progress not yet observed", labels=["name"]
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds",
            "Seconds the longest running processor has been running",
            labels=["name"],
        )
        waited = HistogramMetricFamily(
            "workqueue_queue_duration_seconds",
            "Seconds an item stays in workqueue before being requested",
            labels=["name"],
        )
        worked = HistogramMetricFamily(
            "workqueue_work_duration_seconds", "Seconds processing an item from workqueue takes", labels=["name"]
        )
        for queue in tuple(self.queues):
            adds.add_metric([queue.name], queue.adds)
            retries.add_metric([queue.name], queue.retries)
            depth.add_metric([queue.name], len(queue))
            try:
                total, maximum = queue._unfinished()
            except RuntimeError:  # scraped from a thread, where there is no clock
                total, maximum = float(len(queue._working)), 0.0
            unfinished.add_metric([queue.name], total)
            longest.add_metric([queue.name], maximum)
            waited.add_metric([queue.name], queue.waited.cumulative(), sum_value=queue.waited.total)
            worked.add_metric([queue.name], queue.worked.cumulative(), sum_value=queue.worked.total)
        yield from (adds, retries, depth, unfinished, longest, waited, worked)


_collectors: WeakKeyDictionary[Any, _Collector] = WeakKeyDictionary()


def _collector(metrics: Metrics) -> _Collector:
    found = _collectors.get(metrics)
    if found is None:
        found = _collectors[metrics] = _Collector()
        metrics.collect_with(found)
    return found
