"""The SQLite store: the present and recent history in memory, everything in the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from kcore.store import Event, KeyValue, Range
from kcore.store.keys import prefix_end
from kcore.store.local import LocalStore
from kcore.store.state import Draft, State, overlaid

from .database import Contents, Database, Reader
from .writer import Writer

T = TypeVar("T")


class SqliteStore(LocalStore):
    """`run` must be running while it is open; it raises StoreError when the database fails."""

    def __init__(self, database: Database, reader: Reader, contents: Contents, history: int, retention: float):
        state = State(
            history,
            items=contents.items,
            revision=contents.revision,
            compacted=contents.compacted,
            leases=contents.leases,
            last_lease=contents.last_lease,
        )
        super().__init__(state, retention, self._older)
        self._timers.start(contents.leases)
        self._writer = Writer(database, state, self._applied)
        self._reader = reader
        self._reading = trio.CapacityLimiter(1)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            await self._writer.run()

    def close(self, why: str = "the store has been closed") -> None:
        self._writer.stop(why)
        super().close(why)

    async def _commit(self, operation: Callable[[Draft], T]) -> T:
        return await self._writer.commit(operation)

    async def _older(self, prefix: str, start: int, most: int) -> tuple[list[Event], int]:
        end = self._state.history.first
        return await trio.to_thread.run_sync(
            self._reader.events, prefix, prefix_end(prefix), start, end, most, limiter=self._reading
        )

    async def _get_older(self, key: str, revision: int) -> KeyValue | None:
        now = self._state.get(key, self._state.history.first - 1)
        if now is not None and now.mod_revision <= revision:
            return now
        past = await self._undo(key, key + "\0", revision)
        return past.get(key, now)

    async def _range_older(self, prefix: str, start: str, limit: int, revision: int) -> Range:
        # What memory remembers goes all the way back to `first - 1`: take it now, before anything can be written.
        remembered = self._state.range(prefix, start, 0, self._state.history.first - 1)
        past = await self._undo(max(prefix, start), prefix_end(prefix), revision)
        return overlaid(remembered.items, past, limit, revision)

    async def _undo(self, low: str, high: str | None, revision: int) -> dict[str, KeyValue | None]:
        """What changed between `revision` and what memory remembered when this was called."""
        to = self._state.history.first - 1
        past = await trio.to_thread.run_sync(self._reader.undo, low, high, revision, to, limiter=self._reading)
        self._state.check_readable(revision)  # compacted while we were reading: the answer may have holes
        return past
