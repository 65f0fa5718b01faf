"""Priority levels: seats, queues, and whose request is next.

Virtual time as in start-time fair queuing: a queue's next request starts, virtually, when the one before it has been
paid for; a level's clock is the virtual start of what was dispatched last; the earliest virtual start is next. A
request is charged what it is expected to cost when it starts, and the difference when it has ended. Levels share the
turnstile in the same way, weighted by their shares.
"""

from __future__ import annotations

import hashlib
from collections import deque
from heapq import heappop, heappush
from math import ceil
from typing import Any

import attrs
import trio

from kcore.api.auth import User
from kcore.api.flow.measured import LevelNumbers, SchemaNumbers
from kcore.api.flow.schemas import Schema
from kcore.api.routing import RequestInfo
from kcore.objects import Object

GUESS = 0.001  # seconds that a request is expected to take until it is known better
_HANDS = 4096  # flows whose queues are remembered


@attrs.frozen
class Queuing:
    queues: int = 64
    hand_size: int = 8
    length_limit: int = 50


@attrs.frozen
class LevelSpec:
    """A PriorityLevelConfiguration."""

    name: str
    uid: str = ""
    exempt: bool = False
    shares: int = 30
    lendable_percent: int = 0
    borrowing_percent: int | None = None  # None: as much as there is
    queuing: Queuing | None = None  # None: refuse at once

    @staticmethod
    def of(obj: Object) -> LevelSpec:
        spec, meta = obj.get("spec") or {}, obj["metadata"]
        name, uid = meta["name"], meta.get("uid", "")
        if spec.get("type") == "Exempt":
            given = spec.get("exempt") or {}
            return LevelSpec(
                name, uid, True, given.get("nominalConcurrencyShares") or 0, given.get("lendablePercent") or 0
            )
        given = spec.get("limited") or {}
        response = given.get("limitResponse") or {}
        shares = given.get("nominalConcurrencyShares")
        queuing = None
        if response.get("type") == "Queue":
            q = response.get("queuing") or {}
            queuing = Queuing(q.get("queues") or 64, q.get("handSize") or 8, q.get("queueLengthLimit") or 50)
        return LevelSpec(
            name,
            uid,
            False,
            30 if shares is None else shares,
            given.get("lendablePercent") or 0,
            given.get("borrowingLimitPercent"),
            queuing,
        )


class Ticket:
    """One request: from the moment it is known who asks for what, until its answer has been made."""

    __slots__ = ("arrived", "extra", "flow", "info", "level", "numbers", "queue", "schema", "started", "task", "user",
                 "width")  # fmt: skip

    def __init__(
        self,
        level: Level,
        schema: Schema,
        numbers: SchemaNumbers,
        flow: str,
        width: int,
        user: User,
        info: RequestInfo,
    ) -> None:
        self.level, self.schema, self.numbers, self.flow, self.width = level, schema, numbers, flow, width
        self.user, self.info = user, info
        self.queue: Queue | None = None
        self.extra = 0.0  # virtual seconds for what the request makes others do: watchers of what it writes
        self.arrived = 0.0  # in its queue, in trio's time; 0: it did not have to wait
        self.started = 0.0  # by the performance counter; 0: not yet
        self.task: trio.lowlevel.Task | None = None


class Queue:
    """The waiting requests of a few flows."""

    __slots__ = ("debt", "executing", "index", "listed", "start", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Ticket] = deque()
        self.executing = 0
        self.listed = False  # in its level's heap
        self.start = 0.0  # virtual start of its next request
        self.debt = 0.0  # what ended requests have cost more (or less) than they were charged


class Level:
    """One priority level. `limits` are set by `share_out`."""

    def __init__(self, spec: LevelSpec) -> None:
        self.spec = spec
        self.nominal = self.minimum = self.maximum = 0
        self.executing = 0  # seats
        self.requests = 0  # that hold them
        self.waiting = 0  # requests
        self.waiting_seats = 0
        self.clock = 0.0  # virtual start of what was dispatched last
        self.turn = 0.0  # virtual start of the level's next request at the turnstile
        self.queues: dict[int, Queue] = {}
        self.running: dict[Ticket, None] = {}
        self.numbers = LevelNumbers()
        self._heap: list[tuple[float, int, Queue]] = []
        self._count = 0
        self._hands: dict[Any, list[int]] = {}

    def change(self, spec: LevelSpec) -> None:
        """Another configuration of the same name. What waits in a queue stays there."""
        if spec.queuing != self.spec.queuing:
            self._hands.clear()
        self.spec = spec

    # --- waiting ------------------------------------------------------------------------------------------------

    def enqueue(self, ticket: Ticket) -> bool:
        """Into the shortest queue of the flow's hand; False if that is full."""
        queue = self._queue_for(ticket)
        queuing = self.spec.queuing
        crowded = self.executing + self.waiting_seats + ticket.width > self.nominal  # the seats alone would not do
        if queuing is not None and len(queue.waiting) >= queuing.length_limit and crowded:
            return False
        ticket.queue = queue
        queue.waiting.append(ticket)
        self.waiting += 1
        self.waiting_seats += ticket.width
        if not queue.listed:
            queue.start = max(self.clock, queue.start + queue.debt)
            queue.debt = 0.0
            self._push(queue)
        return True

    def _queue_for(self, ticket: Ticket) -> Queue:
        if self.spec.queuing is None:
            return self._queue(0)
        best = None
        for index in self._hand(ticket.schema.name, ticket.flow, self.spec.queuing):
            queue = self._queue(index)
            if best is None or len(queue.waiting) + queue.executing < len(best.waiting) + best.executing:
                best = queue
        assert best is not None
        return best

    def _queue(self, index: int) -> Queue:
        found = self.queues.get(index)
        if found is None:
            found = self.queues[index] = Queue(index)
        return found

    def _hand(self, schema: str, flow: str, queuing: Queuing) -> list[int]:
        """The queues that a flow may use: shuffle sharding, so that no two flows are likely to share all of theirs."""
        key = (schema, flow)
        hand = self._hands.get(key)
        if hand is None:
            if len(self._hands) >= _HANDS:
                self._hands.clear()
            value = int.from_bytes(hashlib.blake2b(f"{schema}\0{flow}".encode(errors="replace")).digest()[:16])
            deck = list(range(queuing.queues))
            hand = []
            for left in range(queuing.queues, max(queuing.queues - queuing.hand_size, 0), -1):
                value, at = divmod(value, left)
                hand.append(deck.pop(at))
            self._hands[key] = hand
        return hand

    def _push(self, queue: Queue) -> None:
        queue.listed = True
        self._count += 1
        heappush(self._heap, (queue.start, self._count, queue))

    def has_credit(self, ticket: Ticket) -> bool:
        """Whether the request would be dispatched next if it were enqueued, and need not be: its flow has been quiet.
        If so its queue is charged for it."""
        if self.spec.queuing is None:
            return False
        queue = self._queue_for(ticket)
        if queue.waiting or queue.executing or queue.start + queue.debt > self.clock:
            return False
        ticket.queue = queue
        queue.start = self.clock + ticket.width * GUESS
        queue.debt = 0.0
        return True

    # --- dispatching --------------------------------------------------------------------------------------------

    def head(self) -> Ticket | None:
        """The request that is next in this level."""
        while self._heap:
            queue = self._heap[0][2]
            if queue.waiting:
                return queue.waiting[0]
            heappop(self._heap)
            queue.listed = False
        return None

    def take(self) -> Ticket:
        """Take what `head` has shown out of its queue."""
        start, _, queue = heappop(self._heap)
        ticket = queue.waiting.popleft()
        self.waiting -= 1
        self.waiting_seats -= ticket.width
        self.clock = max(self.clock, start)
        queue.start = max(start, queue.start) + ticket.width * GUESS + queue.debt
        queue.debt = 0.0
        queue.listed = False
        if queue.waiting:
            self._push(queue)
        return ticket

    def forget(self, ticket: Ticket) -> None:
        """The request will not be dispatched: its client has gone, or it has waited too long."""
        assert ticket.queue is not None
        ticket.queue.waiting.remove(ticket)
        self.waiting -= 1
        self.waiting_seats -= ticket.width

    def start(self, ticket: Ticket) -> None:
        self.executing += ticket.width
        self.requests += 1
        self.running[ticket] = None
        if ticket.queue is not None:
            ticket.queue.executing += 1

    def end(self, ticket: Ticket, seconds: float) -> None:
        self.executing -= ticket.width
        self.requests -= 1
        del self.running[ticket]
        queue = ticket.queue
        if queue is not None:
            queue.executing -= 1
            queue.debt += ticket.width * (seconds - GUESS) + ticket.extra
            if not (queue.waiting or queue.executing or queue.listed) and queue.start + queue.debt <= self.clock:
                self.queues.pop(queue.index, None)


def share_out(levels: list[Level], total: int) -> None:
    """Nominal seats by shares; how few a level may be left with, and how many it may have, by what can be lent."""
    shares = sum(level.spec.shares for level in levels)
    for level in levels:
        spec = level.spec
        level.nominal = ceil(total * spec.shares / shares) if shares else 0
        lendable = round(level.nominal * spec.lendable_percent / 100)
        level.minimum = 0 if spec.exempt else level.nominal - lendable
        if spec.borrowing_percent is None:
            level.maximum = level.nominal + total
        else:
            level.maximum = level.nominal + round(level.nominal * spec.borrowing_percent / 100)


def may_start(level: Level, width: int, levels: list[Level], total: int) -> bool:
    """Whether a request may run; one that is wider than its level must run some time."""
    return not level.requests or has_seats(level, width, levels, total)


def has_seats(level: Level, width: int, levels: list[Level], total: int) -> bool:
    """Whether there are seats: its own, or such as others have lent and do not use."""
    wanted = level.executing + width
    if wanted <= level.minimum:
        return True
    if wanted > level.maximum:
        return False
    used = sum(other.executing for other in levels)
    if wanted <= level.nominal:
        return used + width <= total
    reserved = sum(max(0, other.minimum - other.executing) for other in levels if other is not level)
    return used + width + reserved <= total
