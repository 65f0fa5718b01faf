"""The turnstile: lets requests start, in this round of the loop or a later one, or refuses them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import outcome
import trio

from kcore.api.auth import User
from kcore.api.flow import measured
from kcore.api.flow.levels import GUESS, Level, LevelSpec, Ticket, has_seats, may_start, share_out
from kcore.api.flow.measured import SchemaNumbers
from kcore.api.flow.schemas import Matcher, Rule, Schema
from kcore.api.routing import RequestInfo
from kcore.errors import ApiError
from kcore.http.messages import HeaderList

if TYPE_CHECKING:
    from prometheus_client import Metric

SHARED_SECONDS = 0.0003  # of requests' work that may start in one round of the event loop; one request always may
ALONE_SECONDS = 0.01  # and while nobody asks but one flow: rounds are not free, and what it waits for is itself
RESUMED = 2  # writes that go on in one round after they have been committed, while several flows ask
FIRST = 1  # requests that may start beside, because they would be next anyway: their flow has been quiet
_LONELY_SECONDS = 1.0  # so long after two flows have met
_WAIT_SECONDS = 15.0  # a quarter of a request's time, as upstream
_ALL = frozenset("*")
_RESOURCES = ((_ALL, _ALL, _ALL, True, _ALL),)
_PATHS = ((_ALL, _ALL, ("",)),)
_EXEMPT = Schema(
    "exempt", "", 1, "exempt", "", (Rule(frozenset(), frozenset(("system:masters",)), _RESOURCES, _PATHS),)
)
_CATCH_ALL = Schema("catch-all", "", 10000, "catch-all", "ByUser", (Rule(_ALL, _ALL, _RESOURCES, _PATHS),))
_MANDATORY = (
    LevelSpec("exempt", exempt=True, shares=0),
    LevelSpec("catch-all", shares=5),
)


class Refused(ApiError):
    """Too many requests. (Upstream's filter answers in plain text; clients go by the code and the header.)"""

    code, reason = 429, "TooManyRequests"

    def __init__(self) -> None:
        super().__init__("Too many requests, please try again later.", headers={"retry-after": "1"})


class _Rounds(trio.abc.Instrument):
    """Tells a turnstile of every round of the event loop, and it how many requests may start in the next one.

    That follows from how long a round with requests has lately been for each request that started in it. Whatever
    the loop does in it counts, so what a request leaves behind for later rounds does as well.
    """

    def __init__(self, control: FlowControl) -> None:
        self._control = control
        self._began = time.perf_counter()
        self._cost = SHARED_SECONDS

    def after_io_wait(self, timeout: float) -> None:
        self._began = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        control = self._control
        started = control.started + control.first
        control.resumed = 0
        if not started:
            return
        now = time.perf_counter()
        self._cost += ((now - self._began) / started - self._cost) / 8
        control.started = control.first = 0
        control.shared = now < control.met + _LONELY_SECONDS
        control.turn = max(int((SHARED_SECONDS if control.shared else ALONE_SECONDS) / self._cost), 1)


class FlowControl:
    """`run` must be running. `configure` may be called at any time."""

    def __init__(self, total: int) -> None:
        self.total = total  # seats of all levels together
        self.levels: list[Level] = []
        self.numbers: dict[tuple[str, str], SchemaNumbers] = {}
        self._by_name: dict[str, Level] = {}
        self._headers: dict[str, HeaderList] = {}
        self.matcher = Matcher(())
        self._limited: list[Level] = []
        self.turn = 1  # requests that may start in one round of the loop
        self.started = self.first = self.resumed = 0  # that did in this one
        self.shared = False  # several flows have asked lately
        self.met = -_LONELY_SECONDS  # when a request last came of another flow than the one before it
        self._last = ""  # the flow of that
        self._clock = 0.0  # virtual, of the turnstile
        self._waiting: dict[Ticket, None] = {}  # in the order of arrival
        self._committed = trio.lowlevel.ParkingLot()  # writes that have an answer to make
        self._wake = trio.Event()
        self._parked = False
        self.configure((), ())

    # --- configuration ------------------------------------------------------------------------------------------

    def configure(self, schemas: Iterable[Schema], specs: Iterable[LevelSpec]) -> None:
        """Use these; the mandatory ones are there in any case. A level that is gone serves what it has."""
        wanted = {spec.name: spec for spec in (*_MANDATORY, *specs)}
        for name, spec in wanted.items():
            level = self._by_name.get(name)
            if level is None:
                self._by_name[name] = Level(spec)
            else:
                level.change(spec)
        self.levels = [self._by_name[name] for name in wanted]
        gone = [level for name, level in self._by_name.items() if name not in wanted]
        for level in gone:
            if not (level.waiting or level.requests):
                del self._by_name[level.spec.name]
        self._limited = [level for level in self._by_name.values() if not level.spec.exempt]
        share_out(self.levels, self.total)
        usable = {s.name: s for s in (_EXEMPT, _CATCH_ALL)}
        usable |= {s.name: s for s in schemas if s.level in wanted}
        self.matcher = Matcher(usable.values())
        self._headers = {}
        living = {(s.name, s.level) for s in usable.values()}
        self.numbers = {key: n for key, n in self.numbers.items() if key in living or n.executing or n.waiting}

    def headers(self, ticket: Ticket) -> HeaderList:
        """Which schema and level the request came under."""
        found = self._headers.get(ticket.schema.name)
        if found is None:
            found = self._headers[ticket.schema.name] = [
                (b"x-kubernetes-pf-flowschema-uid", ticket.schema.uid.encode()),
                (b"x-kubernetes-pf-prioritylevel-uid", ticket.level.spec.uid.encode()),
            ]
        return found

    # --- one request --------------------------------------------------------------------------------------------

    def enter(self, user: User, info: RequestInfo, width: int, extra: float, watchers: int = -1) -> Ticket:
        """Classify a request; it has started if `started` is set in the ticket, else it must `wait`."""
        schema = self.matcher.match(user, info) or _CATCH_ALL
        level = self._by_name[schema.level]
        key = (schema.name, schema.level)
        numbers = self.numbers.get(key)
        if numbers is None:
            numbers = self.numbers[key] = SchemaNumbers(*key)
        ticket = Ticket(level, schema, numbers, schema.flow(user, info), width, user, info)
        if extra:
            ticket.extra = extra
        if watchers >= 0:
            numbers.watches.observe(watchers)
        if level.spec.exempt:
            self._start(ticket)
            numbers.regular += 1
            return ticket
        if ticket.flow != self._last:
            if self._last:
                self.met = time.perf_counter()
            self._last = ticket.flow
        if self.started >= self.turn or level.waiting:
            if self.first < FIRST and level.has_credit(ticket) and self._may_start(level, width):
                self.first += 1
                self._start(ticket)
                numbers.waited.observe(0.0)
                numbers.seats.observe(width)
        elif self._may_start(level, width):
            self.started += 1
            self._start(ticket)
            if width == 1:
                numbers.regular += 1
            else:
                numbers.waited.observe(0.0)
                numbers.seats.observe(width)
        return ticket

    async def wait(self, ticket: Ticket) -> None:
        """Until it is this request's turn. Raises Refused. Cancelled, it has not been there."""
        level, numbers = ticket.level, ticket.numbers
        if (
            level.spec.queuing is None
            and (level.requests or level.waiting)
            and not has_seats(level, ticket.width + level.waiting_seats, self._limited, self.total)
        ):
            raise self._refuse(ticket, "concurrency-limit")
        if not level.enqueue(ticket):
            raise self._refuse(ticket, "queue-full")
        ticket.arrived = trio.current_time()
        ticket.task = trio.lowlevel.current_task()
        self._waiting[ticket] = None
        numbers.waiting += 1
        numbers.waiting_seats += ticket.width
        assert ticket.queue is not None
        numbers.lengths.observe(len(ticket.queue.waiting))
        numbers.seats.observe(ticket.width)
        self._stir()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._forget(ticket)
            numbers.refused["cancelled"] = numbers.refused.get("cancelled", 0) + 1
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def resume(self) -> None:
        """Called between a write and its answer while several flows ask (`shared`): those of one commit come back all
        at once, and shall not hold up the others."""
        if self.resumed < RESUMED and not self._committed:
            self.resumed += 1
            return
        self._stir()
        await self._committed.park()

    def _may_start(self, level: Level, width: int) -> bool:
        return level.executing + width <= level.minimum or may_start(level, width, self._limited, self.total)

    def leave(self, ticket: Ticket, watch: bool = False) -> None:
        """The answer has been made, or the request has been given up after it had started."""
        seconds = time.perf_counter() - ticket.started
        numbers = ticket.numbers
        numbers.executing -= 1
        numbers.executing_seats -= ticket.width
        numbers.execution["watch" if watch else "regular"].observe(seconds)
        level = ticket.level
        level.end(ticket, seconds)
        if self._waiting:
            level.turn += ticket.width * (seconds - GUESS) / max(level.spec.shares, 1)
            if self._parked:
                self._stir()

    # --- the turnstile ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Once in every round of the loop in which somebody waits, let a few start."""
        rounds = _Rounds(self)
        trio.lowlevel.add_instrument(rounds)
        try:
            going = False
            while True:
                if going:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._park()
                going = False
                if self._waiting:
                    self._expire()
                    going = self._dispatch()
                if self._committed:
                    self._committed.unpark(count=RESUMED)
                    going = True
        finally:
            trio.lowlevel.remove_instrument(rounds)

    async def _park(self) -> None:
        """Until there is somebody to let start, or the first of those who wait for seats has waited too long."""
        self._parked, self._wake = True, trio.Event()
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            await self._wake.wait()
        else:
            with trio.move_on_at(oldest.arrived + _WAIT_SECONDS):
                await self._wake.wait()
        self._parked = False

    def _stir(self) -> None:
        if self._parked:
            self._wake.set()

    def _dispatch(self) -> bool:
        """Whether anybody could start."""
        for done in range(max(self.turn - self.started, 1)):
            level = self._next()
            if level is None:
                return done > 0
            ticket = level.take()
            level.turn = max(level.turn, self._clock)
            self._clock = level.turn
            level.turn += ticket.width * GUESS / max(level.spec.shares, 1)
            self._waiting.pop(ticket, None)
            numbers = ticket.numbers
            numbers.waiting -= 1
            numbers.waiting_seats -= ticket.width
            numbers.waited.observe(trio.current_time() - ticket.arrived)
            self.started += 1
            self._start(ticket)
            assert ticket.task is not None
            trio.lowlevel.reschedule(ticket.task)
        return True

    def _next(self) -> Level | None:
        """The level whose turn it is, of those with a request that has seats."""
        best: Level | None = None
        for level in self._limited:
            if not level.waiting or (best is not None and max(level.turn, self._clock) >= best.turn):
                continue
            head = level.head()
            if head is not None and may_start(level, head.width, self._limited, self.total):
                level.turn = max(level.turn, self._clock)
                best = level
        return best

    def _start(self, ticket: Ticket) -> None:
        ticket.level.start(ticket)
        numbers = ticket.numbers
        numbers.dispatched += 1
        numbers.executing += 1
        numbers.executing_seats += ticket.width
        ticket.started = time.perf_counter()

    def _expire(self) -> None:
        edge = trio.current_time() - _WAIT_SECONDS
        while self._waiting:
            ticket = next(iter(self._waiting))
            if ticket.arrived > edge:
                return
            self._forget(ticket)
            assert ticket.task is not None
            trio.lowlevel.reschedule(ticket.task, outcome.Error(self._refuse(ticket, "time-out")))

    def _forget(self, ticket: Ticket) -> None:
        ticket.level.forget(ticket)
        self._waiting.pop(ticket, None)
        ticket.numbers.waiting -= 1
        ticket.numbers.waiting_seats -= ticket.width
        ticket.numbers.waited_in_vain.observe(trio.current_time() - ticket.arrived)

    @staticmethod
    def _refuse(ticket: Ticket, reason: str) -> Refused:
        refused = ticket.numbers.refused
        refused[reason] = refused.get(reason, 0) + 1
        return Refused()

    def collect(self) -> Iterator[Metric]:
        return measured.collect(self)

    @property
    def waiting(self) -> list[Ticket]:
        """In the order of arrival."""
        return list(self._waiting)
