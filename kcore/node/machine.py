"""How big a node is, and how much of it is left.

A node whose pods are programs of this machine is the machine: /proc and the file systems say. Any other node is as big
as its config says, and what its pods use is what they are measured to use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kcore.objects import quantity
from kcore.runtime import PodStats

if TYPE_CHECKING:
    from kcore.node.agent import Agent

PIDS = 32768  # of a node that is no machine
PROC = Path("/proc")


@attrs.frozen
class Room:
    """Of one thing: bytes, inodes or processes."""

    capacity: int
    available: int


def memory(proc: Path = PROC) -> Room:
    """Of this machine. Raises OSError."""
    rows = {}
    for line in (proc / "meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        rows[name] = int(rest.split()[0]) * 1024
    return Room(rows["MemTotal"], rows.get("MemAvailable", rows["MemFree"]))


def processes(proc: Path = PROC) -> Room:
    most = min(int((proc / "sys/kernel" / name).read_text()) for name in ("pid_max", "threads-max"))
    running = int((proc / "loadavg").read_text().split()[3].partition("/")[2])
    return Room(most, max(0, most - running))


def capacity(data: Path, pods: str) -> dict[str, str]:
    """What this machine has, as a Node tells it."""
    found = os.statvfs(data)
    huge = {}
    for entry in sorted(Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB")):
        size = int(entry.name.removeprefix("hugepages-").removesuffix("kB")) * 1024
        total = int((entry / "nr_hugepages").read_text())
        huge[f"hugepages-{quantity.format_binary(size)}"] = quantity.format_binary(size * total)
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory().capacity // 1024}Ki",
        "ephemeral-storage": f"{found.f_blocks * found.f_frsize // 1024}Ki",
        "pods": pods,
        **huge,
    }


async def rooms(agent: Agent, pods: list[PodStats]) -> Mapping[str, Room]:
    """By eviction signal (``memory.available``)."""
    return await _of_machine(agent) if agent.real else _of_config(agent, pods)


async def _of_machine(agent: Agent) -> Mapping[str, Room]:
    found = {"memory.available": memory(), "pid.available": processes()}
    disk = os.statvfs(agent.config.data_dir or "/")
    found["nodefs.available"] = Room(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize)
    if disk.f_files:
        found["nodefs.inodesFree"] = Room(disk.f_files, disk.f_ffree)
    images = await agent.runtime.filesystem()
    if images is not None:
        found["imagefs.available"] = Room(images.capacity, images.available)
        if images.inodes:
            found["imagefs.inodesFree"] = Room(images.inodes, images.inodes_free)
    return found


def _of_config(agent: Agent, pods: list[PodStats]) -> Mapping[str, Room]:
    size = agent.node["status"].get("capacity") or {}
    total, disk = quantity.value(size.get("memory", "0")), quantity.value(size.get("ephemeral-storage", "0"))
    used = sum(c.memory_working_set for p in pods for c in p.containers)
    stored = sum(c.fs_used + c.logs_used for p in pods for c in p.containers)
    stored += sum(v.used for p in pods for v in p.volumes)
    found = {"pid.available": Room(PIDS, max(0, PIDS - sum(p.processes for p in pods)))}
    if total:
        found["memory.available"] = Room(total, max(0, total - used))
    if disk:
        found["nodefs.available"] = Room(disk, max(0, disk - stored))
    return found
