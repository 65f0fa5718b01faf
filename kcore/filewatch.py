"""Noticing that a file has changed, without looking at it again and again: the kernel's inotify.

    async for _ in changes(path):
        reload(path)

What is watched is the directory, so that a file that is replaced by renaming another one over it -- editors, `mv`,
mounted ConfigMaps -- is noticed too. Only the name is compared; whoever reloads should not mind a false alarm.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

_CLOSE_WRITE, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x80, 0x100, 0x200
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC
_SETTLE = 0.05  # seconds: a writer makes several events


@asynccontextmanager
async def changes(*paths: Path | str) -> AsyncIterator[AsyncIterator[None]]:
    """Something for every time that one of the files (or the directory of one that is no plain file) may have
    changed. Raises OSError if the kernel will not watch."""
    fd = _open([os.fspath(path) for path in paths])
    try:
        yield _Changes(fd)
    finally:
        trio.lowlevel.notify_closing(fd)
        os.close(fd)


class _Changes:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __aiter__(self) -> _Changes:
        return self

    async def __anext__(self) -> None:
        await trio.lowlevel.wait_readable(self._fd)
        await trio.sleep(_SETTLE)
        try:
            os.read(self._fd, 65536)
        except BlockingIOError:
            pass


def _open(paths: list[str]) -> int:
    import ctypes  # not at start-up: most clusters watch no file

    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "inotify is not to be had")
    for directory in {os.path.dirname(os.path.abspath(path)) for path in paths}:
        if libc.inotify_add_watch(fd, os.fsencode(directory), _CLOSE_WRITE | _MOVED_TO | _CREATE | _DELETE) < 0:
            error = ctypes.get_errno()
            os.close(fd)
            raise OSError(error, f"cannot watch {directory}: {os.strerror(error)}")
    return fd
