"""The data directory: where one cluster keeps its state, keys and sockets, and the lock that makes it one's own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kcore.errors import UserError


def default(name: str) -> Path:
    """By the XDG rules: ``$XDG_DATA_HOME/kcore/NAME``."""
    base = os.environ.get("XDG_DATA_HOME")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "share"
    return root / "kcore" / name


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """Make the directory (mode 0700) and hold its lock. Raises UserError, one line, with the remedy."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (PermissionError, FileExistsError, NotADirectoryError) as e:
        raise UserError(f"cannot write to the data directory {path}: {e.strerror}; choose one with --data-dir") from e
    except OSError as e:
        raise UserError(f"cannot use the data directory {path}: {e.strerror}") from e
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(handle, 20).decode().strip() or "?"
            raise UserError(
                f"a cluster is already running in {path} (process {pid}); "
                "stop it with `kcore down`, or choose another directory with --data-dir"
            ) from None
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield path
    finally:
        os.close(handle)
