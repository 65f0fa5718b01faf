"""What a store should have done: the whole history as plain data, and random work to compare a store with it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import attrs
import trio

from kcore.errors import Compacted, CompareFailed
from kcore.store import Event, KeyValue, Range, Store

KEYS = [f"/{kind}/{name}" for kind in ("a", "b", "b0") for name in ("", "x", "y", "y/z", "é")]
PREFIXES = ["", "/", "/a/", "/b", "/b/", "/b0", "/b/y", "/a/é", "/c"]


class Model:
    """Every state that a store has had, by revision: ``states[r]`` holds the keys as they were at revision r."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.states: list[dict[str, KeyValue]] = [{}]

    @property
    def revision(self) -> int:
        return len(self.events)

    def replay(self, events: Iterable[Event]) -> None:
        """Add events of a watch, checking that each follows from the state before it."""
        for event in events:
            before = self.states[-1].get(event.key)
            assert event.revision == self.revision + 1, f"a gap or a repeat: {event} after {self.revision}"
            assert event.previous == before, f"{event} does not follow from {before}"
            state = dict(self.states[-1])
            if event.current is None:
                assert before is not None, f"{event} deletes what is not there"
                del state[event.key]
            else:
                now = event.current
                created, version = (before.create_revision, before.version + 1) if before else (event.revision, 1)
                assert (now.key, now.mod_revision) == (event.key, event.revision)
                assert (now.create_revision, now.version) == (created, version), f"{event} after {before}"
                state[event.key] = now
            self.events.append(event)
            self.states.append(state)

    def put(self, key: str, value: bytes, lease: int = 0) -> KeyValue:
        """The right answer to a put."""
        before, revision = self.states[-1].get(key), self.revision + 1
        created, version = (before.create_revision, before.version + 1) if before else (revision, 1)
        now = KeyValue(key, value, created, revision, version, lease)
        self.replay([Event(revision, key, now, before)])
        return now

    def delete(self, key: str) -> KeyValue | None:
        """The right answer to a deletion."""
        before = self.states[-1].get(key)
        if before is not None:
            self.replay([Event(self.revision + 1, key, None, before)])
        return before

    def range(self, prefix: str, start: str = "", limit: int = 0, revision: int = 0) -> Range:
        """The right answer to a range."""
        revision = revision or self.revision
        state = self.states[revision]
        found = [state[key] for key in sorted(state) if key.startswith(prefix) and key >= start]
        page = found[:limit] if limit else found
        return Range(revision, page, len(page) < len(found), len(found))


async def take(batches: AsyncIterator[list[Event]], count: int) -> list[Event]:
    """The next `count` events of a watch, which must not be exceeded by the batch that completes them."""
    events: list[Event] = []
    while len(events) < count:
        batch = await anext(batches)
        assert batch, "a watch yielded an empty batch"
        events += batch
    assert len(events) == count, events[count:]
    return events


@asynccontextmanager
async def recorded(store: Store) -> AsyncIterator[Model]:
    """All that happens to an empty store in the block, as a watch tells it: complete when the block has been left."""
    model = Model()

    async def record(task_status: trio.TaskStatus[None]) -> None:
        async with store.watch("", 1) as batches:
            task_status.started()
            async for batch in batches:
                model.replay(batch)

    async with trio.open_nursery() as nursery:
        await nursery.start(record)
        yield model
        with trio.fail_after(60):
            while model.revision < store.revision:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def write(store: Store, prefix: str, count: int, tasks: int = 32) -> None:
    """Put `count` keys from many tasks."""

    async def some(first: int) -> None:
        for n in range(first, count, tasks):
            await store.put(f"{prefix}{n:06}", b"%d" % n)

    async with trio.open_nursery() as nursery:
        for first in range(tasks):
            nursery.start_soon(some, first)


async def check_sequentially(store: Store, seed: int, steps: int = 300) -> None:
    """One task does random things; every answer is the model's."""
    choose, model, compacted = random.Random(seed), Model(), 0
    for step in range(steps):
        key, prefix = choose.choice(KEYS), choose.choice(PREFIXES)
        at = choose.randint(max(compacted, 1), model.revision) if model.revision and choose.random() < 0.5 else 0
        action = choose.choice(["put"] * 6 + ["delete"] * 2 + ["get", "range", "range", "watch"] * 2 + ["compact"])
        if action == "put":
            assert await store.put(key, b"%d" % step) == model.put(key, b"%d" % step)
        elif action == "delete":
            assert await store.delete(key) == model.delete(key)
        elif action == "get":
            assert await store.get(key, revision=at) == model.states[at or -1].get(key)
        elif action == "range":
            start, limit = choose.choice(["", *KEYS]), choose.randint(0, 4)
            answer = await store.range(prefix, start=start, limit=limit, revision=at)
            assert answer == model.range(prefix, start, limit, at)
        elif action == "watch" and at > compacted:
            expected = [event for event in model.events[at - 1 :] if event.key.startswith(prefix)]
            async with store.watch(prefix, at) as batches:
                assert await take(batches, len(expected)) == expected
        elif action == "compact" and at > compacted and choose.random() < 0.5:
            await store.compact(at)
            compacted = at
        assert (store.revision, store.compacted) == (model.revision, compacted)


async def check_reads_of_the_past(store: Store, readers: int = 4, writes: int = 400) -> None:
    """Pages and watches of random revisions, while others write and compact: right, or Compacted."""
    pages: list[tuple[str, Range]] = []
    events: list[Event] = []

    async def put(first: int) -> None:
        n = first
        while n < writes or len(pages) < 10:  # on a busy machine most reads come too late at first
            await store.put(KEYS[n % len(KEYS)], b"%d" % n)
            if n % 5 == 0:
                await store.delete(KEYS[(n * 7) % len(KEYS)])
            n += 8

    async def compact(choose: random.Random) -> None:
        while True:
            await store.put("/compact", b"")
            keep = choose.choice([1, 10, 50, 200])
            if store.revision - keep > store.compacted:
                await store.compact(store.revision - keep)

    async def read(choose: random.Random) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            at = min(store.compacted + choose.choice([0, 0, 1, 5, 50]), store.revision)  # about to be compacted
            prefix = choose.choice(PREFIXES)
            try:
                if at and choose.random() < 0.5:
                    pages.append((prefix, await store.range(prefix, limit=5, revision=at)))
                else:
                    async with store.watch("", at + 1) as batches:
                        events.extend(await anext(batches))
            except Compacted:
                pass

    async with recorded(store) as model, trio.open_nursery() as others:
        others.start_soon(compact, random.Random(-1))
        for n in range(readers):
            others.start_soon(read, random.Random(n))
        async with trio.open_nursery() as writers:
            for first in range(8):
                writers.start_soon(put, first)
        others.cancel_scope.cancel()
    for prefix, page in pages:
        assert page == model.range(prefix, limit=5, revision=page.revision)
    for event in events:
        assert event == model.events[event.revision - 1]


@attrs.frozen
class Seen:
    """An answer, and the revisions between which the question was open."""

    earliest: int
    latest: int
    key: str
    expect: int | None  # of a write, which failed; None for a read
    found: KeyValue | int | None  # what was read, or the mod revision that a failed write reported


async def check_concurrently(store: Store, seed: int, tasks: int = 16, steps: int = 40) -> None:
    """Many tasks write and read the same few keys; the answers fit one order of all writes, which watches saw.

    Every acknowledged write is one event of the history and was in its state; every read and every failed comparison
    fits a state that the store had between the call and the answer: that is linearizability.
    """
    acknowledged: list[KeyValue] = []
    deleted: list[KeyValue] = []
    seen: list[Seen] = []

    async def work(task: int) -> None:
        choose = random.Random(seed * 1000 + task)
        known: dict[str, int] = {}
        for step in range(steps):
            key, earliest = choose.choice(KEYS[:6]), store.revision
            expect = choose.choice([None, known.get(key, 0), known.get(key, 0)])
            action = choose.choice(["put", "put", "delete", "get", "range"])
            try:
                if action == "put":
                    written = await store.put(key, b"%d.%d" % (task, step), expect=expect)
                    acknowledged.append(written)
                    known[key] = written.mod_revision
                    assert store.revision >= written.mod_revision, "acknowledged, but not visible"
                elif action == "delete":
                    before = await store.delete(key, expect=expect)
                    if before is not None:
                        deleted.append(before)
                        known[key] = 0
                elif action == "get":
                    found = await store.get(key)
                    seen.append(Seen(earliest, store.revision, key, None, found))
                    known[key] = found.mod_revision if found else 0
                else:
                    page = await store.range(key)
                    assert earliest <= page.revision <= store.revision, "a read of the past"
                    for item in page.items:
                        seen.append(Seen(page.revision, page.revision, item.key, None, item))
            except CompareFailed as error:
                seen.append(Seen(earliest, store.revision, key, error.expected, error.current))
                known[key] = error.current

    async with recorded(store) as model, trio.open_nursery() as nursery:
        for task in range(tasks):
            nursery.start_soon(work, task)
    assert len(acknowledged) + len(deleted) == model.revision
    for written in acknowledged:
        assert model.events[written.mod_revision - 1].current == written
    gone = {event.previous for event in model.events if event.current is None}
    assert gone == set(deleted)
    for one in seen:
        assert any(_fits(one, model.states[at].get(one.key)) for at in range(one.earliest, one.latest + 1)), one


def _fits(seen: Seen, item: KeyValue | None) -> bool:
    if seen.expect is None:
        return item == seen.found
    mod_revision = item.mod_revision if item else 0
    return mod_revision == seen.found and mod_revision != seen.expect
