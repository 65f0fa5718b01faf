"""The store contract: what etcd promises, and nothing more.

The store is the only place where the cluster's state lives, and the API server is its only client. It
holds *keys* (strings) and *values* (bytes), and has one 64-bit *revision* that grows by exactly one with
every committed write. A key remembers the revision that created it, the one that last changed it, and how
often it was written since it was created (its *version*).

    async with provider.open(context, config) as store:
        created = await store.put("/registry/pods/default/web", b"...", expect=0)
        await store.put(created.key, b"new", expect=created.mod_revision)      # compare-and-set
        page = await store.range("/registry/pods/", limit=500)
        async with store.watch("/registry/pods/", page.revision + 1) as batches:
            async for batch in batches:
                ...

Promises, each of them tested by `kcore.testing.store`:

* Reads and writes are linearizable: `get` and `range` without a revision see every write acknowledged before.
* An acknowledged write is durable as far as the implementation says (SQLite: survives SIGKILL and power loss).
* A revision that was not committed is never seen by anybody, and none is used twice, not even after a crash.
* `watch` yields every change from its start revision on, in order, exactly once, or raises `Compacted`.
* A cancelled write may or may not have happened; it never happens half.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs


@attrs.frozen(slots=True)
class KeyValue:
    """A key as it was at one revision."""

    key: str
    value: bytes
    create_revision: int  # the write that created it
    mod_revision: int  # the write that last changed it
    version: int  # 1 when created, +1 with every change
    lease: int = 0  # the lease it hangs on; 0 for none


@attrs.frozen(slots=True)
class Event:
    """One committed change. `current` is None for a deletion; `previous` is None for a creation."""

    revision: int
    key: str
    current: KeyValue | None
    previous: KeyValue | None


@attrs.frozen(slots=True)
class Range:
    """A page of keys in ascending order, all as they were at `revision`."""

    revision: int  # the revision the page was read at; pass it on to read the next page of the same state
    items: list[KeyValue]
    more: bool  # there are keys after the last item
    count: int  # how many keys the whole range has, whatever the limit


class Store(Protocol):
    """An opened store. Safe to use from many tasks of one trio run."""

    @property
    def revision(self) -> int:
        """The newest committed revision. 0 in an empty store."""

    @property
    def compacted(self) -> int:
        """The newest compacted revision: reads below it, and watches from it or below, raise `Compacted`."""

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key now, or as it was at `revision`. Raises Compacted or FutureRevision."""

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Range:
        """Keys that begin with `prefix`, those >= `start` if given, at most `limit` (0: all).

        `count` in the answer counts all keys from `start` on. Raises Compacted or FutureRevision.
        """

    async def put(self, key: str, value: bytes, *, expect: int | None = None, lease: int = 0) -> KeyValue:
        """Write; return the key as written. `expect` is the mod revision it must have, 0 for "must not exist".

        Raises CompareFailed, having written nothing, and KeyError if the lease has ended. Returns only when the
        write is durable.
        """

    async def delete(self, key: str, *, expect: int | None = None) -> KeyValue | None:
        """Delete; return what was deleted, or None if there was nothing (then no revision is used).

        With `expect`, raises CompareFailed if the mod revision is another one. The deletion's own revision is
        the one of its event.
        """

    def watch(self, prefix: str, start_revision: int = 0) -> AbstractAsyncContextManager[AsyncIterator[list[Event]]]:
        """Every change to keys under `prefix` from `start_revision` on (0: from the next write on).

        Yields batches (never empty) in order of revision. Entering raises Compacted if the start is not
        readable any more, FutureRevision if it is beyond the next revision. A consumer that falls behind
        without bound is cut off with Compacted rather than buffered for ever. After an acknowledged write the
        event is delivered without waiting for any timer.
        """

    async def compact(self, revision: int) -> None:
        """Forget history: reads at a revision below `revision` and watches from one at or below it fail from
        now on. The newest value of every key stays. Raises FutureRevision, and Compacted if already done."""

    async def grant(self, ttl: float) -> int:
        """A new lease that ends `ttl` seconds from now unless kept alive; its keys are then deleted."""

    async def keep_alive(self, lease: int) -> None:
        """Start the lease's time again. Raises KeyError if it has ended."""

    async def revoke(self, lease: int) -> None:
        """End the lease now and delete its keys, one revision each. Raises KeyError if it has ended."""
