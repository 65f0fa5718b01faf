"""A container's files, in memory: its own and those of the volumes that it mounts.

A `Directory` is a flat map from relative path to entry; a `Tree` is the container's view of several of them by mount
point. Nothing touches the disk.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

import attrs

from kcore import clock
from kcore.errors import KcoreError
from kcore.runtime import File

FILE_MOST = 64 * 1024 * 1024  # bytes in one file


class FileError(OSError):
    """With the message of the C library: "No such file or directory"."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


MISSING = "No such file or directory"
IS_DIRECTORY = "Is a directory"
NOT_DIRECTORY = "Not a directory"
READ_ONLY = "Read-only file system"


@attrs.define
class Entry:
    """A file, or a directory."""

    data: bytes = b""
    mode: int = 0o644
    changed: float = 0.0
    directory: bool = False
    source: File | None = None  # content that is only read when it is wanted


class Directory:
    """Files below one point. Parents exist if anything stands below them."""

    def __init__(self, files: Mapping[str, File] | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        if files:
            self.replace(files)

    def replace(self, files: Mapping[str, File]) -> None:
        """All of the old content goes, all of the new comes."""
        now = clock.now()
        self.entries = {
            posixpath.normpath(path): Entry(f.data, f.mode, now, source=f if f.load else None)
            for path, f in files.items()
        }

    def find(self, path: str) -> Entry | None:
        if path in ("", "."):
            return Entry(mode=0o755, directory=True)
        entry = self.entries.get(path)
        if entry is None and any(p.startswith(path + "/") for p in self.entries):
            return Entry(mode=0o755, directory=True)
        return entry

    def names(self, path: str) -> set[str]:
        """What stands directly in `path`."""
        start = "" if path in ("", ".") else path + "/"
        return {p[len(start) :].split("/")[0] for p in self.entries if p.startswith(start)}


@attrs.define
class Mounted:
    """A directory at a place."""

    at: str  # absolute, normalized
    directory: Directory
    sub: str = ""  # the part of the directory that is mounted
    read_only: bool = False


class Tree:
    """What a container sees below ``/``."""

    def __init__(self, root: Directory, mounts: list[Mounted]) -> None:
        self._mounts = [*sorted(mounts, key=lambda m: len(m.at), reverse=True), Mounted("/", root)]

    def _locate(self, path: str) -> tuple[Mounted, str]:
        path = posixpath.normpath(path)
        for m in self._mounts:
            if path == m.at or m.at == "/" or path.startswith(m.at + "/"):
                inside = path[len(m.at) :].strip("/") if m.at != "/" else path.strip("/")
                return m, posixpath.join(m.sub, inside).strip("/") if m.sub else inside
        raise FileError(MISSING)

    def entry(self, path: str) -> Entry:
        """Raises FileError."""
        m, inside = self._locate(path)
        found = m.directory.find(inside)
        if found is None:
            prefix = posixpath.normpath(path).rstrip("/") + "/"
            if any((other.at + "/").startswith(prefix) for other in self._mounts):
                return Entry(mode=0o755, directory=True)
            raise FileError(MISSING)
        return found

    def exists(self, path: str) -> bool:
        try:
            self.entry(path)
        except FileError:
            return False
        return True

    async def read(self, path: str) -> bytes:
        entry = self.entry(path)
        if entry.directory:
            raise FileError(IS_DIRECTORY)
        if entry.source is None:
            return entry.data
        try:
            return await entry.source.read()
        except (KcoreError, OSError) as error:  # a token that the API does not give now
            raise FileError(f"Input/output error: {error}") from error

    def write(self, path: str, data: bytes, *, append: bool = False, mode: int = 0o644) -> None:
        m, inside = self._locate(path)
        if m.read_only:
            raise FileError(READ_ONLY)
        old = m.directory.find(inside)
        if old is not None and old.directory:
            raise FileError(IS_DIRECTORY)
        parent = posixpath.dirname(posixpath.normpath(path))
        if not self.entry(parent).directory:
            raise FileError(NOT_DIRECTORY)
        if append and old is not None:
            data, mode = old.data + data, old.mode
        if len(data) > FILE_MOST:
            raise FileError("File too large")
        m.directory.entries[inside] = Entry(data, mode, clock.now())

    def make_directory(self, path: str, *, parents: bool = False) -> None:
        m, inside = self._locate(path)
        if m.read_only:
            raise FileError(READ_ONLY)
        if self.exists(path):
            if parents and self.entry(path).directory:
                return
            raise FileError("File exists")
        parent = posixpath.dirname(posixpath.normpath(path))
        if not self.exists(parent):
            if not parents:
                raise FileError(MISSING)
            self.make_directory(parent, parents=True)
        m.directory.entries[inside] = Entry(mode=0o755, changed=clock.now(), directory=True)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        entry, (m, inside) = self.entry(path), self._locate(path)
        if m.read_only:
            raise FileError(READ_ONLY)
        if entry.directory and not recursive:
            raise FileError(IS_DIRECTORY)
        for p in [p for p in m.directory.entries if p == inside or p.startswith(inside + "/")]:
            del m.directory.entries[p]

    def names(self, path: str) -> list[str]:
        """Raises FileError. Sorted."""
        if not self.entry(path).directory:
            raise FileError(NOT_DIRECTORY)
        m, inside = self._locate(path)
        found = m.directory.names(inside)
        here = posixpath.normpath(path).rstrip("/") + "/"
        for other in self._mounts:
            if other.at.startswith(here) and other.at != here:
                found.add(other.at[len(here) :].split("/")[0])
        return sorted(found)

    def walk(self, path: str) -> Iterator[tuple[str, Entry]]:
        """The entry and everything below it, parents first."""
        entry = self.entry(path)
        yield path, entry
        if entry.directory:
            for name in self.names(path):
                yield from self.walk(posixpath.join(path, name))
