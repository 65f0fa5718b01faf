"""The log file: appended to in a thread, turned over by size, and found again when somebody else has turned it over.

    audit.log   audit-2026-11-23T20-47-48.123.log   audit-2026-11-22T09-00-00.000.log.gz

logrotate works too: when the file at the path is not the one that is open any more, it is opened again.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from kcore import clock
from kcore.errors import ConfigError
from kcore.registry import Context

from .batches import Batches

if TYPE_CHECKING:
    from . import LogConfig

_BATCH = 4096  # events in one write
_STAMP = "%Y-%m-%dT%H-%M-%S"


class LogFile:
    """Used by one thread at a time."""

    def __init__(self, path: Path, *, max_bytes: int, max_age: int, max_backups: int, compress: bool) -> None:
        self.path, self._max_bytes, self._max_age = path, max_bytes, max_age
        self._max_backups, self._compress = max_backups, compress
        self._fd = -1
        self._size = 0
        self._open()

    def write(self, batch: list[bytes]) -> None:
        """Append lines. Raises OSError; then the next call goes on behind what got into the file."""
        self._find()
        data = b"\n".join(batch) + b"\n"
        if self._max_bytes and self._size and self._size + len(data) > self._max_bytes:
            self._turn()
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self._size += written
            view = view[written:]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _find(self) -> None:
        """Open the file again if it is not at its path any more."""
        try:
            there = os.stat(self.path)
            here = os.fstat(self._fd) if self._fd >= 0 else None
            if here is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                self._size = here.st_size  # copytruncate makes it shorter
                return
        except FileNotFoundError:
            pass
        self.close()
        self._open()

    def _turn(self) -> None:
        at = datetime.fromtimestamp(clock.now(), UTC)
        old = self.path.with_name(
            f"{self.path.stem}-{at.strftime(_STAMP)}.{at.microsecond // 1000:03d}{self.path.suffix}"
        )
        os.rename(self.path, old)
        self.close()
        self._open()
        with suppress(OSError):  # a full disk: the old file stays as it is
            if self._compress:
                self._pack(old)
        self._forget()

    def _pack(self, old: Path) -> None:
        packed = old.with_name(old.name + ".gz")
        try:
            with old.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
                shutil.copyfileobj(source, target, 1 << 20)
            os.chmod(packed, 0o600)
        except OSError:
            packed.unlink(missing_ok=True)
            raise
        old.unlink()

    def backups(self) -> list[Path]:
        """Old files, the newest first."""
        name = re.compile(
            re.escape(self.path.stem) + r"-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3})" + re.escape(self.path.suffix)
            + r"(\.gz)?"
        )  # fmt: skip
        return sorted((p for p in self.path.parent.iterdir() if name.fullmatch(p.name)), reverse=True)

    def _forget(self) -> None:
        found = self.backups()
        gone = set(found[self._max_backups :]) if self._max_backups else set()
        if self._max_age:
            oldest = datetime.fromtimestamp(clock.now(), UTC) - timedelta(days=self._max_age)
            edge = f"{self.path.stem}-{oldest.strftime(_STAMP)}"
            gone |= {p for p in found if p.name < edge}
        for path in gone:
            with suppress(OSError):
                path.unlink()


class Stdout:
    def write(self, batch: list[bytes]) -> None:
        sys.stdout.buffer.write(b"\n".join(batch) + b"\n")
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """It is not ours to close."""


@asynccontextmanager
async def open_log(context: Context, config: LogConfig) -> AsyncIterator[Batches]:
    """Raises ConfigError when the file cannot be opened."""
    target: LogFile | Stdout
    if config.path == "-":
        target = Stdout()
    else:
        path = context.data_dir / config.path
        try:
            target = LogFile(
                path,
                max_bytes=config.max_size << 20,
                max_age=config.max_age,
                max_backups=config.max_backups,
                compress=config.compress,
            )
        except OSError as error:
            raise ConfigError([f"api.settings.log.path: {path}: {error.strerror}"]) from error
    limiter = trio.CapacityLimiter(1)

    async def write(batch: list[bytes]) -> None:
        # A disk that hangs must not keep the process from ending.
        await trio.to_thread.run_sync(target.write, batch, limiter=limiter, abandon_on_cancel=True)

    sink = Batches(
        "log",
        write,
        most=_BATCH,
        wait=0,
        queue_bytes=config.queue_bytes,
        blocking=config.mode == "blocking",
        complain=context.log.error,
    )
    context.metrics.collect_with(sink)
    async with sink.running():
        yield sink
    target.close()
