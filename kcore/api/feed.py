"""The feed: one watch of the whole store that keeps every watch cache up to date.

All caches share the store's revision, so a reader knows with one comparison whether what it sees is the newest
state: `caught_up` waits until everything that the store has committed is in the caches. That makes reads from
the cache linearizable without asking the store.
"""

from __future__ import annotations

from heapq import heappop, heappush

import trio

from kcore.api import layout
from kcore.api.cache import Cache, Watcher
from kcore.errors import Compacted, ServiceUnavailable
from kcore.store import Event, Store

REPLAYED = 4096  # changes that are followed again after a start; a few milliseconds for every thousand


class Alarms:
    """Wakes watchers when their time or their next bookmark has come: one task for all, so that waiting costs none
    of them a cancel scope."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Watcher]] = []
        self._count = 0
        self._earlier = trio.Event()

    def set(self, watcher: Watcher, at: float) -> None:
        self._count += 1
        if not self._heap or at < self._heap[0][0]:
            self._earlier.set()
        heappush(self._heap, (at, self._count, watcher))

    async def run(self) -> None:
        while True:
            self._earlier = trio.Event()
            while self._heap and (self._heap[0][0] <= trio.current_time() or self._heap[0][2].closed):
                heappop(self._heap)[2].wake()
            with trio.move_on_at(self._heap[0][0] if self._heap else float("inf")):
                await self._earlier.wait()


class Feed:
    def __init__(self, store: Store) -> None:
        self.store = store
        self._began = 0  # where following began: changes after it are remembered
        self.revision = 0  # everything up to here is in the caches
        self._target = 0  # where the store was when following began: from there on the caches are up to date
        self.ready = trio.Event()
        self.alarms = Alarms()
        self._caches: dict[str, Cache] = {}
        self._progress = trio.Event()
        self._waiting = 0
        self._closed = False

    def cache(self, prefix: str) -> Cache:
        """The cache of a store prefix; it may exist before any kind uses it."""
        found = self._caches.get(prefix)
        if found is None:
            found = self._caches[prefix] = Cache(prefix)
            found.since = found.changed = self._began  # nothing of it has happened since
        return found

    def forget(self, prefix: str) -> None:
        """Nothing is served there any more: watches end, and nothing is kept."""
        cache = self._caches.get(prefix)
        if cache is not None:
            cache.end()
            if not cache.entries:
                del self._caches[prefix]

    def caches(self) -> dict[str, Cache]:
        return self._caches

    async def caught_up(self, revision: int | None = None) -> int:
        """Wait until the caches are at the store's revision (or at `revision`); return the caches' revision.

        Raises ServiceUnavailable when the feed has ended.
        """
        target = self.store.revision if revision is None else revision
        while self.revision < target:
            if self._closed:
                raise ServiceUnavailable("the API server is shutting down")
            self._waiting += 1
            try:
                await self._progress.wait()
            finally:
                self._waiting -= 1
        return self.revision

    async def look_again(self) -> None:
        """The keys of the store have changed: learn anew what can be read, and what would be written otherwise."""
        page = await self.store.range("")
        await self.caught_up(page.revision)
        for kv in page.items:
            prefix, path = layout.split_key(kv.key)
            cache = self._caches.get(prefix)
            if cache is None:
                continue
            held = cache.entries.get(path)
            if held is None or held.revision == kv.mod_revision:  # else it has been written since
                cache.look_again(path, kv.value, kv.mod_revision)

    async def run(self) -> None:
        """Follow the store for ever. Raises what the store raises."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.alarms.run)
            await self._run()

    def close(self) -> None:
        """The feed has ended: so do all watches, and whoever waits for news is told that there will be none."""
        self._closed = True
        for cache in self._caches.values():
            cache.end()
        self._progress.set()

    async def _run(self) -> None:
        # The first time from a little while ago, so that watches of before a restart find their place again.
        past = max(self.store.compacted, self.store.revision - REPLAYED, 1)
        while True:
            try:
                await self._load(past)
                await self._follow()
            except Compacted:
                past = 0  # we fell behind without bound: start again, and let every watcher list again

    async def _load(self, revision: int) -> None:
        """The state at `revision`, 0 for the present. What has happened since is then followed."""
        target = self.store.revision
        page = await self.store.range("", revision=revision if revision < target else 0)
        for cache in self._caches.values():
            cache.reset(page.revision)
        for kv in page.items:
            prefix, path = layout.split_key(kv.key)
            if prefix:
                self.cache(prefix).load(path, kv.value, kv.mod_revision)
        for cache in self._caches.values():
            cache.since = cache.changed = page.revision
        self._began, self._target = page.revision, target
        self._moved(page.revision)

    async def _follow(self) -> None:
        async with self.store.watch("", self.revision + 1) as batches:
            async for batch in batches:
                for event in batch:
                    self._apply(event)
                self._moved(batch[-1].revision)

    def _apply(self, event: Event) -> None:
        prefix, path = layout.split_key(event.key)
        if prefix:
            self.cache(prefix).apply(path, event.current.value if event.current else None, event.revision)

    def _moved(self, revision: int) -> None:
        self.revision = revision
        if revision >= self._target:
            self.ready.set()
        if self._waiting:
            self._progress.set()
            self._progress = trio.Event()
