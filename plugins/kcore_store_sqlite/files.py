"""Getting at the database file, for one process alone, with errors that say what to do."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kcore.errors import StoreError

from .database import Contents, Database, Reader


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside the database, which the kernel frees however this process ends.

    Creates the directory and the database file, readable by its owner only (secrets are in it; SQLite gives its
    other files the same mode).
    """
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
            raise StoreError(
                f"{path}: in use by another kcore (process {holder}): stop that one, or use another data directory"
            ) from error
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise _unusable(path, error) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


@contextmanager
def opened(path: Path, max_bytes: int) -> Iterator[tuple[Database, Reader, Contents]]:
    """The database, locked and loaded. Raises StoreError with one line that names the file and the remedy."""
    with ExitStack() as stack:
        stack.enter_context(locked(path))
        try:
            database = Database(path)
            stack.callback(database.close)
            contents = database.load(max_bytes)
            reader = Reader(path)
            stack.callback(reader.close)
        except sqlite3.Error as error:
            raise _explained(path, error) from error
        yield database, reader, contents


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot be written ({error.strerror}): make {path.parent} a directory that you may write to, "
        "or use another data directory"
    )


def _explained(path: Path, error: sqlite3.Error) -> StoreError:
    damaged = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in damaged or "no such" in str(error):
        return StoreError(
            f"{path}: damaged, or no database ({error}): restore it from a backup, or move it away to start empty"
        )
    return StoreError(f"{path}: cannot be opened ({error}): check the disk, or use another data directory")
