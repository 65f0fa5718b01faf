"""What all stores share that hold the present in this process's memory: everything but committing.

`LocalStore` answers reads and watches from its `State`. A subclass says how a write is committed, and, if it keeps
history elsewhere than in memory, how to read what memory has dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import trio

from kcore.errors import Compacted, StoreError
from kcore.store import KeyValue, Range
from kcore.store.leases import LeaseTimers
from kcore.store.state import Draft, State
from kcore.store.watch import Older, Watch, WatchHub

T = TypeVar("T")


class LocalStore(ABC):
    """A `kcore.store.Store`; see there for what the methods promise.

    `run` must be running while the store is open: it ends leases and compacts. `retention` is how long history is
    kept at least, in seconds (and at most twice as long, like kube-apiserver does with etcd); 0 for no limit in time.
    """

    def __init__(self, state: State, retention: float, older: Older | None = None):
        self._state = state
        self._retention = retention
        self._hub = WatchHub(state, older)
        self._timers = LeaseTimers()

    @property
    def revision(self) -> int:
        return self._state.revision

    @property
    def compacted(self) -> int:
        return self._state.compacted

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        await trio.lowlevel.checkpoint()
        if not revision:
            return self._state.current.get(key)
        self._state.check_readable(revision)
        if self._state.remembers(revision):
            return self._state.get(key, revision)
        return await self._get_older(key, revision)

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Range:
        await trio.lowlevel.checkpoint()
        self._state.check_readable(revision or self._state.revision)
        if not revision or self._state.remembers(revision):
            return self._state.range(prefix, start, limit, revision or self._state.revision)
        return await self._range_older(prefix, start, limit, revision)

    async def put(self, key: str, value: bytes, *, expect: int | None = None, lease: int = 0) -> KeyValue:
        check(key, value)
        return await self._commit(lambda draft: draft.put(key, value, expect, lease))

    async def delete(self, key: str, *, expect: int | None = None) -> KeyValue | None:
        return await self._commit(lambda draft: draft.delete(key, expect))

    def watch(self, prefix: str, start_revision: int = 0) -> Watch:
        return Watch(self._hub, prefix, start_revision)

    async def compact(self, revision: int) -> None:
        await self._commit(lambda draft: draft.compact(revision))

    async def grant(self, ttl: float) -> int:
        if not ttl > 0:
            raise ValueError(f"a lease lasts more than 0 seconds, not {ttl}")
        return await self._commit(lambda draft: draft.grant(ttl))

    async def keep_alive(self, lease: int) -> None:
        await trio.lowlevel.checkpoint()
        self._timers.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        await self._commit(lambda draft: draft.revoke(lease))

    async def run(self) -> None:
        """For ever: the store's own timers."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timers.run, self._expire)
            if self._retention:
                nursery.start_soon(self._compact_regularly)

    def close(self, why: str = "the store has been closed") -> None:
        """End all watches. The subclass refuses further writes."""
        self._hub.close(why)

    @abstractmethod
    async def _commit(self, operation: Callable[[Draft], T]) -> T:
        """Evaluate `operation` on a draft and return what it returned once that is durable and applied."""

    async def _get_older(self, key: str, revision: int) -> KeyValue | None:
        """`get` at a revision that memory does not remember."""
        raise Compacted(revision, self._state.compacted)

    async def _range_older(self, prefix: str, start: str, limit: int, revision: int) -> Range:
        """`range` at a revision that memory does not remember."""
        raise Compacted(revision, self._state.compacted)

    def _applied(self, draft: Draft) -> None:
        """Make a committed draft the present, and tell whoever watches."""
        self._state.apply(draft)
        self._timers.start(draft.granted)
        self._timers.end(draft.ended)
        self._hub.publish(draft.events)

    async def _expire(self, leases: list[int]) -> None:
        await self._commit(lambda draft: draft.revoke_all(leases))

    async def _compact_regularly(self) -> None:
        while True:
            mark = self._state.revision
            if mark <= self._state.compacted:
                await self._hub.written()
                continue
            await trio.sleep(self._retention)
            try:
                if mark > self._state.compacted:
                    await self.compact(mark)
            except StoreError:  # a full disk, which everybody who writes is told about; try again after a while
                pass


def check(key: str, value: bytes) -> None:
    """Raises TypeError or ValueError for what no store could hold."""
    if not isinstance(value, bytes):
        raise TypeError(f"{key}: a value is bytes, not {type(value).__name__}")
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{key!a}: a key is text, but this holds half a surrogate pair") from error
