"""State in memory: the quickest store, gone when the process ends.

Every call is a few dictionary operations and one checkpoint, no thread is involved; so this is also the store for
tests and simulations on a virtual clock, which must not jump while a disk is busy.

    [store]
    use = "memory"
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider
from kcore.store import Store

from .store import MemoryStore


@attrs.frozen
class MemoryConfig:
    """``[store]`` with ``use = "memory"``."""

    history: int = attrs.field(default=20_000, validator=attrs.validators.ge(1))
    """How many of the newest events are kept for watches and reads in the past. Older ones count as compacted."""
    retention: float = attrs.field(default=300.0, validator=attrs.validators.ge(0))
    """After how many seconds history is forgotten even if there is room for it (at most twice that). 0: never."""


@asynccontextmanager
async def open_memory(context: Context, config: MemoryConfig) -> AsyncIterator[Store]:
    store = MemoryStore(config.history, config.retention)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        try:
            yield store
        finally:
            store.close()
            nursery.cancel_scope.cancel()


@hookimpl
def kcore_store() -> list[Provider[Store]]:
    return [Provider("memory", open_memory, MemoryConfig, help="State in memory, gone when the process ends")]
