"""The queue between requests and whatever takes their events: bounded, in order, emptied in batches by one task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from prometheus_client import Metric

Write = Callable[[list[bytes]], Awaitable[None]]
"""Take a batch. What it raises loses the batch."""


class Batches:
    """A `kcore.api.audit.Sink`. `run` must be running; cancelled, it writes what is left, if that is quick."""

    def __init__(
        self,
        plugin: str,
        write: Write,
        *,
        most: int,
        wait: float,
        queue_bytes: int,
        blocking: bool,
        complain: Callable[[str], None],
        last_seconds: float = 2.0,
    ) -> None:
        self.plugin, self._write, self._most, self._wait = plugin, write, most, wait
        self._limit, self._blocking, self._complain, self._last = queue_bytes, blocking, complain, last_seconds
        self._queue: list[bytes] = []
        self._bytes = 0
        self._some, self._full = trio.Event(), trio.Event()
        self._written = trio.Event()  # set when what is queued now has been dealt with
        self.dropped = self.lost = 0
        self._troubled = False

    def submit(self, event: bytes) -> Awaitable[None] | None:
        if self._bytes + len(event) > self._limit:
            self.dropped += 1
            self._trouble("the queue of audit events is full: events are dropped")
            return None
        self._queue.append(event)
        self._bytes += len(event)
        if len(self._queue) == 1:
            self._some.set()
        if len(self._queue) == self._most:
            self._full.set()
        return self._written.wait() if self._blocking else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Batches are written as long as the block."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def run(self) -> None:
        try:
            while True:
                await self._some.wait()
                if self._wait and not self._blocking and len(self._queue) < self._most:
                    with trio.move_on_after(self._wait):
                        await self._full.wait()
                await self._flush()
        finally:
            with trio.move_on_after(self._last, shield=True):
                while self._queue:
                    await self._flush()

    async def _flush(self) -> None:
        batch, self._queue = self._queue[: self._most], self._queue[self._most :]
        done = self._written
        if not self._queue:
            self._some, self._full, self._written = trio.Event(), trio.Event(), trio.Event()
        elif len(self._queue) < self._most:
            self._full = trio.Event()
        try:
            await self._write(batch)
        except Exception as error:
            self.lost += len(batch)
            self._trouble(f"audit events are lost: {error}")
        else:
            self._troubled = False
        finally:
            self._bytes -= sum(map(len, batch))
            if done is not self._written or not self._queue:
                done.set()

    def _trouble(self, what: str) -> None:
        """Said once until all is well again."""
        if not self._troubled:
            self._troubled = True
            with suppress(Exception):  # the log may be on the same full disk
                self._complain(what)

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            "apiserver_audit_error",
            "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the "
            "error.",
            labels=["plugin"],
        )
        family.add_metric([self.plugin], self.dropped + self.lost)
        yield family
