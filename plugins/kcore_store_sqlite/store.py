"""The SQLite store: the present and recent history in memory, everything in the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from kcore.store import Event, KeyValue, Range
from kcore.store.keys import prefix_end
from kcore.store.local import LocalStore
from kcore.store.state import Draft, State

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
        now = self._state.current.get(key)
        if now is not None and now.mod_revision <= revision:
            return now
        past, remembered = await self._undo(key, key + "\0", revision)
        return past[key] if key in past else self._state.get(key, remembered)

    async def _range_older(self, prefix: str, start: str, limit: int, revision: int) -> Range:
        past, remembered = await self._undo(max(prefix, start), prefix_end(prefix), revision)
        page = self._state.range(prefix, start, limit, remembered, past)
        return attrs.evolve(page, revision=revision)

    async def _undo(self, low: str, high: str | None, revision: int) -> tuple[dict[str, KeyValue | None], int]:
        """How keys were at `revision`, those that changed until another revision, which memory remembers."""
        past: dict[str, KeyValue | None] = {}
        at = revision
        while not self._state.remembers(at):  # again if memory has dropped more in the meantime
            to = self._state.history.first - 1
            changed = await trio.to_thread.run_sync(self._reader.undo, low, high, at, to, limiter=self._reading)
            past = {**changed, **past}
            at = to
        self._state.check_readable(revision)  # compacted while we were reading: the answer may have holes
        return past, at
