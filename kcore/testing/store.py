"""The conformance suite of the store contract (`kcore.store`). For a store of your own:

    from kcore.testing.store import StoreConformance

    class TestRedis(StoreConformance):
        provider = redis_provider
        config = RedisConfig(database=7)

with pytest-trio installed and ``trio_mode = true`` in pytest's settings. A store that keeps what it holds when it is
closed takes `DurableStoreConformance`. Every test opens the store anew in a directory of its own (`TestContext`),
where it must be empty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from kcore.errors import Compacted, CompareFailed, FutureRevision
from kcore.registry import Provider
from kcore.store import Event, KeyValue, Store
from kcore.testing import TestContext
from kcore.testing.store_leases import LeaseConformance
from kcore.testing.store_model import (
    Model,
    check_concurrently,
    check_reads_of_the_past,
    check_sequentially,
    take,
    write,
)

__all__ = ["DurableStoreConformance", "StoreConformance"]


class StoreConformance(LeaseConformance):
    """Subclass it, name the provider. Its tests are the contract's promises."""

    provider: ClassVar[Provider[Any]]
    config: ClassVar[Any] = None
    """An instance of the provider's config class; None for its defaults."""
    overflow: ClassVar[int] = 2000
    """How many unread events are more than a watcher's buffer and the history in memory hold. Choose a config with
    small bounds, so that this is quick."""

    @asynccontextmanager
    async def open(self, directory: Path) -> AsyncIterator[Store]:
        """A store in this directory: a durable one as it was left there."""
        config = self.provider.config() if self.config is None else self.config
        async with self.provider.open(TestContext(directory), config) as store:
            yield store

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with self.open(tmp_path) as store:
            yield store

    # --- revisions and versions ------------------------------------------------------------------------------------

    async def test_an_empty_store_is_at_revision_0(self, store: Store) -> None:
        assert (store.revision, store.compacted) == (0, 0)
        assert await store.get("/a") is None
        page = await store.range("")
        assert (page.revision, page.items, page.more, page.count) == (0, [], False, 0)

    async def test_every_write_takes_the_next_revision(self, store: Store) -> None:
        assert await store.put("/a", b"1") == KeyValue("/a", b"1", 1, 1, 1)
        assert await store.put("/b", b"2") == KeyValue("/b", b"2", 2, 2, 1)
        assert await store.put("/a", b"3") == KeyValue("/a", b"3", 1, 3, 2)
        assert await store.delete("/b") == KeyValue("/b", b"2", 2, 2, 1)
        assert store.revision == 4
        assert await store.get("/b") is None

    async def test_a_key_that_is_created_again_starts_at_version_1(self, store: Store) -> None:
        await store.put("/a", b"1")
        await store.put("/a", b"2")
        await store.delete("/a")
        assert await store.put("/a", b"3") == KeyValue("/a", b"3", 4, 4, 1)

    async def test_deleting_nothing_uses_no_revision(self, store: Store) -> None:
        assert await store.delete("/a") is None
        assert await store.delete("/a", expect=0) is None
        assert store.revision == 0

    async def test_keys_and_values_are_kept_as_they_are(self, store: Store) -> None:
        values = {"/empty": b"", "/zero": b"\0a\0", "/é/\U0001f600": b"\xff\xfe", "/long" * 100: b"x" * (1 << 20)}
        for key, value in values.items():
            await store.put(key, value)
        assert {item.key: item.value for item in (await store.range("/")).items} == values

    # --- compare-and-set -------------------------------------------------------------------------------------------

    async def test_expecting_0_creates_and_never_overwrites(self, store: Store) -> None:
        await store.put("/a", b"1", expect=0)
        with pytest.raises(CompareFailed) as caught:
            await store.put("/a", b"2", expect=0)
        assert (caught.value.key, caught.value.expected, caught.value.current) == ("/a", 0, 1)
        assert await store.get("/a") == KeyValue("/a", b"1", 1, 1, 1)
        await store.delete("/a")
        assert (await store.put("/a", b"3", expect=0)).value == b"3"

    async def test_expecting_a_revision_writes_only_over_that_one(self, store: Store) -> None:
        first = await store.put("/a", b"1")
        second = await store.put("/a", b"2", expect=first.mod_revision)
        for wrong in (first.mod_revision, second.mod_revision + 1, 0):
            with pytest.raises(CompareFailed) as caught:
                await store.put("/a", b"3", expect=wrong)
            assert caught.value.current == second.mod_revision
            with pytest.raises(CompareFailed):
                await store.delete("/a", expect=wrong)
        with pytest.raises(CompareFailed) as caught:
            await store.put("/none", b"", expect=1)
        assert caught.value.current == 0
        with pytest.raises(CompareFailed):
            await store.delete("/none", expect=1)
        assert store.revision == 2
        assert await store.delete("/a", expect=second.mod_revision) == second

    async def test_of_many_who_expect_the_same_one_wins(self, store: Store) -> None:
        outcomes: list[KeyValue | CompareFailed] = []

        async def attempt(n: int) -> None:
            try:
                outcomes.append(await store.put("/a", b"%d" % n, expect=0))
            except CompareFailed as error:
                outcomes.append(error)

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(attempt, n)
        won = [outcome for outcome in outcomes if isinstance(outcome, KeyValue)]
        assert len(outcomes) == 20
        assert won == [await store.get("/a")]
        assert store.revision == 1

    # --- ranges ----------------------------------------------------------------------------------------------------

    async def test_a_range_holds_the_keys_of_its_prefix_in_order(self, store: Store) -> None:
        for key in ("/b/2", "/a/1", "/b/10", "/b", "/c", "/b/1", "/b0", "/b/é", "/b/\U0001f600", "/b/\uffff"):
            await store.put(key, b"")
        page = await store.range("/b/")
        assert [item.key for item in page.items] == ["/b/1", "/b/10", "/b/2", "/b/é", "/b/\uffff", "/b/\U0001f600"]
        assert (page.revision, page.more, page.count) == (10, False, 6)
        assert (await store.range("")).count == 10
        assert (await store.range("/b")).count == 8
        assert (await store.range("/d")).count == 0
        assert [item.key for item in (await store.range("/b/\U0001f600")).items] == ["/b/\U0001f600"]

    async def test_a_limit_cuts_a_page_and_says_so(self, store: Store) -> None:
        await write(store, "/a/", 10)
        page = await store.range("/a/", limit=4)
        assert ([item.value for item in page.items], page.more, page.count) == ([b"0", b"1", b"2", b"3"], True, 10)
        page = await store.range("/a/", start=page.items[-1].key + "\0", limit=6)
        assert ([item.value for item in page.items][:2], page.more, page.count) == ([b"4", b"5"], False, 6)
        assert (await store.range("/a/", start="/a/9")).count == 0
        assert (await store.range("/a/", start="/b")).count == 0
        assert (await store.range("/a/", start="/")).count == 10

    async def test_pages_at_one_revision_fit_together_while_others_write(self, store: Store) -> None:
        await write(store, "/a/", 50)
        first = await store.range("/a/", limit=20)
        await write(store, "/a/0000", 99)
        for n in range(0, 50, 3):
            await store.delete(f"/a/{n:06}")
        second = await store.range("/a/", start=first.items[-1].key + "\0", limit=20, revision=first.revision)
        third = await store.range("/a/", start=second.items[-1].key + "\0", limit=20, revision=first.revision)
        assert [page.more for page in (first, second, third)] == [True, True, False]
        assert [page.count for page in (first, second, third)] == [50, 30, 10]
        values = [item.value for page in (first, second, third) for item in page.items]
        assert values == [b"%d" % n for n in range(50)]

    # --- the past, and its end -------------------------------------------------------------------------------------

    async def test_the_past_reads_as_it_was(self, store: Store) -> None:
        for value in (b"1", b"2"):
            await store.put("/a", value)
        await store.delete("/a")
        await store.put("/a", b"4")
        values = []
        for revision in (1, 2, 3, 4):
            found = await store.get("/a", revision=revision)
            assert (await store.range("/", revision=revision)).items == ([found] if found else [])
            values.append(found and (found.value, found.version))
        assert values == [(b"1", 1), (b"2", 2), None, (b"4", 1)]

    async def test_the_future_cannot_be_read(self, store: Store) -> None:
        await store.put("/a", b"")
        with pytest.raises(FutureRevision) as caught:
            await store.get("/a", revision=2)
        assert (caught.value.asked, caught.value.current) == (2, 1)
        with pytest.raises(FutureRevision):
            await store.range("", revision=2)
        with pytest.raises(FutureRevision):
            await store.compact(2)
        with pytest.raises(FutureRevision):
            async with store.watch("", 3):
                pass
        async with store.watch("", 2):
            pass

    async def test_compaction_ends_the_past_and_keeps_the_present(self, store: Store) -> None:
        for n in range(6):
            await store.put(f"/{n % 2}", b"%d" % n)
        await store.delete("/0")
        await store.compact(4)
        assert store.compacted == 4
        with pytest.raises(Compacted) as caught:
            await store.get("/0", revision=3)
        assert (caught.value.asked, caught.value.oldest) == (3, 4)
        with pytest.raises(Compacted):
            await store.range("", revision=3)
        for start in (1, 4):
            with pytest.raises(Compacted):
                async with store.watch("", start):
                    pass
        for again in (3, 4):
            with pytest.raises(Compacted):
                await store.compact(again)
        assert [item.value for item in (await store.range("", revision=4)).items] == [b"2", b"3"]
        assert [item.value for item in (await store.range("")).items] == [b"5"]
        async with store.watch("", 5) as batches:
            events = await take(batches, 3)
        assert [event.revision for event in events] == [5, 6, 7]
        assert [event.previous and event.previous.value for event in events] == [b"2", b"3", b"4"]
        await store.compact(7)
        assert [item.value for item in (await store.range("")).items] == [b"5"]
        assert (await store.put("/0", b"")).mod_revision == 8

    # --- watches ---------------------------------------------------------------------------------------------------

    async def test_a_watch_tells_creations_changes_and_deletions(self, store: Store) -> None:
        await store.put("/a/1", b"before")
        async with store.watch("/a/") as batches:
            one = await store.put("/a/2", b"1")
            await store.put("/b", b"")
            two = await store.put("/a/2", b"2")
            await store.delete("/a/2")
            expected = [Event(2, "/a/2", one, None), Event(4, "/a/2", two, one), Event(5, "/a/2", None, two)]
            assert await take(batches, 3) == expected

    async def test_a_watch_starts_anywhere_in_the_past(self, store: Store) -> None:
        await write(store, "/a/", 20)
        for n in range(0, 20, 2):
            await store.delete(f"/a/{n:06}")
        async with store.watch("", 1) as batches:
            everything = await take(batches, 30)
        Model().replay(everything)
        for start in range(1, 31):
            async with store.watch("", start) as batches:
                assert await take(batches, 31 - start) == everything[start - 1 :]

    async def test_each_watcher_gets_what_is_under_its_prefix(self, store: Store) -> None:
        prefixes = ["", "/", "/a", "/a/", "/a/", "/a/b", "/a/bc", "/x"]
        keys = ["/a", "/a/", "/a/b", "/a/bc", "/b", "", "/a/é"]
        got: dict[int, list[str]] = {}

        async def watch(n: int, task_status: trio.TaskStatus[None]) -> None:
            got[n] = []
            async with store.watch(prefixes[n]) as batches:
                task_status.started()
                expected = [key for key in keys if key.startswith(prefixes[n])]
                got[n] = [event.key for event in await take(batches, len(expected))]

        async with trio.open_nursery() as nursery:
            for n in range(len(prefixes)):
                await nursery.start(watch, n)
            for key in keys:
                await store.put(key, b"")
        for n, prefix in enumerate(prefixes):
            assert got[n] == [key for key in keys if key.startswith(prefix)]

    async def test_an_event_waits_for_no_timer(self, store: Store, mock_clock: MockClock) -> None:
        async with store.watch("/") as batches:  # this clock stands still: a timer would never go off
            for n in range(20):
                await store.put("/a", b"%d" % n)
                assert [event.revision for event in await anext(batches)] == [n + 1]

    async def test_watches_have_neither_gap_nor_repeat_under_concurrent_writers(self, store: Store) -> None:
        count = 400

        async def follow(start: int) -> None:
            seen = start - 1
            while seen < count:
                async with store.watch("/", seen + 1) as batches:  # leave and resume, again and again
                    for _ in range(3):
                        if seen == count:
                            break
                        for event in await anext(batches):
                            assert event.revision == seen + 1
                            seen += 1

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(follow, 1)
            nursery.start_soon(write, store, "/a/", count)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(follow, store.revision + 1)

    async def test_a_cancelled_watcher_has_lost_nothing(self, store: Store) -> None:
        seen: list[int] = []

        async def interrupt(scope: trio.CancelScope, rounds: int) -> None:
            for _ in range(rounds):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with store.watch("/") as batches, trio.open_nursery() as nursery:
            nursery.start_soon(write, store, "/a/", 200, 8)
            rounds = 0
            while len(seen) < 200:
                rounds = (rounds + 1) % 7
                with trio.CancelScope() as scope:
                    nursery.start_soon(interrupt, scope, rounds)
                    seen += [event.revision for event in await anext(batches)]
        assert seen == list(range(1, 201))

    async def test_a_watch_of_long_ago_is_exact_or_compacted(self, store: Store) -> None:
        """History leaves memory while a reader is on its way through it."""
        await write(store, "/a/", self.overflow)
        seen, cut = store.compacted, None
        async with store.watch("/", seen + 1) as batches, trio.open_nursery() as nursery:
            nursery.start_soon(write, store, "/a/", self.overflow)
            try:
                while seen < 2 * self.overflow:
                    for event in await anext(batches):
                        assert event.revision == seen + 1
                        seen += 1
                    await trio.lowlevel.checkpoint()
            except Compacted as error:
                cut = error
        if cut is not None:
            assert cut.asked == seen + 1
            assert cut.asked <= store.compacted

    async def test_a_watcher_that_reads_nothing_is_cut_off(self, store: Store) -> None:
        async with store.watch("/") as batches:
            await write(store, "/a/", self.overflow)
            if store.compacted < store.revision:
                await store.compact(store.revision)
            await write(store, "/a/", self.overflow)
            model = Model()
            with pytest.raises(Compacted):  # noqa: PT012  # what comes before must be exact
                while True:
                    model.replay(await anext(batches))
            with pytest.raises(Compacted):
                await anext(batches)
            assert model.revision <= self.overflow

    # --- cancellation and concurrency ------------------------------------------------------------------------------

    async def test_a_cancelled_write_happens_wholly_or_not_at_all(self, store: Store) -> None:
        acknowledged: set[str] = set()

        async def attempt(n: int) -> None:
            with trio.CancelScope() as scope:
                nursery.start_soon(interrupt, scope, n % 9)
                await store.put(f"/{n}", b"%d" % n, expect=0)
                acknowledged.add(f"/{n}")

        async def interrupt(scope: trio.CancelScope, rounds: int) -> None:
            for _ in range(rounds):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with store.watch("/") as batches:
            async with trio.open_nursery() as nursery:
                for n in range(100):
                    nursery.start_soon(attempt, n)
            last = await store.put("/last", b"")
            model = Model()
            model.replay(await take(batches, last.mod_revision))
        page = await store.range("/")
        assert {item.key: item for item in page.items} == model.states[-1]
        assert acknowledged <= model.states[-1].keys()
        assert all(item.value == item.key[1:].encode() for item in page.items if item != last)

    @pytest.mark.parametrize("seed", range(4))
    async def test_random_work_has_the_answers_of_a_model(self, store: Store, seed: int) -> None:
        await check_sequentially(store, seed)

    @pytest.mark.parametrize("seed", range(4))
    async def test_concurrent_work_is_linearizable(self, store: Store, seed: int) -> None:
        await check_concurrently(store, seed)

    async def test_reads_of_the_past_are_right_or_compacted_while_others_compact(self, store: Store) -> None:
        await check_reads_of_the_past(store)


class DurableStoreConformance(StoreConformance):
    """And for stores that still have everything when they are opened again."""

    async def test_everything_is_there_after_a_restart(self, tmp_path: Path) -> None:
        model = Model()
        for round in range(3):
            async with self.open(tmp_path) as store:
                assert store.revision == model.revision
                assert await store.range("") == model.range("")
                for n in range(10):
                    key = f"/{(n + round) % 7}"
                    assert await store.put(key, b"%d" % n) == model.put(key, b"%d" % n)
                assert await store.delete("/3") == model.delete("/3")
                for revision in range(1, model.revision + 1):
                    assert await store.range("", revision=revision) == model.range("", revision=revision)
                async with store.watch("", 1) as batches:
                    assert await take(batches, model.revision) == model.events

    async def test_no_revision_is_used_again_after_a_restart(self, tmp_path: Path) -> None:
        async with self.open(tmp_path) as store:
            await store.put("/a", b"")
            await store.delete("/a")
            await store.compact(2)
            await store.grant(10)  # a write without a revision: time for compaction to remove the deletion itself
        async with self.open(tmp_path) as store:
            assert (store.revision, store.compacted) == (2, 2)
            with pytest.raises(Compacted):
                await store.get("/a", revision=1)
            assert (await store.put("/a", b"")).mod_revision == 3

    async def test_leases_survive_a_restart(self, tmp_path: Path, mock_clock: MockClock) -> None:
        async with self.open(tmp_path) as store:
            lease, ended = await store.grant(10), await store.grant(10)
            await store.put("/a", b"", lease=lease)
            await store.revoke(ended)
        async with self.open(tmp_path) as store:
            await store.keep_alive(lease)
            with pytest.raises(KeyError):
                await store.keep_alive(ended)
            assert await store.grant(10) not in (lease, ended)
            async with store.watch("/") as batches:
                mock_clock.jump(10.1)
                assert [(event.key, event.current) for event in await take(batches, 1)] == [("/a", None)]
