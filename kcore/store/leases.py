"""When leases end. Which keys hang on them is the state's business (`kcore.store.state`).

As in etcd, only the length of a lease is durable, not how much of it is left: a store that opens again gives every
lease its full time, since those who keep it alive could not reach the store meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from heapq import heapify, heappop, heappush, heapreplace

import trio

from kcore.errors import StoreError

_RETRY = 1.0  # seconds


class LeaseTimers:
    """The deadlines of all leases of one store, on trio's clock; one task waits for the earliest."""

    def __init__(self) -> None:
        self._ttl: dict[int, float] = {}
        self._deadline: dict[int, float] = {}
        # (time, lease): never later than the lease's deadline. Keeping alive moves only the deadline, and `run`
        # moves the entry when it comes up.
        self._heap: list[tuple[float, int]] = []
        self._earlier = trio.Event()

    def start(self, leases: dict[int, float]) -> None:
        """Start leases, given with their lengths in seconds."""
        if not leases:
            return
        now = trio.current_time()
        earliest = self._heap[0][0] if self._heap else float("inf")
        for lease, ttl in leases.items():
            self._ttl[lease] = ttl
            self._deadline[lease] = now + ttl
            heappush(self._heap, (now + ttl, lease))
        if self._heap[0][0] < earliest:
            self._earlier.set()

    def keep_alive(self, lease: int) -> None:
        """Start its time again. Raises KeyError if it has ended."""
        now = trio.current_time()
        if self._deadline[lease] <= now:
            raise KeyError(lease)
        self._deadline[lease] = now + self._ttl[lease]

    def end(self, leases: list[int]) -> None:
        """Forget leases that have been revoked."""
        for lease in leases:
            self._ttl.pop(lease, None)
            self._deadline.pop(lease, None)
        if len(self._heap) > 64 + 2 * len(self._deadline):  # mostly entries of leases that are gone
            self._heap = [entry for entry in self._heap if entry[1] in self._deadline]
            heapify(self._heap)

    async def run(self, expire: Callable[[list[int]], Awaitable[None]]) -> None:
        """For ever: call `expire` with the leases whose time is over, again after a pause if it raises StoreError."""
        while True:
            self._earlier = trio.Event()
            due = self._take_due()
            if due:
                try:
                    await expire(due)
                except StoreError:  # a full disk, which everybody who writes is told about
                    for lease in due:
                        heappush(self._heap, (trio.current_time() + _RETRY, lease))
            else:
                with trio.move_on_at(self._heap[0][0] if self._heap else float("inf")):
                    await self._earlier.wait()

    def _take_due(self) -> list[int]:
        now = trio.current_time()
        due = []
        while self._heap and self._heap[0][0] <= now:
            lease = self._heap[0][1]
            deadline = self._deadline.get(lease)
            if deadline is not None and deadline > now:
                heapreplace(self._heap, (deadline, lease))
                continue
            heappop(self._heap)
            if deadline is not None:
                due.append(lease)
        return due
