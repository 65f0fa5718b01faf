"""The database file: whose it is, what may be wrong with it, and how large it grows."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio
from kcore_store_sqlite import SqliteConfig, open_sqlite

from kcore.errors import StoreError
from kcore.testing import TestContext
from kcore.testing.store_model import write


async def refusal(directory: Path, config: SqliteConfig | None = None) -> str:
    """What a person reads who tries to open the store."""
    with pytest.raises(StoreError) as caught:
        async with open_sqlite(TestContext(directory), config or SqliteConfig()):
            pass
    message = str(caught.value)
    assert "\n" not in message
    return message


async def test_garbage_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.write_bytes(b"garbage" * 1000)
    message = await refusal(tmp_path)
    assert message.startswith(f"{file}: damaged, or no database")
    assert "move it away" in message
    assert file.read_bytes() == b"garbage" * 1000


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        await write(store, "/a/", 2000)
    file = tmp_path / "state.db"
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8192] = b"\xff" * 8192
    file.write_bytes(content)
    assert "restore it from a backup" in await refusal(tmp_path)


async def test_a_truncated_database_is_refused(tmp_path: Path) -> None:
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        await write(store, "/a/", 2000)
    os.truncate(tmp_path / "state.db", 8192)
    assert "restore it from a backup" in await refusal(tmp_path)


async def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "state.db")
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    assert "belongs to another program" in await refusal(tmp_path)


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()):
        pass
    db = sqlite3.connect(tmp_path / "state.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    assert "written by a newer kcore" in await refusal(tmp_path)


async def test_a_database_in_use_is_refused_with_the_process_that_has_it(tmp_path: Path) -> None:
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        message = await refusal(tmp_path)
        assert f"in use by another kcore (process {os.getpid()})" in message
        await store.put("/a", b"")
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        assert store.revision == 1


async def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = await refusal(tmp_path, SqliteConfig(path="file/state.db"))
    assert message.startswith(f"{tmp_path}/file/state.db: cannot be written")
    assert "another data directory" in message


async def test_a_database_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    assert "cannot be written" in await refusal(tmp_path)


READ_ONLY = """
import os, sys, trio
from pathlib import Path
from kcore_store_sqlite import SqliteConfig, files, open_sqlite, store
from kcore.errors import StoreError
from kcore.testing import TestContext

async def main():
    async with open_sqlite(TestContext(Path(sys.argv[1])), SqliteConfig()):
        pass

if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
try:
    trio.run(main)
except StoreError as error:
    print(error)
"""


async def test_an_unwritable_directory_is_refused() -> None:
    with tempfile.TemporaryDirectory() as directory:  # not pytest's, which another user may not even enter
        os.chmod(directory, 0o555)
        message = await child(READ_ONLY, Path(directory))
        assert message.startswith(f"{directory}/state.db: cannot be written (Permission denied)"), message


async def child(program: str, directory: Path) -> str:
    """What a Python program says about a directory."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await trio.run_process(
        [sys.executable, "-c", program, str(directory)], capture_stdout=True, stderr=subprocess.STDOUT, env=env
    )
    return process.stdout.decode()


async def test_nobody_else_may_read_what_is_stored(tmp_path: Path) -> None:
    async with open_sqlite(TestContext(tmp_path), SqliteConfig(path="deep/inside/state.db")) as store:
        await store.put("/secret", b"")
        for file in (tmp_path / "deep" / "inside").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_the_log_becomes_part_of_the_database_when_it_is_closed(tmp_path: Path) -> None:
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        await store.put("/a", b"")
    assert sorted(os.listdir(tmp_path)) == ["state.db", "state.db.lock"]


async def test_a_long_log_is_moved_into_the_database_when_writing_pauses(tmp_path: Path) -> None:
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        for n in range(20):
            await store.put(f"/{n}", os.urandom(100_000))
        with trio.fail_after(10):
            while os.stat(tmp_path / "state.db").st_size < 2_000_000:
                await trio.lowlevel.checkpoint()
        await store.put("/a", b"")
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        assert store.revision == 21


async def test_compaction_keeps_the_file_from_growing(tmp_path: Path) -> None:
    file, sizes = tmp_path / "state.db", []
    for _ in range(8):
        async with open_sqlite(TestContext(tmp_path), SqliteConfig(history=10)) as store:
            for n in range(20):
                await store.put(f"/{n}", os.urandom(20_000))
                await store.put(f"/gone/{n}", os.urandom(20_000))
                await store.delete(f"/gone/{n}")
            await store.compact(store.revision)
            await store.put("/0", b"")
            assert (await store.range("")).count == 20
        sizes.append(file.stat().st_size)
    assert sizes[-1] == sizes[2]
    assert sizes[-1] < 3 * 40 * 20_000


async def test_what_was_compacted_before_a_crash_is_removed_after_it(tmp_path: Path) -> None:
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        await write(store, "/a/", 1000)
        await write(store, "/a/", 1000)
        await store.compact(2000)  # the next transaction, or the next pause, removes a part
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        assert (store.revision, store.compacted) == (2000, 2000)
        for n in range(40):
            await store.put("/b", b"%d" % n)
        assert (await store.range("/a/")).count == 1000
    db = sqlite3.connect(tmp_path / "state.db")
    assert db.execute("SELECT count(*) FROM event").fetchone() == (1040,)
    db.close()


async def test_a_full_database_refuses_writes_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    config = SqliteConfig(max_bytes=1 << 20)
    async with open_sqlite(TestContext(tmp_path), config) as store:

        async def fill() -> None:
            while True:
                await store.put("/a", b"%d" % store.revision * 5000)

        with pytest.raises(StoreError, match=r"state.db: cannot write \(database or disk is full\): make room"):
            await fill()
        count = store.revision
        assert count > 20
        found = await store.get("/a")
        assert found is not None
        assert found.mod_revision == count
        await store.compact(count)
        await store.grant(10)  # a small write, with which compaction frees what the versions of /a took
        for n in range(20):
            await store.put(f"/b/{n % 3}", b"x" * 10_000)
    async with open_sqlite(TestContext(tmp_path), config) as store:
        assert store.revision == count + 20


LIMITED = """
import resource, sys, trio
from pathlib import Path
from kcore_store_sqlite import SqliteConfig, open_sqlite
from kcore.errors import StoreError
from kcore.testing import TestContext

async def main():
    async with open_sqlite(TestContext(Path(sys.argv[1])), SqliteConfig()) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        for n in range(100):
            await store.put(f"/{n}", b"x" * 10_000)
            print(n, flush=True)

try:
    trio.run(main)
except* StoreError as group:
    error = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    print(error)
"""


async def test_a_disk_that_fails_ends_the_store_and_loses_nothing(tmp_path: Path) -> None:
    *written, message = (await child(LIMITED, tmp_path)).splitlines()
    assert message.startswith(f"{tmp_path}/state.db: cannot write (disk I/O error)"), message
    assert 5 < len(written) < 100
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        assert store.revision in (len(written), len(written) + 1)
        for n in written:
            found = await store.get(f"/{n}")
            assert found is not None
            assert len(found.value) == 10_000
