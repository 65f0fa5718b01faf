"""What both stores share beyond the contract: how long the past is kept, and what closing does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trio.testing
from kcore_store_memory import MemoryConfig, open_memory
from kcore_store_sqlite import SqliteConfig, open_sqlite
from kcore_store_sqlite.database import Reader
from trio.testing import MockClock

from kcore.errors import Compacted, StoreError
from kcore.store import Store
from kcore.testing import TestContext
from kcore.testing.store_model import take, write

Open = Callable[[Path, float], AbstractAsyncContextManager[Store]]


def memory(directory: Path, retention: float) -> AbstractAsyncContextManager[Store]:
    return open_memory(TestContext(directory), MemoryConfig(history=200, retention=retention))


def sqlite(directory: Path, retention: float) -> AbstractAsyncContextManager[Store]:
    return open_sqlite(TestContext(directory), SqliteConfig(history=200, retention=retention))


both = pytest.mark.parametrize("open", [memory, sqlite])


async def pass_time(clock: MockClock, seconds: float, store: Store, compacted: int) -> None:
    """Move the clock, and wait until the store has compacted so far (which takes SQLite a moment of real time)."""
    clock.jump(seconds)
    while store.compacted < compacted:
        await trio.testing.wait_all_tasks_blocked()


@both
async def test_the_past_is_forgotten_when_the_retention_is_over(
    open: Open, tmp_path: Path, mock_clock: MockClock
) -> None:
    async with open(tmp_path, 60.0) as store:
        await store.put("/a", b"1")
        await trio.testing.wait_all_tasks_blocked()
        await store.put("/a", b"2")
        mock_clock.jump(59)
        await trio.testing.wait_all_tasks_blocked()
        assert store.compacted == 0
        await pass_time(mock_clock, 2, store, 1)
        assert store.compacted == 1  # the second write was made after the mark
        await store.put("/a", b"3")
        await trio.testing.wait_all_tasks_blocked()
        await pass_time(mock_clock, 61, store, 2)
        await trio.testing.wait_all_tasks_blocked()
        await pass_time(mock_clock, 61, store, 3)
        with pytest.raises(Compacted):
            await store.get("/a", revision=2)
        found = await store.get("/a")
        assert found is not None
        assert found.value == b"3"


@both
async def test_a_store_in_which_nothing_happens_compacts_nothing(
    open: Open, tmp_path: Path, mock_clock: MockClock
) -> None:
    async with open(tmp_path, 60.0) as store:
        await store.put("/a", b"1")
        await trio.testing.wait_all_tasks_blocked()
        await pass_time(mock_clock, 61, store, 1)
        mock_clock.jump(1000)
        await trio.testing.wait_all_tasks_blocked()
        assert (store.revision, store.compacted) == (1, 1)


@both
async def test_a_live_watcher_does_not_notice_compaction(open: Open, tmp_path: Path) -> None:
    async with open(tmp_path, 0) as store, store.watch("/") as batches:
        await store.put("/a", b"1")
        await store.compact(1)
        assert [event.revision for event in await take(batches, 1)] == [1]
        await store.put("/a", b"2")
        assert [event.revision for event in await take(batches, 1)] == [2]


async def test_memory_keeps_as_much_history_as_configured(tmp_path: Path) -> None:
    async with memory(tmp_path, 0) as store:
        await write(store, "/", 1000)
        assert 200 <= store.revision - store.compacted <= 225
        page = await store.range("", revision=store.compacted)
        assert page.count == store.compacted
        with pytest.raises(Compacted):
            await store.range("", revision=store.compacted - 1)


async def test_few_large_values_fill_the_history_too(tmp_path: Path) -> None:
    async with open_memory(TestContext(tmp_path), MemoryConfig()) as store:
        value = b"x" * (1 << 20)
        for n in range(100):
            await store.put(f"/{n % 2}", value)
        assert 50 <= store.revision - store.compacted <= 64


@both
async def test_closing_ends_watches_and_refuses_writes(open: Open, tmp_path: Path) -> None:
    async def follow(task_status: trio.TaskStatus[None]) -> None:
        async with store.watch("/") as batches:
            task_status.started()
            with pytest.raises(StoreError, match="closed"):
                await anext(batches)

    async with trio.open_nursery() as nursery, open(tmp_path, 0) as store:
        await nursery.start(follow)
    with pytest.raises(StoreError, match="closed"):
        await store.put("/a", b"")
    with pytest.raises(StoreError, match="closed"):
        async with store.watch("/"):
            pass


@both
async def test_writes_that_are_under_way_when_the_store_closes_are_done_or_refused(open: Open, tmp_path: Path) -> None:
    done, refused = [], []

    async def put(n: int) -> None:
        try:
            await store.put(f"/{n}", b"")
            done.append(f"/{n}")
        except StoreError:
            refused.append(f"/{n}")

    async with trio.open_nursery() as nursery, open(tmp_path, 0) as store:
        for n in range(50):
            nursery.start_soon(put, n)
            await trio.lowlevel.checkpoint()
    assert len(done) + len(refused) == 50
    if open is sqlite:
        async with open(tmp_path, 0) as store:
            assert {item.key for item in (await store.range("")).items} >= set(done)


@both
async def test_what_no_store_could_hold_is_refused_alone(open: Open, tmp_path: Path) -> None:
    async with open(tmp_path, 0) as store:
        with pytest.raises(ValueError, match="surrogate"):
            await store.put("/\ud800", b"")
        with pytest.raises(TypeError, match="bytes"):
            await store.put("/a", "text")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="more than 0"):
            await store.grant(0)
        await store.put("/a", b"")
        assert store.revision == 1


async def test_leaving_a_watch_ends_the_wait_of_another_task(tmp_path: Path) -> None:
    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await anext(batches)

    async with memory(tmp_path, 0) as store, trio.open_nursery() as nursery, store.watch("/") as batches:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()


async def test_two_tasks_may_not_wait_for_one_watch(tmp_path: Path) -> None:
    async with memory(tmp_path, 0) as store, store.watch("/") as batches, trio.open_nursery() as nursery:
        nursery.start_soon(anext, batches)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(batches)
        await store.put("/a", b"")


async def test_old_changes_of_large_values_are_read_in_steps_of_bytes(tmp_path: Path) -> None:
    async with sqlite(tmp_path, 60.0) as store:
        for _ in range(12):
            await store.put("/a", b"x" * (1 << 20))
        last = store.revision
    reader, seen, start = Reader(tmp_path / SqliteConfig().path), [], 1
    while start <= last:
        found, start = reader.events("/", None, start, last + 1, 1000)
        assert len(found) <= 5
        seen += [event.revision for event in found]
    reader.close()
    assert seen == list(range(last - 11, last + 1))
