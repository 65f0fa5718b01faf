"""State in a SQLite database: one file, durable through SIGKILL and power loss, thousands of writes a second.

    [store]
    use = "sqlite"
    path = "state.db"

All writes that wait while one fsync runs share the next (`writer`); the present and recent history are in memory,
so that reads of the present and watches never touch the disk (`kcore.store.local`). A thread does the writing, which
a virtual clock that jumps when all tasks wait knows nothing of: simulations use the store `memory`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider
from kcore.store import Store


@attrs.frozen
class SqliteConfig:
    """``[store]`` with ``use = "sqlite"``."""

    path: str = "state.db"
    """The database file, relative to the data directory. Beside it stand its log (-wal, -shm) and a lock file."""
    history: int = attrs.field(default=10_000, validator=attrs.validators.ge(1))
    """How many of the newest events are kept in memory. Older ones are read from the database."""
    max_bytes: int = attrs.field(default=8 << 30, validator=attrs.validators.ge(1 << 20))
    """How large the database may grow. Then writes are refused, until compaction has made room."""
    retention: float = attrs.field(default=300.0, validator=attrs.validators.ge(0))
    """For how many seconds the past stays readable (at most twice that), as in kube-apiserver. 0: for ever."""


@asynccontextmanager
async def open_sqlite(context: Context, config: SqliteConfig) -> AsyncIterator[Store]:
    from .files import opened
    from .store import SqliteStore

    files = opened(context.data_dir / config.path, config.max_bytes)
    # In threads: reading a large database, and moving a long log into it at the end, take their time.
    database, reader, contents = await trio.to_thread.run_sync(files.__enter__)
    try:
        store = SqliteStore(database, reader, contents, config.history, config.retention)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            try:
                yield store
            finally:
                store.close()
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(files.__exit__, None, None, None)


@hookimpl
def kcore_store() -> list[Provider[Store]]:
    return [Provider("sqlite", open_sqlite, SqliteConfig, help="State in a SQLite database file, durable")]
