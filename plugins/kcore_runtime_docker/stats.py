"""What pods use, from the kernel's control groups; the engine is asked for process ids alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcore.runtime import PodStats
from kcore_runtime_docker.api import DockerApi, path

Object = dict[str, Any]
_ROOT = Path("/sys/fs/cgroup")


async def pids(api: DockerApi, entries: list[Object]) -> dict[str, tuple[int, str]]:
    """(pid, started at) of what runs."""
    out = {}
    for entry in entries:
        if entry["State"] == "running":
            found = await api.call("GET", path("containers", entry["Id"], "json"))
            out[entry["Id"]] = (int(found["State"]["Pid"]), found["State"]["StartedAt"])
    return out


def measure(entries: list[Object], pids: dict[str, tuple[int, str]]) -> list[PodStats]:
    raise NotImplementedError


def forget(cgroup: str) -> None:
    """Remove the empty control groups of a pod that is gone."""
    if not cgroup:
        return
    for root in [_ROOT, *_ROOT.iterdir()]:
        try:
            (root / cgroup.lstrip("/")).rmdir()
        except OSError:
            pass  # not there, or not empty any more
