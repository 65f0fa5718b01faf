"""SIGKILL in the middle of concurrent writes, many times over, on the same database."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import attrs
import trio
from kcore_store_sqlite import SqliteConfig, open_sqlite

from kcore.store import Store
from kcore.testing import TestContext
from kcore.testing.store_model import take

ROUNDS = 15


@attrs.define
class Record:
    """What anybody was ever told, over all rounds."""

    events: dict[int, tuple[str, str]] = attrs.Factory(dict)  # revision -> key and value ("-": deleted)
    deleted: set[tuple[str, int]] = attrs.Factory(set)  # key and the revision it replaced, not yet found in history
    compacted: int = 0
    acknowledged: int = 0

    def event(self, revision: int, key: str, value: str) -> None:
        known = self.events.setdefault(revision, (key, value))
        assert known == (key, value), f"revision {revision} was used twice"

    def line(self, line: str) -> None:
        match line.split():
            case ["put", revision, key, value]:
                self.event(int(revision), key, value)
                self.acknowledged += 1
            case ["saw", revision, key, value]:
                self.event(int(revision), key, value)
            case ["delete", key, replaced]:
                self.deleted.add((key, int(replaced)))
                self.acknowledged += 1
            case ["compacted", revision]:
                self.compacted = int(revision)
            case other:
                assert other == ["ready"]


async def crash(directory: Path, record: Record, resume: int, seed: int, after: int) -> None:
    """Run the child until it has said `after` lines, kill it, and hear out what it had said before."""
    child = Path(__file__).with_name("crash_child.py")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await trio.lowlevel.open_process(
        [sys.executable, str(child), str(directory), str(resume), str(seed)], stdout=subprocess.PIPE, env=env
    )
    assert process.stdout is not None
    said, killed, watched = b"", False, resume
    async with process.stdout:
        async for chunk in process.stdout:
            said += chunk
            if not killed and said.count(b"\n") >= after:
                process.kill()
                killed = True
    await process.wait()
    assert killed, f"the child ended by itself: {process.returncode}"
    for line in said.decode().split("\n")[:-1]:  # what follows the last newline was not said in full
        record.line(line)
        if line.startswith("saw"):
            assert int(line.split()[1]) == watched, "the watch did not resume exactly"
            watched += 1


async def check(store: Store, record: Record, before: int) -> None:
    """Everything that anybody was told is there, and what is there agrees with it."""
    assert store.revision >= max(record.events, default=0)
    assert store.compacted >= record.compacted
    replaced = {}
    start = max(store.compacted, before) + 1
    async with store.watch("", start) as batches:
        for n, event in enumerate(await take(batches, store.revision - start + 1)):
            assert event.revision == start + n
            record.event(event.revision, event.key, event.current.value.decode() if event.current else "-")
            if event.previous is not None:
                replaced[event.revision] = (event.key, event.previous.mod_revision)
    assert sorted(record.events) == list(range(1, store.revision + 1))
    present: dict[str, tuple[int, str]] = {}
    for revision in range(1, store.revision + 1):
        key, value = record.events[revision]
        then = present.pop(key, None)
        if value != "-":
            present[key] = (revision, value)
        elif then is not None:
            record.deleted.discard((key, then[0]))
    assert not record.deleted, "an acknowledged deletion is missing"
    page = await store.range("")
    assert {item.key: (item.mod_revision, item.value.decode()) for item in page.items} == present


async def test_no_acknowledged_write_is_lost_by_sigkill_and_no_revision_is_used_twice(tmp_path: Path) -> None:
    choose, record, revision = random.Random(1), Record(), 0
    for round in range(ROUNDS):
        after = choose.choice([1, choose.randrange(2, 60), choose.randrange(60, 1500)])
        await crash(tmp_path, record, revision + 1, round, after)
        async with open_sqlite(TestContext(tmp_path), SqliteConfig(history=50)) as store:
            await check(store, record, revision)
            revision = store.revision
    assert record.acknowledged > ROUNDS * 50
    assert record.compacted > 0
