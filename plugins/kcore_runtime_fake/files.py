"""A container's files, in memory: its own and those of the volumes that it mounts.

A `Directory` is a flat map from relative path to entry; a `Tree` is the container's view of several of them by mount
point. Nothing touches the disk.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import cast

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
DENIED = "Permission denied"


@attrs.define
class Entry:
    """A file, or a directory."""

    data: bytes = b""
    mode: int = 0o644
    changed: float = 0.0
    directory: bool = False
    source: File | None = None  # content that is only read when it is wanted
    uid: int = 0
    gid: int = 0


@attrs.frozen
class Identity:
    """Whom a container's program runs as."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()  # more of them

    @classmethod
    def of(cls, security: Mapping[str, object]) -> Identity:
        """By an effective securityContext: fsGroup is one of the groups."""
        more = [*cast("list[int]", security.get("supplementalGroups") or ())]
        if security.get("fsGroup") is not None:
            more.append(cast(int, security["fsGroup"]))
        uid, gid = (cast(int, security.get(k) or 0) for k in ("runAsUser", "runAsGroup"))
        return cls(uid, gid, tuple(dict.fromkeys(more)))

    def may(self, entry: Entry, bit: int) -> bool:
        """`bit`: 4 to read, 2 to write."""
        if self.uid == 0:
            return True
        shift = 6 if entry.uid == self.uid else 3 if entry.gid in (self.gid, *self.groups) else 0
        return bool(entry.mode >> shift & bit)


class Directory:
    """Files below one point. Parents exist if anything stands below them."""

    def __init__(self, files: Mapping[str, File] | None = None, group: int | None = None, mode: int = 0o755) -> None:
        self.entries: dict[str, Entry] = {}
        self.group = group  # of all that is in it (fsGroup)
        self.mode = mode  # its own
        if files:
            self.replace(files)

    def replace(self, files: Mapping[str, File]) -> None:
        """All of the old content goes, all of the new comes."""
        now = clock.now()
        wider, group = (0, 0) if self.group is None else (0o440, self.group)
        self.entries = {
            posixpath.normpath(path): Entry(
                f.data, f.mode | wider, now, source=f if f.load else None, uid=f.owner or 0, gid=group
            )
            for path, f in files.items()
        }

    def find(self, path: str) -> Entry | None:
        if path in ("", "."):
            return Entry(mode=self.mode, directory=True, gid=self.group or 0)
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

    def __init__(
        self, root: Directory, mounts: list[Mounted], who: Identity | None = None, *, read_only: bool = False
    ) -> None:
        """`read_only`: the container's own files cannot be written."""
        self._mounts = [*sorted(mounts, key=lambda m: len(m.at), reverse=True), Mounted("/", root, "", read_only)]
        self.who = who or Identity()

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
        if not self.who.may(entry, 4):
            raise FileError(DENIED)
        if entry.source is None:
            return entry.data
        try:
            return await entry.source.read()
        except (KcoreError, OSError) as error:  # a token that the API does not give now
            raise FileError(f"Input/output error: {error}") from error

    def write(self, path: str, data: bytes, *, append: bool = False, mode: int | None = None) -> None:
        m, inside = self._locate(path)
        if m.read_only:
            raise FileError(READ_ONLY)
        old = m.directory.find(inside)
        if old is not None and old.directory:
            raise FileError(IS_DIRECTORY)
        parent = self.entry(posixpath.dirname(posixpath.normpath(path)))
        if not parent.directory:
            raise FileError(NOT_DIRECTORY)
        if not self.who.may(old or parent, 2):
            raise FileError(DENIED)
        if append and old is not None:
            data = old.data + data
        if mode is None:
            mode = 0o644 if old is None else old.mode
        if len(data) > FILE_MOST:
            raise FileError("File too large")
        uid, gid = (old.uid, old.gid) if old is not None else self._new(m)
        mode |= 0o660 if old is None and m.directory.group is not None else 0
        m.directory.entries[inside] = Entry(data, mode, clock.now(), uid=uid, gid=gid)

    def _new(self, m: Mounted) -> tuple[int, int]:
        """Who owns what is made there."""
        return self.who.uid, self.who.gid if m.directory.group is None else m.directory.group

    def change_mode(self, path: str, mode: int) -> None:
        entry, (m, inside) = self.entry(path), self._locate(path)
        if m.read_only:
            raise FileError(READ_ONLY)
        if self.who.uid not in (0, entry.uid):
            raise FileError("Operation not permitted")
        if inside in m.directory.entries:
            m.directory.entries[inside].mode = mode
        elif not inside:
            m.directory.mode = mode

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
        uid, gid = self._new(m)
        made = Entry(mode=0o755, changed=clock.now(), directory=True, uid=uid, gid=gid)
        m.directory.entries[inside] = made

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
