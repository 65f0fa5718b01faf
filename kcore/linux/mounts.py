"""mount(2) and umount2(2)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_NOSUID, _NODEV, _BIND = 2, 4, 4096
_DETACH = 2


def _call(name: str, path: str, *args: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def tmpfs(target: Path, size: int, mode: int = 0o777) -> None:
    """A file system in memory, of `size` bytes at most (0: half of the machine's memory). Raises OSError."""
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    _call("mount", str(target), b"tmpfs", os.fsencode(target), b"tmpfs", _NOSUID | _NODEV, options.encode())


def bind(source: str, target: Path) -> None:
    """Show `source` at `target`, which is there. Raises OSError."""
    _call("mount", str(target), os.fsencode(source), os.fsencode(target), None, _BIND, None)


def unmount(target: Path) -> None:
    """Everything at `target`, now or when nobody uses it any more. Nothing mounted there is no error."""
    try:
        while True:
            _call("umount2", str(target), os.fsencode(target), _DETACH)
    except OSError:
        pass


def below(root: Path) -> list[Path]:
    """Where something is mounted below `root`, the innermost first."""
    inside = f"{root.resolve()}/"
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split(" ", 5)[4].encode().decode("unicode_escape")
        if point.startswith(inside):
            found.append(Path(point))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)
