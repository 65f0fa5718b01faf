"""Time-outs of many connections by one timer.

Moving the deadline of a cancel scope costs 3 us, and a request would move it three times; even looking at the clock
costs one. Here a connection only says anew how long it has patience. One task looks at all of them now and then, an
eighth of the shortest patience apart, and only while there are any: it is what looks at the clock, so a time-out may
come two of those looks late.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import trio

from kcore.http.limits import Limits


class Watched(Protocol):
    patience: float  # seconds from now on; inf while nothing is awaited from the peer
    due: float | None  # when they are over, in trio's time; set to None with every new patience

    def expire(self) -> None: ...


T = TypeVar("T", bound=Watched)


class Watchdog(Generic[T]):
    """Run `run` in a nursery; add and discard connections."""

    def __init__(self, limits: Limits):
        patience = min(limits.header_seconds, limits.body_seconds, limits.idle_seconds, limits.write_seconds)
        patience = min(patience, limits.request_seconds)
        self._interval = patience / 8
        self._watched: dict[T, None] = {}
        self._some = trio.Event()

    def add(self, connection: T) -> None:
        self._watched[connection] = None
        self._some.set()

    def discard(self, connection: T) -> None:
        self._watched.pop(connection, None)

    def __iter__(self) -> Iterator[T]:
        """In the order of adding."""
        return iter(list(self._watched))

    async def run(self) -> None:
        while True:
            if not self._watched:
                self._some = trio.Event()
                await self._some.wait()
            await trio.sleep(self._interval)
            now = trio.current_time()
            for connection in list(self._watched):
                if connection.due is None:
                    connection.due = now + connection.patience
                elif connection.due <= now:
                    connection.expire()
