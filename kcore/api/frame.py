"""The outer frame of one request: everything that happens to it whatever it asks for.

Audit-ID -> audit: RequestReceived -> seats (flow control) -> ... the request itself ... -> seats given back
-> headers that every answer has -> audit: ResponseComplete (of a stream: ResponseStarted, and the rest at its end)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import trio

from kcore import errors
from kcore.api.audit import records
from kcore.http.messages import AnyResponse, Request, Response, StreamResponse, UpgradeResponse

if TYPE_CHECKING:
    from kcore.api.audit.records import Auditor, Record
    from kcore.api.auth import Decision, User
    from kcore.api.flow.control import FlowControl
    from kcore.api.flow.levels import Ticket
    from kcore.api.routing import RequestInfo
    from kcore.api.served import ServedTable

LONG_RUNNING = frozenset(("attach", "exec", "proxy", "log", "portforward"))
MUTATIONS = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_OBJECTS_PER_SEAT = 100
_MOST_SEATS = 10
_WATCHERS_PER_SEAT = 10
_EVENT_SECONDS = 0.005
NO_CACHE = (b"cache-control", b"no-cache, private")


class Frame:
    """What one request carries along. Made for every request, so it holds no more than it must."""

    __slots__ = ("_flow", "_info", "_request", "_ticket", "headers", "id", "record", "terminated")

    def __init__(self, request: Request, info: RequestInfo) -> None:
        self._request, self._info = request, info
        self.id = records.new_id(request)
        self.record: Record | None = None
        self._ticket: Ticket | None = None
        self.terminated = False
        """The server ends the request to protect itself: too many others, or it takes too long."""
        self.headers = [(b"audit-id", self.id.encode("latin-1", "replace")), NO_CACHE]
        """What the answer will carry, whatever it is."""

    async def audit(self, auditor: Auditor, user: User) -> None:
        """The user is known: say that the request has come, if the policy wants that."""
        self.record = auditor.begin(self._request, self._info, user, self.id)
        if self.record is not None:
            await self.record.received()

    async def seat(self, flow: FlowControl, user: User, table: ServedTable) -> None:
        """Wait for this request's turn. Raises TooManyRequests. What runs long is not counted, as upstream, but for
        the beginning of a watch."""
        info = self._info
        verb = info.verb
        if verb == "proxy" or info.subresource in LONG_RUNNING:
            return
        width, extra, watchers = 1, 0.0, -1
        if verb == "list":
            width = _list_width(self._request, info, table)
        elif info.resource and verb in MUTATIONS:
            served = table.find(info.group, info.version, info.resource)
            if served is not None:
                watchers = served.cache.watching
                if watchers >= _WATCHERS_PER_SEAT:  # what is written is work for whoever watches
                    extra = min(watchers // _WATCHERS_PER_SEAT, _MOST_SEATS) * _EVENT_SECONDS
        self._flow = flow
        try:
            self._ticket = ticket = flow.enter(user, info, width, extra, watchers)
            self.headers += flow.headers(ticket)
            if not ticket.started:
                await flow.wait(ticket)
        except errors.ApiError:
            self.terminated = True
            raise

    def unseat(self) -> None:
        """Give the seats back."""
        ticket = self._ticket
        if ticket is not None and ticket.started:
            self._ticket = None
            self._flow.leave(ticket, self._info.verb == "watch")

    def decided(self, decision: Decision) -> None:
        """The answer of the authorizers, for the audit log."""
        if self.record is not None:
            notes = self.record.annotations
            notes["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
            notes["authorization.k8s.io/reason"] = decision.reason

    def lost(self, code: int) -> None:
        """The request ends without an answer: the client has gone, its time is over, the server stops."""
        if self.record is not None:
            self.record.finish(code, None)

    async def finish(
        self, response: AnyResponse, error: errors.ApiError | None, *, panicked: bool = False
    ) -> AnyResponse:
        """The answer as it is sent."""
        if type(response) is Response:
            if response.headers and any(name == NO_CACHE[0] for name, _ in response.headers):
                self.headers.remove(NO_CACHE)  # a document at an address of its own may be kept
            response.headers += self.headers
            if self.record is not None:
                stage = records.PANIC if panicked else records.COMPLETE
                for waiting in self.record.finish(response.status, response, error, stage):
                    await waiting
            return response
        if isinstance(response, StreamResponse):
            response.headers = [*response.headers, *self.headers]
            if self.record is not None:
                response.body = _Told(response.body, self.record, response.status)
                await self.record.started(response.status)
        elif isinstance(response, UpgradeResponse):
            response.headers = [*response.headers, *self.headers]
            if self.record is not None:
                _tell_end(response, self.record)
                await self.record.started(101)
        return response


def _list_width(request: Request, info: RequestInfo, table: ServedTable) -> int:
    """Seats of a list, by how many objects have to be looked at."""
    served = table.find(info.group, info.version, info.resource)
    if served is None:
        return 1
    count = served.cache.count()
    if request.query and not info.name:
        limit = request.param("limit")
        if limit.isdecimal() and len(limit) < 10 and 0 < int(limit) < count:
            selects = "labelSelector" in request.query or "fieldSelector" in request.query
            count = count if selects else int(limit)
    return min(max(-(-count // _OBJECTS_PER_SEAT), 1), _MOST_SEATS)


class _Told:
    """The body of a stream whose end the audit log is told of."""

    def __init__(self, body: AsyncIterator[bytes], record: Record, status: int) -> None:
        self._body, self._record, self._status = body, record, status

    def __aiter__(self) -> _Told:
        return self

    async def __anext__(self) -> bytes:
        return await self._body.__anext__()

    async def aclose(self) -> None:
        try:
            close = getattr(self._body, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._record.finish(self._status, None)


def _tell_end(response: UpgradeResponse, record: Record) -> None:
    run = response.run

    async def told(stream: trio.abc.Stream, leftover: bytes) -> None:
        try:
            await run(stream, leftover)
        finally:
            record.finish(101, None)

    response.run = told
