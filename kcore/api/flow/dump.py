"""``/debug/api_priority_and_fairness/dump_*``: what flow control is doing, as tables of text."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from kcore import clock, errors
from kcore.api.flow.control import FlowControl
from kcore.api.flow.levels import Ticket
from kcore.api.routes import Call, Routes
from kcore.http.messages import AnyResponse, Response

_ROOT = "/debug/api_priority_and_fairness"
Row = list[object]


def routes(control: FlowControl) -> Routes:
    async def answer(call: Call) -> AnyResponse:
        await trio.lowlevel.checkpoint()
        if call.rest == "/dump_priority_levels":
            rows = _levels(control)
        elif call.rest == "/dump_queues":
            rows = _queues(control)
        elif call.rest == "/dump_requests":
            rows = _requests(control, bool(call.request.param("includeRequestDetails")))
        else:
            raise errors.NotFound("the server could not find the requested resource", details={})
        return Response(200, _table(rows), "text/plain; charset=utf-8")

    return Routes(paths={_ROOT: answer})


def _levels(control: FlowControl) -> Iterable[Row]:
    yield [
        "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
        "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
    ]  # fmt: skip
    for level in control.levels:
        name = level.spec.name
        if level.spec.exempt:
            yield [name, "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "<none>", "<none>"]
            continue
        mine = [n for n in control.numbers.values() if n.level == name]
        refused = {
            reason: sum(n.refused.get(reason, 0) for n in mine)
            for reason in ("queue-full", "concurrency-limit", "time-out", "cancelled")
        }
        active = sum(1 for q in level.queues.values() if q.waiting or q.executing)
        idle = str(not (level.waiting or level.requests)).lower()
        yield [
            name, active, idle, "false", level.waiting, level.requests, sum(n.dispatched for n in mine),
            refused["queue-full"] + refused["concurrency-limit"], refused["time-out"], refused["cancelled"],
        ]  # fmt: skip


def _queues(control: FlowControl) -> Iterable[Row]:
    yield [
        "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
        "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
    ]  # fmt: skip
    for level in control.levels:
        for index, queue in sorted(level.queues.items()):
            seats = sum(t.width for t in queue.waiting)
            running = sum(t.width for t in level.running if t.queue is queue)
            start = f"{queue.start:.8f}ss"
            work = f"{seats * 0.001:.8f}ss"
            yield [level.spec.name, index, len(queue.waiting), queue.executing, running, start, seats, seats, work]


def _requests(control: FlowControl, details: bool) -> Iterable[Row]:
    head: Row = [
        "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
        "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
    ]  # fmt: skip
    if details:
        head += ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"]
    yield head
    for level in control.levels:
        for ticket in level.running:
            yield _request(ticket, -1, details)
        for _, queue in sorted(level.queues.items()):
            for at, ticket in enumerate(queue.waiting):
                yield _request(ticket, at, details)


def _request(ticket: Ticket, at: int, details: bool) -> Row:
    now = clock.now() - trio.current_time()
    arrived = clock.micro_timestamp(now + ticket.arrived) if ticket.arrived else ""
    index = ticket.queue.index if ticket.queue is not None and at >= 0 else -1
    row: Row = [
        ticket.level.spec.name, ticket.schema.name, index, at, ticket.flow, arrived, ticket.width, 0,
        f"{ticket.extra:g}s", "",
    ]  # fmt: skip
    if details:
        info = ticket.info
        row += [
            ticket.user.name, info.verb, info.path, info.namespace, info.name,
            f"{info.group}/{info.version}" if info.group else info.version, info.resource, info.subresource,
        ]  # fmt: skip
    return row


def _table(rows: Iterable[Row]) -> bytes:
    """Columns of one width, with commas."""
    made = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*made, strict=True)]
    lines = []
    for row in made:
        cells = [f"{cell},".ljust(width + 2) for cell, width in zip(row, widths, strict=True)]
        lines.append("".join(cells).rstrip().rstrip(",") + "\n")
    return "".join(lines).encode()
