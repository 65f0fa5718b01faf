"""Paths of the machine that pods mount: is there what the pod says is there (Kubernetes docs, "Volumes: hostPath")."""

from __future__ import annotations

import os
import stat

CREATED_MODES = {"DirectoryOrCreate": 0o755, "FileOrCreate": 0o644}
_TESTS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


class WrongPath(Exception):
    """The path is not what the pod says. The message is upstream's."""


def check(path: str, type: str) -> None:
    """Make what may be made; raises WrongPath or OSError. Blocks a little."""
    if type in ("", "DirectoryOrCreate"):
        os.makedirs(path, CREATED_MODES["DirectoryOrCreate"], exist_ok=True) if not os.path.exists(path) else None
    elif type == "FileOrCreate" and not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, CREATED_MODES["FileOrCreate"]))
    test = _TESTS.get(type.removesuffix("OrCreate"))
    if test is None:
        return
    found, words = test
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = 0
    if not found(mode):
        raise WrongPath(f"hostPath type check failed: {path} is not {words}")
