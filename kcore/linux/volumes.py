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
        content = {path: (await file.read(), file.mode) for path, file in volume.files.items()}
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
            return Path(volume.source)
        if volume.kind == "claim":
            path = Path(volume.source) if volume.source else self.root / "claims" / volume.claim
            path.mkdir(parents=True, exist_ok=True)
            return path
        path = self._directory(pod_uid, volume)
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o777)
        if volume.medium == "Memory" and not os.path.ismount(path):
            mounts.tmpfs(path, volume.size_limit)
        return path

    def _remove(self, pod_uid: str) -> None:
        directory = self.pod(pod_uid)
        if directory.exists():
            for point in mounts.below(directory):
                mounts.unmount(point)
            shutil.rmtree(directory, ignore_errors=True)


def _replace(directory: Path, content: Mapping[str, tuple[bytes, int]]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    old = _target(directory)
    if old is not None and _same(old, content):
        return
    new = directory / f"..{os.urandom(6).hex()}"
    new.mkdir(mode=0o755)
    for path, (data, mode) in content.items():
        target = new / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise ValueError(f"{path!r} leads out of the volume")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(mode)
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


def _same(directory: Path, content: Mapping[str, tuple[bytes, int]]) -> bool:
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    if there != set(content):
        return False
    return all(
        (directory / path).read_bytes() == data and stat.S_IMODE((directory / path).stat().st_mode) == mode
        for path, (data, mode) in content.items()
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
