"""The work queue on the virtual clock."""

import logging

import pytest
import trio

from kcore.client.workqueue import WorkQueue, run_workers
from kcore.metrics import Metrics

LOG = logging.getLogger("test")


async def test_a_key_waits_only_once_and_is_held_by_one_worker(autojump_clock: trio.testing.MockClock) -> None:
    queue: WorkQueue[str] = WorkQueue("q")
    running: set[str] = set()
    done: list[str] = []

    async def reconcile(key: str) -> None:
        assert key not in running
        running.add(key)
        await trio.sleep(1)
        running.remove(key)
        done.append(key)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_workers, queue, reconcile, 3, LOG)
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        await trio.sleep(0.5)
        queue.add("a")  # while it is being worked on: once more afterwards
        queue.add("a")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert sorted(done) == ["a", "a", "b"]
    assert queue.idle


async def test_failures_back_off_per_key_and_success_forgets(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    queue: WorkQueue[str] = WorkQueue("q")
    times: list[float] = []

    async def reconcile(key: str) -> None:
        times.append(trio.current_time())
        if len(times) < 5:
            raise ValueError("not yet")

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_workers, queue, reconcile, 1, LOG)
        queue.add("a")
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert [round(t - start, 3) for t in times] == [0, 0.005, 0.015, 0.035, 0.075]
    assert queue.failures("a") == 0
    assert "a failed" in caplog.text


async def test_of_several_delays_the_earliest_counts(autojump_clock: trio.testing.MockClock) -> None:
    queue: WorkQueue[str] = WorkQueue("q")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run_timer)
        start = trio.current_time()
        queue.add_after("a", 30)
        queue.add_after("b", 20)
        queue.add_after("a", 10)
        queue.add_after("a", 40)
        order = []
        for _ in range(2):
            key = await queue.get()
            order.append((key, trio.current_time() - start))
            queue.done(key)
        await trio.sleep(100)
        assert len(queue) == 0
        nursery.cancel_scope.cancel()
    assert order == [("a", 10), ("b", 20)]


async def test_a_returned_number_brings_the_key_back(autojump_clock: trio.testing.MockClock) -> None:
    queue: WorkQueue[str] = WorkQueue("q")
    times: list[float] = []

    async def reconcile(key: str) -> float | None:
        times.append(trio.current_time())
        return 7.0 if len(times) < 3 else None

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_workers, queue, reconcile, 1, LOG)
        queue.add("a")
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert [t - start for t in times] == [0, 7, 14]


async def test_queues_show_themselves_under_the_upstream_names(autojump_clock: trio.testing.MockClock) -> None:
    queue: WorkQueue[str] = WorkQueue("deployment")
    metrics = Metrics("controller-manager")

    async def reconcile(key: str) -> None:
        await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_workers, queue, reconcile, 1, LOG, metrics)
        queue.add("a")
        await trio.sleep(1)
        text = metrics.expose().decode()
        nursery.cancel_scope.cancel()
    assert 'workqueue_adds_total{name="deployment"} 1.0' in text
    assert 'workqueue_depth{name="deployment"} 0.0' in text
    assert 'workqueue_work_duration_seconds_bucket{le="1.0",name="deployment"} 1.0' in text
    assert 'workqueue_queue_duration_seconds_count{name="deployment"} 1.0' in text
