"""A pod's volumes as directories of this machine, for containers to mount.

::

    ROOT/pods/UID/volumes/NAME     files, empty
    ROOT/pods/UID/subpaths/KEY     a subPath, held fast by a mount of its own
    ROOT/claims/NAME               persistent volumes that name no directory

The content of a `files` volume lies in a directory that the symbolic link ``..data`` names, and every file of the
volume is a link through it: replacing that one link replaces them all at once (the scheme that programs which watch
mounted ConfigMaps know).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from kcore.linux import mounts
from kcore.runtime import RuntimeFailure, Volume

_DATA, _NEW = "..data", "..data_new"


@attrs.frozen
class HostVolumes:
    """Below `root`, which is the node's own."""

    root: Path

    def pod(self, uid: str) -> Path:
        return self.root / "pods" / uid

    async def prepare(self, pod_uid: str, volume: Volume) -> Path:
        """The directory or file to mount. Raises RuntimeFailure."""
        try:
            if volume.kind == "files":
                await self.update(pod_uid, volume)
                return self._directory(pod_uid, volume)
            return await trio.to_thread.run_sync(self._prepare, pod_uid, volume)
        except OSError as error:
            raise RuntimeFailure(f"volume {volume.name!r} cannot be made: {error}") from error

    async def update(self, pod_uid: str, volume: Volume) -> None:
        """Replace the content of a `files` volume, all of it at once. Raises RuntimeFailure."""
        content = {}
        for path, file in volume.files.items():
            mode = file.mode if volume.group is None else file.mode | 0o440
            content[path] = _Written(await file.read(), mode, file.owner or 0, volume.group or 0)
        try:
            await trio.to_thread.run_sync(_replace, self._directory(pod_uid, volume), content)
        except (OSError, ValueError) as error:
            raise RuntimeFailure(f"volume {volume.name!r} cannot be written: {error}") from error

    async def remove(self, pod_uid: str) -> None:
        """What the pod had for itself; claims and directories of the machine stay."""
        await trio.to_thread.run_sync(self._remove, pod_uid)

    async def sub_path(self, pod_uid: str, key: str, directory: Path, sub_path: str) -> Path:
        """A part of a volume, made if it is not there; never one outside, whatever links the volume has.

        `key` tells the mounts of a pod apart. Raises RuntimeFailure.
        """
        held = self.pod(pod_uid) / "subpaths" / key
        try:
            await trio.to_thread.run_sync(_hold, directory, sub_path, held)
        except (OSError, ValueError) as error:
            raise RuntimeFailure(f"failed to prepare subPath {sub_path!r}: {error}") from error
        return held

    def _directory(self, pod_uid: str, volume: Volume) -> Path:
        return self.pod(pod_uid) / "volumes" / volume.name

    def _prepare(self, pod_uid: str, volume: Volume) -> Path:
        if volume.kind == "host":
            path = Path(volume.source)
            _check_type(path, volume.host_type)
            return path
        if volume.kind == "image":
            raise RuntimeFailure(f"volume {volume.name!r}: this runtime has no volumes of images")
        if volume.kind == "claim":
            path = Path(volume.source) if volume.source else self.root / "claims" / volume.claim
            path.mkdir(parents=True, exist_ok=True)
            _give(path, volume.group)
            return path
        path = self._directory(pod_uid, volume)
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o777)
        if volume.medium == "Memory" and not os.path.ismount(path):
            mounts.tmpfs(path, volume.size_limit)
        _give(path, volume.group)
        return path

    def _remove(self, pod_uid: str) -> None:
        directory = self.pod(pod_uid)
        if directory.exists():
            for point in mounts.below(directory):
                mounts.unmount(point)
            shutil.rmtree(directory, ignore_errors=True)


@attrs.frozen
class _Written:
    """A file as it shall be."""

    data: bytes
    mode: int
    user: int
    group: int


_TYPES = {
    "Directory": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


def _check_type(path: Path, host_type: str) -> None:
    """Raises RuntimeFailure with upstream's words if the path is not what the pod says."""
    if host_type in _TYPES:
        is_one, called = _TYPES[host_type]
        if not path.exists() or not is_one(path.stat().st_mode):
            raise RuntimeFailure(f"hostPath type check failed: {path} is not a {called}")


def _give(path: Path, group: int | None) -> None:
    """Let a group (fsGroup) use all that is there and will be. Once: the directory itself tells whether it was."""
    if group is None:
        return
    status = path.stat()
    if status.st_gid == group and status.st_mode & stat.S_ISGID:
        return
    for directory, _, names in os.walk(path, topdown=False):
        for name in names:
            _widen(Path(directory) / name, group, 0o660)
        _widen(Path(directory), group, 0o2770)


def _widen(path: Path, group: int, mode: int) -> None:
    found = path.lstat()
    os.chown(path, -1, group, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        path.chmod(stat.S_IMODE(found.st_mode) | mode)


def _replace(directory: Path, content: Mapping[str, _Written]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    old = _target(directory)
    if old is not None and _same(old, content):
        return
    new = directory / f"..{os.urandom(6).hex()}"
    new.mkdir(mode=0o755)
    for path, file in content.items():
        target = new / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise ValueError(f"{path!r} leads out of the volume")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        target.chmod(file.mode)
        if file.user or file.group:
            os.chown(target, file.user, file.group)
    link = directory / _NEW
    link.unlink(missing_ok=True)
    link.symlink_to(new.name)
    link.replace(directory / _DATA)
    tops = {Path(path).parts[0] for path in content}
    for top in tops:
        if not (directory / top).is_symlink():
            (directory / top).symlink_to(f"{_DATA}/{top}")
    for entry in directory.iterdir():  # what is gone, and what a crash has left
        if entry.name.startswith(".."):
            if entry.name not in (_DATA, new.name):
                shutil.rmtree(entry, ignore_errors=True)
        elif entry.name not in tops:
            entry.unlink()


def _target(directory: Path) -> Path | None:
    try:
        return directory / os.readlink(directory / _DATA)
    except OSError:
        return None


def _same(directory: Path, content: Mapping[str, _Written]) -> bool:
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    if there != set(content):
        return False
    return all(
        (directory / path).read_bytes() == file.data and stat.S_IMODE((directory / path).stat().st_mode) == file.mode
        for path, file in content.items()
    )


def _hold(directory: Path, sub_path: str, held: Path) -> None:
    """Mount a part of a directory at `held`, so that nobody can exchange it for something else later."""
    root = directory.resolve(strict=True)
    wanted = (root / sub_path).resolve()
    if wanted != root and root not in wanted.parents:
        raise ValueError("it leads out of the volume")
    descriptor = os.open(root, os.O_PATH | os.O_CLOEXEC)
    try:
        for part in wanted.relative_to(root).parts:
            descriptor = _step(descriptor, part)
        kind = os.fstat(descriptor).st_mode
        held.parent.mkdir(parents=True, exist_ok=True)
        mounts.unmount(held)
        if stat.S_ISDIR(kind):
            held.mkdir(exist_ok=True)
        else:
            held.touch()
        mounts.bind(f"/proc/self/fd/{descriptor}", held)
    finally:
        os.close(descriptor)


def _step(parent: int, name: str) -> int:
    """One step down, through no link; a directory that is missing is made."""
    try:
        try:
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except FileNotFoundError:
            os.mkdir(name, 0o750, dir_fd=parent)
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
