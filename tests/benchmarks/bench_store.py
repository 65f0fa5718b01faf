"""Durable puts per second, and what plain SQLite does with one commit per write in the same run.

    python tests/benchmarks/bench_store.py [seconds per measurement]

Prints one line per measurement; the last column is the ratio to the floor measured first.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio
from kcore_store_memory import MemoryConfig, open_memory
from kcore_store_sqlite import SqliteConfig, open_sqlite

from kcore.store import Store
from kcore.testing import TestContext

VALUE = b"x" * 1000  # about what a ConfigMap or a small pod takes
WRITERS = (1, 32, 128)


@attrs.frozen
class Result:
    name: str
    per_second: float
    p50_ms: float
    p99_ms: float

    def line(self, floor: float) -> str:
        return (
            f"{self.name:<42} {self.per_second:>9,.0f}/s   p50 {self.p50_ms:6.2f} ms   p99 {self.p99_ms:6.2f} ms"
            f"   {self.per_second / floor:6.1f} x floor"
        )


def result(name: str, seconds: float, latencies: list[float]) -> Result:
    latencies.sort()
    at = [latencies[int(len(latencies) * q)] * 1000 for q in (0.5, 0.99)]
    return Result(name, len(latencies) / seconds, *at)


def plain_sqlite(directory: Path, seconds: float) -> Result:
    """The floor: WAL, synchronous FULL, one row a commit, nobody else."""
    db = sqlite3.connect(directory / "floor.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE t (revision INTEGER PRIMARY KEY, key TEXT, value BLOB)")
    latencies = []
    start = last = time.perf_counter()
    while last < start + seconds:
        db.execute("INSERT INTO t VALUES (?, ?, ?)", (len(latencies) + 1, f"/registry/x/{len(latencies)}", VALUE))
        now = time.perf_counter()
        latencies.append(now - last)
        last = now
    db.close()
    return result("plain sqlite3, a commit per write", last - start, latencies)


async def repeat(name: str, seconds: float, tasks: int, call: Callable[[int, int], Awaitable[object]]) -> Result:
    """`tasks` tasks that each do ``call(task, count)`` again and again."""
    latencies: list[float] = []
    start = time.perf_counter()

    async def work(task: int) -> None:
        count, last = 0, time.perf_counter()
        while last < start + seconds:
            await call(task, count)
            now = time.perf_counter()
            latencies.append(now - last)
            last, count = now, count + 1

    async with trio.open_nursery() as nursery:
        for task in range(tasks):
            nursery.start_soon(work, task)
    return result(name, time.perf_counter() - start, latencies)


async def delivery(name: str, store: Store, count: int) -> Result:
    """From the call of put until a watcher holds the event."""
    latencies = []
    async with store.watch("/registry/w/") as batches:
        for n in range(count):
            start = time.perf_counter()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.put, f"/registry/w/{n}", VALUE)
                await anext(batches)
                latencies.append(time.perf_counter() - start)
    return result(name, sum(latencies), latencies)


async def measure(name: str, store: Store, seconds: float) -> list[Result]:
    results = []

    async def put(task: int, count: int) -> None:
        await store.put(f"/registry/configmaps/n{task}/c{count % 100}", VALUE)

    for writers in WRITERS:
        results.append(await repeat(f"{name} put, {writers} writers", seconds, writers, put))
    results.append(await delivery(f"{name} put until watched, 1 writer", store, 200))
    results.append(
        await repeat(f"{name} get", seconds / 4, 1, lambda t, n: store.get(f"/registry/configmaps/n{n % 128}/c0"))
    )
    results.append(
        await repeat(f"{name} page of 500", seconds / 4, 1, lambda t, n: store.range("/registry/", limit=500))
    )
    return results


async def run(directory: Path, seconds: float) -> None:
    floor = plain_sqlite(directory, seconds)
    print(floor.line(floor.per_second))
    async with open_sqlite(TestContext(directory), SqliteConfig()) as store:
        results = await measure("sqlite", store, seconds)
    async with open_memory(TestContext(directory), MemoryConfig()) as store:
        results += await measure("memory", store, seconds)
    for each in results:
        print(each.line(floor.per_second))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    with tempfile.TemporaryDirectory() as directory:
        trio.run(run, Path(directory), seconds)


if __name__ == "__main__":
    main()
