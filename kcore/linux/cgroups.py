"""Control groups: what the kernel counts for the processes of a container, by version 1 or 2.

A process's groups are found in ``/proc/PID/cgroup``; `Cgroup.read` opens a dozen small files. Paths are those that
the process is in as seen from this one's root, which must be the machine's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from kcore.runtime import DeviceIo

ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # version 1 says "no limit" with the largest multiple of a page
_MOST = 65536  # bytes of a file that are read at once
_TICK = 1_000_000_000 // (os.sysconf("SC_CLK_TCK") or 100)  # nanoseconds


@attrs.frozen
class Cgroup:
    """The groups of one container: a directory for each controller of version 1, or one for all of version 2."""

    path: str  # below the root of the hierarchy: "/kubepods/podUID/ID"
    unified: Path | None  # version 2
    controllers: dict[str, Path]  # version 1

    def read(self) -> dict[str, Any]:
        """By the names of `kcore.runtime.ContainerStats` and `Measured`; nothing of a group that is gone."""
        found = dict(_v2(self.unified) if self.unified is not None else _v1(self.controllers))
        return {"cgroup": self.path, **found}

    @property
    def alive(self) -> bool:
        return any(path.exists() for path in (self.unified, *self.controllers.values()) if path is not None)


def of_process(pid: int, root: Path = ROOT, proc: Path = Path("/proc")) -> Cgroup | None:
    """None if the process is gone."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    controllers: dict[str, Path] = {}
    path = ""
    for line in lines:
        _, names, where = line.split(":", 2)
        if not names:
            path = path or where
        else:
            for name in names.split(","):
                controllers[name] = root / name / where.lstrip("/")
                if name == "memory":
                    path = where
    pure = (root / "cgroup.controllers").exists()
    return Cgroup(path, root / path.lstrip("/") if pure else None, {} if pure else controllers)


def of_path(path: str, root: Path = ROOT) -> Cgroup:
    """The group at a path that is the same for all controllers."""
    below = path.lstrip("/")
    if (root / "cgroup.controllers").exists():
        return Cgroup(path, root / below, {})
    return Cgroup(path, None, {name: root / name / below for name in ("cpu", "cpuacct", "memory", "pids", "blkio")})


# --- version 1 -------------------------------------------------------------------------------------------------------


def _v1(at: dict[str, Path]) -> Iterator[tuple[str, Any]]:
    nothing = Path("/nonexistent")
    cpu, account, memory = at.get("cpu", nothing), at.get("cpuacct", nothing), at.get("memory", nothing)
    yield "cpu_nanoseconds", _number(f"{account}/cpuacct.usage")
    times = _table(f"{account}/cpuacct.stat")
    yield "cpu_user_nanoseconds", times.get("user", 0) * _TICK
    yield "cpu_system_nanoseconds", times.get("system", 0) * _TICK
    quota = _table(f"{cpu}/cpu.stat")
    yield "cpu_periods", quota.get("nr_periods", 0)
    yield "cpu_throttled_periods", quota.get("nr_throttled", 0)
    yield "cpu_throttled_nanoseconds", quota.get("throttled_time", 0)
    yield "cpu_quota", max(0, _number(f"{cpu}/cpu.cfs_quota_us"))
    yield "cpu_period", _number(f"{cpu}/cpu.cfs_period_us")
    yield "cpu_shares", _number(f"{cpu}/cpu.shares")
    stat, usage = _table(f"{memory}/memory.stat"), _number(f"{memory}/memory.usage_in_bytes")
    inactive = stat.get("total_inactive_file", 0)
    yield "memory_usage", usage
    yield "memory_working_set", max(0, usage - inactive)
    yield "memory_rss", stat.get("total_rss", 0)
    yield "memory_cache", stat.get("total_cache", 0)
    yield "memory_mapped_file", stat.get("total_mapped_file", 0)
    yield "memory_swap", stat.get("total_swap", 0)
    yield "memory_active_file", stat.get("total_active_file", 0)
    yield "memory_inactive_file", inactive
    yield "page_faults", stat.get("total_pgfault", 0)
    yield "major_page_faults", stat.get("total_pgmajfault", 0)
    yield "memory_kernel", _number(f"{memory}/memory.kmem.usage_in_bytes")
    yield "memory_max_usage", _number(f"{memory}/memory.max_usage_in_bytes")
    yield "memory_failcnt", _number(f"{memory}/memory.failcnt")
    yield "memory_limit", _limit(f"{memory}/memory.limit_in_bytes")
    yield "memory_swap_limit", _limit(f"{memory}/memory.memsw.limit_in_bytes")
    yield "memory_reservation", _limit(f"{memory}/memory.soft_limit_in_bytes")
    yield "oom_kills", _table(f"{memory}/memory.oom_control").get("oom_kill", 0)
    pids = at.get("pids", nothing)
    yield "threads", _number(f"{pids}/pids.current")
    yield "threads_limit", _limit(f"{pids}/pids.max")
    yield from _processes(f"{pids}/cgroup.procs")
    disk = at.get("blkio", nothing)
    operations = _by_device(f"{disk}/blkio.throttle.io_serviced")
    sizes = _by_device(f"{disk}/blkio.throttle.io_service_bytes")
    yield (
        "io",
        tuple(
            _device(major, minor, operations.get((major, minor), {}), sizes.get((major, minor), {}))
            for major, minor in sorted(operations.keys() | sizes.keys())
        ),
    )


def _by_device(path: str) -> dict[tuple[int, int], dict[str, int]]:
    """Lines like ``8:0 Read 12``."""
    out: dict[tuple[int, int], dict[str, int]] = {}
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            out.setdefault((int(major), int(minor)), {})[words[1]] = int(words[2])
    return out


def _device(major: int, minor: int, operations: dict[str, int], sizes: dict[str, int]) -> DeviceIo:
    return DeviceIo(
        device_name(major, minor),
        major,
        minor,
        reads=operations.get("Read", 0),
        writes=operations.get("Write", 0),
        read_bytes=sizes.get("Read", 0),
        write_bytes=sizes.get("Write", 0),
    )


# --- version 2 -------------------------------------------------------------------------------------------------------


def _v2(at: Path) -> Iterator[tuple[str, Any]]:
    cpu = _table(f"{at}/cpu.stat")
    yield "cpu_nanoseconds", cpu.get("usage_usec", 0) * 1000
    yield "cpu_user_nanoseconds", cpu.get("user_usec", 0) * 1000
    yield "cpu_system_nanoseconds", cpu.get("system_usec", 0) * 1000
    yield "cpu_periods", cpu.get("nr_periods", 0)
    yield "cpu_throttled_periods", cpu.get("nr_throttled", 0)
    yield "cpu_throttled_nanoseconds", cpu.get("throttled_usec", 0) * 1000
    quota, _, period = _text(f"{at}/cpu.max").strip().partition(" ")
    yield "cpu_quota", int(quota) if quota.isdecimal() else 0
    yield "cpu_period", int(period) if period.isdecimal() else 0
    yield "cpu_shares", _shares(_number(f"{at}/cpu.weight"))
    stat, usage = _table(f"{at}/memory.stat"), _number(f"{at}/memory.current")
    inactive = stat.get("inactive_file", 0)
    yield "memory_usage", usage
    yield "memory_working_set", max(0, usage - inactive)
    yield "memory_rss", stat.get("anon", 0)
    yield "memory_cache", stat.get("file", 0)
    yield "memory_mapped_file", stat.get("file_mapped", 0)
    yield "memory_active_file", stat.get("active_file", 0)
    yield "memory_inactive_file", inactive
    yield "memory_kernel", stat.get("kernel", 0)
    yield "page_faults", stat.get("pgfault", 0)
    yield "major_page_faults", stat.get("pgmajfault", 0)
    yield "memory_swap", _number(f"{at}/memory.swap.current")
    yield "memory_max_usage", _number(f"{at}/memory.peak")
    limit, swap = _limit(f"{at}/memory.max"), _limit(f"{at}/memory.swap.max")
    yield "memory_limit", limit
    yield "memory_swap_limit", limit + swap if limit and _text(f"{at}/memory.swap.max").strip().isdecimal() else 0
    yield "memory_reservation", _number(f"{at}/memory.low")
    events = _table(f"{at}/memory.events")
    yield "memory_failcnt", events.get("max", 0)
    yield "oom_kills", events.get("oom_kill", 0)
    yield "threads", _number(f"{at}/pids.current")
    yield "threads_limit", _limit(f"{at}/pids.max")
    yield from _processes(f"{at}/cgroup.procs")
    yield "pressure", tuple(n for what in ("cpu", "memory", "io") for n in pressure(f"{at}/{what}.pressure"))
    yield "io", tuple(_v2_io(f"{at}/io.stat"))


def _v2_io(path: str) -> Iterator[DeviceIo]:
    """Lines like ``8:0 rbytes=1 wbytes=2 rios=3 wios=4``."""
    for line in _text(path).splitlines():
        name, *pairs = line.split()
        major, _, minor = name.partition(":")
        n = {key: int(value) for key, _, value in (pair.partition("=") for pair in pairs) if value.isdecimal()}
        yield DeviceIo(
            device_name(int(major), int(minor)),
            int(major),
            int(minor),
            n.get("rios", 0),
            n.get("wios", 0),
            n.get("rbytes", 0),
            n.get("wbytes", 0),
        )


def _shares(weight: int) -> int:
    """The inverse of how shares (2 to 262144) are made into weights (1 to 10000)."""
    return 2 + (weight - 1) * 262142 // 9999 if weight else 0


# --- files -----------------------------------------------------------------------------------------------------------


@cache
def device_name(major: int, minor: int) -> str:
    try:
        return f"/dev/{Path(f'/sys/dev/block/{major}:{minor}').resolve(strict=True).name}"
    except OSError:
        return f"{major}:{minor}"


def _text(path: str) -> str:
    """A whole small file, by four system calls: a scrape reads thousands."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        found = b""
        while piece := os.read(file, _MOST):
            found += piece
        return found.decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(file)


def _number(path: str) -> int:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdecimal() else 0


def _limit(path: str) -> int:
    """0 for none."""
    found = _number(path)
    return 0 if found >= _UNLIMITED else found


def _processes(path: str) -> Iterator[tuple[str, int]]:
    """How many there are, and what they have open."""
    processes = _text(path).split()
    yield "processes", len(processes)
    descriptors = sockets = 0
    for process in processes:
        try:
            for name in os.listdir(f"/proc/{process}/fd"):
                descriptors += 1
                sockets += os.readlink(f"/proc/{process}/fd/{name}").startswith("socket:")
        except OSError:
            continue  # it has ended, or closed something
    yield "file_descriptors", descriptors
    yield "sockets", sockets


def pressure(path: str) -> tuple[int, int]:
    """(some, full) of pressure stall information, in microseconds; zeros where the kernel does not keep it."""
    found = {"some": 0, "full": 0}
    for line in _text(path).splitlines():
        kind, _, rest = line.partition(" ")
        total = rest.rpartition("total=")[2]
        if kind in found and total.isdecimal():
            found[kind] = int(total)
    return found["some"], found["full"]


def _table(path: str) -> dict[str, int]:
    """Lines of a name and a number."""
    out = {}
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if value.isdecimal():
            out[name] = int(value)
    return out
