"""What `test_sqlite_crash` kills: many tasks write, and every acknowledgement goes down the pipe at once.

    crash_child.py DIRECTORY RESUME SEED

Lines: ``ready``; ``put REVISION KEY VALUE`` and ``delete KEY REPLACED`` when acknowledged; ``saw REVISION KEY VALUE``
(value ``-`` for a deletion) for every event of a watch from revision RESUME on; ``compacted REVISION``.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import trio
from kcore_store_sqlite import SqliteConfig, open_sqlite

from kcore.errors import CompareFailed
from kcore.store import Store
from kcore.testing import TestContext


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def work(store: Store, choose: random.Random, name: str) -> None:
    count = 0
    while True:
        key, count = f"/k/{choose.randrange(40)}", count + 1
        found = await store.get(key)
        expect = choose.choice([None, found.mod_revision if found else 0])
        value = f"{name}.{count}" + "x" * choose.choice([0, 0, 0, 5000])
        try:
            if choose.random() < 0.8:
                written = await store.put(key, value.encode(), expect=expect)
                say("put", written.mod_revision, key, value)
            else:
                deleted = await store.delete(key, expect=expect)
                if deleted is not None:
                    say("delete", key, deleted.mod_revision)
        except CompareFailed:
            pass


async def follow(store: Store, resume: int) -> None:
    compact = store.compacted + 300
    async with store.watch("", resume) as batches:
        async for batch in batches:
            for event in batch:
                say("saw", event.revision, event.key, event.current.value.decode() if event.current else "-")
            if batch[-1].revision > compact:  # only what the other side has been told of is compacted
                await store.compact(compact - 200)
                say("compacted", store.compacted)
                compact += 100


async def main(directory: str, resume: int, seed: str) -> None:
    async with open_sqlite(TestContext(Path(directory)), SqliteConfig(history=50)) as store:
        say("ready")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, store, resume)
            for n in range(24):
                nursery.start_soon(work, store, random.Random(f"{seed}/{n}"), f"{seed}/{n}")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3])
