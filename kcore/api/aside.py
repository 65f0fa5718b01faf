"""Long work beside the event loop: megabytes of YAML or protobuf, or of an applied configuration.

A worker thread shares the interpreter with the loop, so nothing gets quicker; but others are served meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import trio

from kcore import errors
from kcore.api import decoding
from kcore.api.negotiate import PROTOBUF, YAML
from kcore.api.options import APPLY
from kcore.http.messages import Request

LONG = 64 * 1024  # bytes: what is shorter is done before a thread would have begun
_AT_ONCE = 2  # more would only make each wait for the others
_WAITING = 16  # threads that do nothing but wait for an answer

T = TypeVar("T")
_working: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("kcore.api.aside")
_waiting: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("kcore.api.aside.waiting")


async def run(size: int, work: Callable[[], T]) -> T:
    """What `work` returns or raises; `size` says how long it takes. It must change nothing that others see."""
    if size < LONG:
        return work()
    return await trio.to_thread.run_sync(work, limiter=_limit(_working, _AT_ONCE))


async def waiting(work: Callable[[], T]) -> T:
    """What `work` returns or raises: it may ask webhooks meanwhile, by `trio.from_thread.run`."""
    return await trio.to_thread.run_sync(work, limiter=_limit(_waiting, _WAITING))


def _limit(kept: trio.lowlevel.RunVar[trio.CapacityLimiter], most: int) -> trio.CapacityLimiter:
    """The one of this run of the loop."""
    try:
        return kept.get()
    except LookupError:
        limiter = trio.CapacityLimiter(most)
        kept.set(limiter)
        return limiter


async def decode(request: Request) -> None:
    """Decode a long body of a slow format now, so that `decoding` finds it done."""
    if len(request.body) < LONG:
        return
    type = decoding.media_type(request)
    if type in (YAML, PROTOBUF, APPLY) and len(request.body) <= decoding.MAX_BODY:
        request.decoded = await run(len(request.body), lambda: _decoded(request.body, type))


def _decoded(body: bytes, type: str) -> Any:
    try:
        return decoding.slow(body, type)
    except errors.BadRequest as error:
        return error
