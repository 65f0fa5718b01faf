"""Many deadlines, one task: what back-offs, probes and heartbeats of thousands of pods wait with.

A task per deadline costs 10 KB and a scheduler pass; an entry in a heap costs a tuple. `Timers.run` is the one task.
Deadlines are in trio's clock, so a virtual clock moves them.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import attrs
import trio


@attrs.define(eq=False, slots=True)
class Timer:
    """A call that will happen once, at `when`, unless it is cancelled."""

    when: float
    _call: Callable[[], None] | None

    def cancel(self) -> None:
        self._call = None

    @property
    def pending(self) -> bool:
        return self._call is not None

    def _fire(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class Timers:
    """Calls functions when their time has come. The functions must not block and must not raise."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._scope: trio.CancelScope | None = None

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """`when` is in trio's clock (`trio.current_time`)."""
        timer = Timer(when, call)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        if self._scope is not None and when < self._scope.deadline:
            self._scope.deadline = when
        return timer

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        return self.at(trio.current_time() + seconds, call)

    async def run(self) -> None:
        """Until cancelled. Start it in the nursery of whoever made the timers."""
        while True:
            deadline = self._heap[0][0] if self._heap else math.inf
            with trio.CancelScope(deadline=deadline) as self._scope:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]._fire()
