"""The database file: one row for every event, appended in order of revision.

    event(revision, key, previous, create_revision, version, lease, value)

`previous` is the mod revision of the key before, 0 if there was none; `version` 0 marks a deletion. The newest row of
a key is its present; `previous` leads to older ones. So a commit only ever appends at the end of one table, and
there is no index to keep: the order of keys is known in memory (`kcore.store.keys`).

Compaction removes, for every event up to the compacted revision, the row it replaced, and the deletions themselves.
It is first written down (`meta.compacted`), then done in slices (`meta.purged`), in transactions that commit anyway.

Everything here blocks and runs in threads: one `Database` in the writer thread, one `Reader` in a worker thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from kcore.errors import StoreError
from kcore.store import Event, KeyValue

APPLICATION_ID = 0x6B636F72  # "kcor", in the file's header
SCHEMA_VERSION = 1
_PAGE = 16384  # bytes; holds several objects of 2-4 KB, of which a page of SQLite's usual 4096 holds one
_PIECE = 4 << 20  # bytes of values in one step through history
_ROWS = 64  # in one INSERT: one statement is one step, and between steps another thread may hold the interpreter

_SCHEMA = f"""
BEGIN;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE event (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    previous INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB
);
CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl REAL NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('compacted', 0), ('purged', 0), ('last_lease', 0);
COMMIT;
"""
_INSERT = "INSERT INTO event VALUES (?,?,?,?,?,?,?)"
_EVENTS = """
SELECT e.revision, e.key, e.previous, e.create_revision, e.version, e.lease, e.value,
       p.create_revision, p.version, p.lease, p.value
FROM event e LEFT JOIN event p ON p.revision = e.previous
WHERE e.revision >= ? AND e.revision < ? AND e.key >= ? AND (? IS NULL OR e.key < ?) ORDER BY e.revision LIMIT ?
"""
_UNDO = """
SELECT e.key, e.previous, p.create_revision, p.version, p.lease, p.value
FROM event e LEFT JOIN event p ON p.revision = e.previous
WHERE e.revision > ? AND e.revision <= ? AND e.key >= ? AND (? IS NULL OR e.key < ?) ORDER BY e.revision DESC
"""
_PURGE_REPLACED = """
DELETE FROM event WHERE revision IN
    (SELECT previous FROM event WHERE revision > ? AND revision <= ? AND previous > 0)
"""
_PURGE_DELETIONS = "DELETE FROM event WHERE revision > ? AND revision <= ? AND version = 0"


@attrs.frozen
class Commit:
    """What one transaction writes."""

    events: list[Event]
    granted: dict[int, float]  # lease -> seconds
    ended: list[int]
    compacted: int  # 0: as before
    last_lease: int


@attrs.frozen
class Contents:
    """What a database held when it was opened."""

    items: list[KeyValue]
    revision: int
    compacted: int
    leases: dict[int, float]
    last_lease: int


class Database:
    """The connection that writes. The file must be locked by the caller (`kcore_store_sqlite.files`)."""

    def __init__(self, path: Path):
        self.path = path
        self.purged = self.compacted = 0
        self.unchecked = 0  # bytes, about, that have gone into the log since the last checkpoint
        self._db = _connect(path)

    def load(self, max_bytes: int) -> Contents:
        """Prepare the file if it is new, and read it."""
        self._db.execute(f"PRAGMA page_size = {_PAGE}")  # of a new file
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        (page_size,) = self._db.execute("PRAGMA page_size").fetchone()
        self._db.execute(f"PRAGMA max_page_count = {max_bytes // page_size}")
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (application or version or tables):
            self._db.executescript(_SCHEMA)
        elif application != APPLICATION_ID:
            raise StoreError(
                f"{self.path}: this SQLite database belongs to another program: move it away, or set another path"
            )
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: written by a newer kcore (format {version}, this one knows {SCHEMA_VERSION}): "
                "use that one, or set another path"
            )
        return self._read()

    def _read(self) -> Contents:
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        self.compacted, self.purged = meta["compacted"], meta["purged"]
        revision = self.compacted  # the newest event may have been a deletion that is purged already
        items: dict[str, KeyValue] = {}
        rows = self._db.execute(
            "SELECT key, value, create_revision, revision, version, lease FROM event ORDER BY revision"
        )
        for row in rows:
            if row[4]:
                items[row[0]] = KeyValue(*row)
            else:
                items.pop(row[0], None)
            revision = max(revision, row[3])
        leases = dict(self._db.execute("SELECT id, ttl FROM lease"))
        return Contents(list(items.values()), revision, self.compacted, leases, meta["last_lease"])

    def commit(self, commit: Commit) -> None:
        """Write durably: all of it, or raise sqlite3.Error and leave nothing."""
        events = commit.events
        other = commit.granted or commit.ended or commit.compacted
        if not other and len(events) <= _ROWS and self.purged >= self.compacted:
            self._insert(events)  # a transaction of its own, with the fewest steps
        else:
            with _Transaction(self._db):
                for at in range(0, len(events), _ROWS):
                    self._insert(events[at : at + _ROWS])
                if other:
                    self._write_other(commit)
                purged = self._purge(4 * len(events) + 64)
            self.purged = purged
            self.compacted = max(self.compacted, commit.compacted)
        self.unchecked += sum(len(event.current.value) if event.current else 0 for event in events)
        self.unchecked += 256 * len(events) + 8192

    def _insert(self, events: list[Event]) -> None:
        if not events:
            return
        row: list[object] = []
        for event in events:
            now, before = event.current, event.previous
            previous = 0 if before is None else before.mod_revision
            if now is None:
                row += (event.revision, event.key, previous, 0, 0, 0, None)
            else:
                row += (event.revision, event.key, previous, now.create_revision, now.version, now.lease, now.value)
        self._db.execute(_INSERT + ",(?,?,?,?,?,?,?)" * (len(events) - 1), row)

    def _write_other(self, commit: Commit) -> None:
        self._db.executemany("INSERT INTO lease VALUES (?, ?)", commit.granted.items())
        self._db.executemany("DELETE FROM lease WHERE id = ?", ((lease,) for lease in commit.ended))
        self._set("last_lease", commit.last_lease)
        if commit.compacted:
            self._set("compacted", commit.compacted)

    def _set(self, name: str, value: int) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    def purge(self, revisions: int) -> None:
        """Remove what a slice of compacted revisions has replaced, in a transaction of its own."""
        with _Transaction(self._db):
            purged = self._purge(revisions)
        self.purged = purged

    def _purge(self, revisions: int) -> int:
        after, to = self.purged, min(self.purged + revisions, self.compacted)
        if after < to:
            self._db.execute(_PURGE_REPLACED, (after, to))
            self._db.execute(_PURGE_DELETIONS, (after, to))
            self._set("purged", to)
        return to

    def checkpoint(self) -> None:
        """Move the log's contents into the database, so that the log starts again."""
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self.unchecked = 0

    def close(self) -> None:
        self._db.close()


class _Transaction:
    """BEGIN; COMMIT, or ROLLBACK."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:  # the block or COMMIT failed, and SQLite has not rolled back by itself
                self._db.execute("ROLLBACK")


class Reader:
    """The connection that reads old history, in its own transactions, while others write."""

    def __init__(self, path: Path):
        self._db = _connect(path)

    def events(self, low: str, high: str | None, start: int, end: int, most: int) -> tuple[list[Event], int]:
        """Events of ``start <= revision < end`` to keys of ``low <= key < high``, and where to continue.

        At most `most` of them, and fewer if they are large.
        """
        found: list[Event] = []
        size = 0
        with closing(self._db.execute(_EVENTS, (start, end, low, high, high, most))) as rows:
            for row in rows:
                found.append(_event(row))
                size += len(row[6] or b"")
                if size > _PIECE:
                    break
        return found, found[-1].revision + 1 if len(found) == most or size > _PIECE else end

    def undo(self, low: str, high: str | None, after: int, to: int) -> dict[str, KeyValue | None]:
        """How keys were at revision `after`, those that changed until `to`."""
        past: dict[str, KeyValue | None] = {}
        for key, previous, create_revision, version, lease, value in self._db.execute(
            _UNDO, (after, to, low, high, high)
        ):
            past[key] = KeyValue(key, value, create_revision, previous, version, lease) if previous else None
        return past

    def close(self) -> None:
        self._db.close()


def _event(row: Iterable[Any]) -> Event:
    revision, key, previous, created, version, lease, value, p_created, p_version, p_lease, p_value = row
    return Event(
        revision,
        key,
        KeyValue(key, value, created, revision, version, lease) if version else None,
        KeyValue(key, p_value, p_created, previous, p_version, p_lease) if previous else None,
    )


def _connect(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions are where this file says so. Opened in one thread, used in another, one at a time.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
