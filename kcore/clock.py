"""Wall time as the cluster sees it.

Waiting goes through trio's clock, timestamps go through this module. In production both are real. In a
test or a simulation `use_virtual` ties the wall clock to trio's, so that a `MockClock` moves both
together and a recorded history carries the times it would have had.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

import trio

_offset: trio.lowlevel.RunVar[float] = trio.lowlevel.RunVar("kcore.clock.offset")
_virtual = False  # whether any trio run of this process has had a virtual clock: if none had, `now` need not look


def use_virtual(start: float = 1_700_000_000.0) -> None:
    """From now on, in this trio run, wall time is `start` plus the time trio's clock has advanced."""
    global _virtual
    _offset.set(start - trio.current_time())
    _virtual = True


def now() -> float:
    """Seconds since the epoch."""
    if not _virtual:
        return time.time()
    try:
        return _offset.get() + trio.current_time()
    except (LookupError, RuntimeError):  # not virtual, or not inside trio
        return time.time()


def timestamp(at: float | None = None) -> str:
    """meta/v1 ``Time``: RFC 3339 in UTC, whole seconds."""
    return _timestamp(int(now() if at is None else at))


@lru_cache(maxsize=4)  # every write asks, most of them within the same second; formatting takes 8 us
def _timestamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(at: float | None = None) -> str:
    """meta/v1 ``MicroTime``: RFC 3339 in UTC with six fraction digits."""
    return datetime.fromtimestamp(now() if at is None else at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: str) -> float:
    """The epoch seconds of a ``Time`` or ``MicroTime``. Raises ValueError on anything else."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
