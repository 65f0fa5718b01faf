"""Delivery of committed events to those who watch.

A watcher is *live* when everything before its next event has been delivered to it: a commit then puts the events
under its prefix straight into its buffer and wakes it. A watcher that starts in the past, or whose buffer is full
because it reads more slowly than others write, is *behind*: it has no buffer, only the revision it wants next, and
reads from the history until it has caught up. So nothing is kept for a slow watcher that the history would not
have kept anyway, and when the history ends before it, it is cut off with `Compacted`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

import trio

from kcore.errors import StoreError
from kcore.store import Event
from kcore.store.state import State

BUFFER = 1024  # events that wait for a live watcher before it falls behind
_SCAN = 1024  # events of history looked through, and at most delivered, in one go

Older = Callable[[str, int, int], Awaitable[tuple[list[Event], int]]]
"""``older(prefix, start, most)``: at most `most` events from revision `start` on, out of the history that memory no
longer holds, and the revision to continue from. Whether they were compacted meanwhile is for the caller to check."""


class WatchHub:
    """All watchers of one store."""

    def __init__(self, state: State, older: Older | None = None):
        self.state = state
        self.older = older
        self.closed: str | None = None  # why
        # Live watchers by length of prefix, then prefix: an event finds its watchers by a few dictionary look-ups.
        self._live: dict[int, dict[str, list[Watch]]] = {}
        self._written: trio.Event | None = None

    def publish(self, events: list[Event]) -> None:
        """Deliver what has just been applied to the state. Watchers run before any timer does."""
        full = []
        for event in events:
            key = event.key
            for length, watches in self._live.items():
                for watch in watches.get(key[:length], ()):
                    if watch.push(event):
                        full.append(watch)
        for watch in full:
            self.remove(watch)
        if events and self._written is not None:
            self._written.set()
            self._written = None

    async def written(self) -> None:
        """Wait for the next write."""
        if self._written is None:
            self._written = trio.Event()
        await self._written.wait()

    def close(self, why: str) -> None:
        """End every watch, now and later, with a StoreError that says why."""
        self.closed = why
        for watches in self._live.values():
            for watch in [watch for same in watches.values() for watch in same]:
                watch.wake()

    def add(self, watch: Watch) -> None:
        self._live.setdefault(len(watch.prefix), {}).setdefault(watch.prefix, []).append(watch)

    def remove(self, watch: Watch) -> None:
        watches = self._live[len(watch.prefix)]
        watches[watch.prefix].remove(watch)
        if not watches[watch.prefix]:
            del watches[watch.prefix]
        if not watches:
            del self._live[len(watch.prefix)]


class Watch:
    """What `Store.watch` returns: enter it, then iterate over batches of events. For one task at a time."""

    def __init__(self, hub: WatchHub, prefix: str, start_revision: int):
        self.prefix = prefix
        self._hub = hub
        self._next = start_revision  # while behind: the first revision not delivered yet
        self._live = False
        self._open = False
        self._buffer: list[Event] = []
        self._task: trio.lowlevel.Task | None = None

    async def __aenter__(self) -> Watch:
        await trio.lowlevel.checkpoint()
        if self._hub.closed is not None:
            raise StoreError(self._hub.closed)
        state = self._hub.state
        if self._next == 0:
            self._next = state.revision + 1
        state.check_watchable(self._next)
        self._open = True
        self._go_live()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._live:
            self._live = False
            self._hub.remove(self)
        self._buffer = []
        self.wake()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> list[Event]:
        """The next batch. Cancelled, it has taken nothing. Raises Compacted when it has fallen out of history."""
        if self._task is not None:
            raise trio.BusyResourceError("another task is waiting for this watch")
        await trio.lowlevel.checkpoint()
        while True:
            if not self._open:
                raise trio.ClosedResourceError("this watch has been left")
            if self._hub.closed is not None:
                raise StoreError(self._hub.closed)
            if not self._live:
                batch = await self._from_history()
            elif self._buffer:
                batch, self._buffer = self._buffer, []
            else:
                await self._park()
                continue
            if batch:
                return batch

    def push(self, event: Event) -> bool:
        """An event for a live watcher. True if it has just fallen behind and must be removed from the live ones."""
        if not self._live:
            return False
        if len(self._buffer) >= BUFFER:
            self._next, self._buffer, self._live = self._buffer[0].revision, [], False
            return True
        self._buffer.append(event)
        self.wake()
        return False

    def wake(self) -> None:
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def _park(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def _go_live(self) -> None:
        """If nothing is between this watcher and the next write."""
        if self._next > self._hub.state.revision:
            self._live = True
            self._hub.add(self)

    async def _from_history(self) -> list[Event]:
        """Take a step towards the present; the events found on the way, if any."""
        state = self._hub.state
        state.check_watchable(self._next)
        if self._next >= state.history.first:
            passed = state.history.since(self._next, _SCAN)
            found = [event for event in passed if event.key.startswith(self.prefix)]
            self._next += len(passed)
            # No checkpoint from here to the return: were this cancelled, what was taken would be lost.
            self._go_live()
            if not found:
                await trio.lowlevel.checkpoint()
            return found
        assert self._hub.older is not None, "a store that keeps all its history in memory has it all there"
        start = self._next
        found, following = await self._hub.older(self.prefix, start, _SCAN)
        state.check_watchable(start)  # compacted while we were reading: the answer may have holes
        self._next = following
        return found
