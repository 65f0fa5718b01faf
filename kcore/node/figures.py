"""What groups of processes use, from single containers up to the whole machine, in one shape for every page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kcore import clock
from kcore.objects import quantity
from kcore.objects.qos import qos_class
from kcore.runtime import ContainerStats, DeviceIo, Measured, PodStats

if TYPE_CHECKING:
    from kcore.node.agent import Agent

KUBEPODS = "/kubepods"
SIMULATED_DISK = "/dev/vda"
_TICK = 1_000_000_000 // (os.sysconf("SC_CLK_TCK") or 100)  # nanoseconds
_SECTOR = 512  # bytes, in /proc/diskstats
PROC = Path("/proc")


@attrs.frozen(kw_only=True)
class Group(Measured):
    """One control group, or what would be one: figures, and whose they are."""

    id: str  # the group's path
    name: str = ""
    image: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    started_at: float = 0.0
    time: float = 0.0
    cpu_nanoseconds: int = 0
    cpu_nanocores: int = 0
    memory_working_set: int = 0
    memory_rss: int = 0
    memory_cache: int = 0
    memory_limit: int = 0
    fs_used: int = 0
    fs_limit: int = 0
    fs_inodes: int = 0
    fs_inodes_free: int = 0
    disk: bool = False  # it has figures of a file system of its own


@attrs.frozen
class Interface:
    """Traffic of one network interface."""

    name: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@attrs.frozen
class Usage:
    """Everything of one node, measured at once."""

    time: float
    node: Group
    qualities: tuple[Group, ...]  # /kubepods, and below it those of burstable and best-effort pods
    pods: tuple[tuple[PodStats, Group, tuple[Group, ...]], ...]  # with their containers
    interfaces: tuple[Interface, ...]  # of the node
    system: tuple[Group, ...] = ()  # the kubelet's own process

    @property
    def containers(self) -> Iterator[Group]:
        for _, _, containers in self.pods:
            yield from containers

    @property
    def groups(self) -> Iterator[Group]:
        """All of them, from the root down."""
        yield self.node
        yield from self.qualities
        for _, pod, containers in self.pods:
            yield pod
            yield from containers


async def usage(agent: Agent) -> Usage:
    """What the runtime and, under a real one, the kernel say now."""
    stats = await agent.runtime.stats()
    qualities = {w.uid: qos_class(w.pod["spec"]).lower() for w in agent.workers.values()}
    qualities = {uid: quality for uid, quality in qualities.items() if quality != "guaranteed"}
    pods = tuple(_pod(p, qualities.get(p.uid, "")) for p in stats)
    now = clock.now()
    every = [group for _, group, _ in pods]
    named = [("", every)]
    named += [
        (f"/{quality}", [g for s, g, _ in pods if qualities.get(s.uid) == quality])
        for quality in ("burstable", "besteffort")
    ]
    groups = tuple(_sum(f"{KUBEPODS}{below}", of, now) for below, of in named)
    if agent.real:
        root, own = machine_group(now), own_process(now)
        root = attrs.evolve(root, cpu_nanocores=agent.measures.rate(root.id, now, root.cpu_nanoseconds))
        own = attrs.evolve(own, cpu_nanocores=agent.measures.rate(own.id, now, own.cpu_nanoseconds))
        return Usage(now, root, groups, pods, tuple(interfaces()), (own,))
    capacity = quantity.value(agent.node["status"]["capacity"].get("memory", "0"))
    node = attrs.evolve(groups[0], id="/", cpu_nanoseconds=agent.measures.node_cpu(stats), memory_limit=capacity)
    total = Interface("eth0", *(sum(getattr(p, n) for p in stats) for n in _TRAFFIC))
    return Usage(now, node, groups, pods, (total,))


_TRAFFIC = [field.name for field in attrs.fields(Interface) if field.name != "name"]
_SUMMED = [
    field.name
    for field in attrs.fields(Group)
    if field.type in ("int", int) and field.name not in ("cpu_quota", "cpu_period", "cpu_shares", "threads_limit")
]
_COPIED = [field.name for field in attrs.fields(Measured)]
_COMMON = ("cpu_nanoseconds", "cpu_nanocores", "memory_working_set", "memory_rss", "memory_cache", "memory_limit")


def _pod(stats: PodStats, quality: str) -> tuple[PodStats, Group, tuple[Group, ...]]:
    below = f"{KUBEPODS}/{quality}/pod{stats.uid}" if quality else f"{KUBEPODS}/pod{stats.uid}"
    containers = tuple(_container(stats, c, below) for c in stats.containers)
    if stats.cgroup:
        figures = {name: getattr(stats, name) for name in (*_COPIED, *_COMMON)}
        for name in ("processes", "file_descriptors", "sockets"):  # those below a group are not counted in its own
            figures[name] = figures[name] or sum(getattr(c, name) for c in containers)
        group = Group(id=stats.cgroup, started_at=stats.started_at, time=stats.time, **figures)
    else:
        group = attrs.evolve(_sum(below, containers, stats.time), started_at=stats.started_at)
    return stats, attrs.evolve(group, namespace=stats.namespace, pod=stats.name), containers


def _container(pod: PodStats, c: ContainerStats, below: str) -> Group:
    figures = {name: getattr(c, name) for name in (*_COPIED, *_COMMON)}
    if not c.memory_usage:
        figures["memory_usage"] = c.memory_working_set + c.memory_cache
    if not c.cgroup:
        io = DeviceIo(SIMULATED_DISK, 253, 0, c.fs_reads, c.fs_writes, c.fs_read_bytes, c.fs_write_bytes)
        figures["io"] = (io,)
    return Group(
        id=c.cgroup or f"{below}/{c.id}",
        name=c.id,
        image=c.image,
        namespace=pod.namespace,
        pod=pod.name,
        container=c.name,
        started_at=c.started_at,
        time=c.time,
        fs_used=c.fs_used,
        disk=True,
        **figures,
    )


def _sum(id: str, groups: Iterable[Group], now: float) -> Group:
    of = list(groups)
    figures = {name: sum(getattr(g, name) for g in of) for name in _SUMMED}
    devices: dict[tuple[int, int], DeviceIo] = {}
    for io in (io for g in of for io in g.io):
        had = devices.get((io.major, io.minor), DeviceIo(io.device, io.major, io.minor))
        devices[io.major, io.minor] = DeviceIo(
            io.device,
            io.major,
            io.minor,
            had.reads + io.reads,
            had.writes + io.writes,
            had.read_bytes + io.read_bytes,
            had.write_bytes + io.write_bytes,
        )
    first = min((g.started_at for g in of if g.started_at), default=now)
    return Group(id=id, started_at=first, time=now, io=tuple(devices.values()), **figures)


# --- the machine -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Machine:
    """What stays the same until it is switched off."""

    cores: int
    physical_cores: int
    sockets: int
    memory: int
    swap: int
    boot_time: float
    boot_id: str
    machine_id: str
    system_uuid: str


@cache
def machine() -> Machine:
    """This machine."""
    cpus, physical, sockets = 0, set(), set()
    package = "0"
    for line in _text(PROC / "cpuinfo").splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "processor":
            cpus += 1
        elif name == "physical id":
            package = value
            sockets.add(value)
        elif name == "core id":
            physical.add((package, value))
    memory = _table(PROC / "meminfo")
    boot = next((ln.split()[1] for ln in _text(PROC / "stat").splitlines() if ln.startswith("btime ")), "0")
    cores = cpus or os.cpu_count() or 1
    return Machine(
        cores,
        len(physical) or cores,
        len(sockets) or 1,
        memory.get("MemTotal", 0),
        memory.get("SwapTotal", 0),
        float(boot),
        _text(PROC / "sys/kernel/random/boot_id").strip(),
        _text(Path("/etc/machine-id")).strip(),
        _text(Path("/sys/class/dmi/id/product_uuid")).strip(),
    )


def machine_group(now: float) -> Group:
    """The root: all processes of this machine, whichever version its control groups are of."""
    from kcore.linux.cgroups import pressure

    user, nice, system, _, _, irq, soft, _ = _cpu_times()
    memory, vm = _table(PROC / "meminfo"), _table(PROC / "vmstat", 1)
    cache = memory.get("Cached", 0) + memory.get("Buffers", 0)
    used = memory.get("MemTotal", 0) - memory.get("MemFree", 0)
    inactive = memory.get("Inactive(file)", 0)
    processes, threads = _tasks()
    disk = os.statvfs("/")
    return Group(
        id="/",
        started_at=machine().boot_time,
        time=now,
        cpu_nanoseconds=(user + nice + system + irq + soft) * _TICK,
        cpu_user_nanoseconds=(user + nice) * _TICK,
        cpu_system_nanoseconds=(system + irq + soft) * _TICK,
        cpu_shares=1024,
        memory_usage=used,
        memory_working_set=max(0, used - inactive),
        memory_rss=memory.get("AnonPages", 0),
        memory_cache=cache,
        memory_mapped_file=memory.get("Mapped", 0),
        memory_kernel=memory.get("Slab", 0) + memory.get("KernelStack", 0) + memory.get("PageTables", 0),
        memory_swap=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        memory_active_file=memory.get("Active(file)", 0),
        memory_inactive_file=inactive,
        memory_limit=memory.get("MemTotal", 0),
        page_faults=vm.get("pgfault", 0),
        major_page_faults=vm.get("pgmajfault", 0),
        oom_kills=vm.get("oom_kill", 0),
        pressure=tuple(n for what in ("cpu", "memory", "io") for n in pressure(f"{PROC}/pressure/{what}")),
        processes=processes,
        threads=threads,
        io=tuple(_disks()),
        fs_used=(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        fs_limit=disk.f_blocks * disk.f_frsize,
        fs_inodes=disk.f_files,
        fs_inodes_free=disk.f_ffree,
        disk=True,
    )


def own_process(now: float) -> Group:
    """This process, as the kubelet's own container in ``/stats/summary``."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = _text(PROC / "self/statm").split()
    rss = int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0
    return Group(
        id="kubelet",
        started_at=_process_start(),
        time=now,
        cpu_nanoseconds=int((used.ru_utime + used.ru_stime) * 1e9),
        memory_usage=rss,
        memory_working_set=rss,
        memory_rss=rss,
        page_faults=used.ru_minflt,
        major_page_faults=used.ru_majflt,
    )


def interfaces(path: Path = PROC / "net/dev") -> Iterator[Interface]:
    """Those of this network namespace, but for the loopback and the pods' ends of virtual cables."""
    for line in _text(path).splitlines()[2:]:
        name, _, rest = line.partition(":")
        n = rest.split()
        if len(n) < 16 or name.strip() == "lo" or name.strip().startswith(("veth", "docker", "cali", "kc")):
            continue
        v = list(map(int, n[:16]))
        yield Interface(name.strip(), v[0], v[1], v[2], v[3], v[8], v[9], v[10], v[11])


def pids_limit() -> tuple[int, int]:
    """(processes and threads that there may be, that there are)."""
    text = _text(PROC / "sys/kernel/pid_max").strip()
    return int(text) if text.isdecimal() else 0, _tasks()[1]


def _cpu_times() -> tuple[int, ...]:
    for line in _text(PROC / "stat").splitlines():
        if line.startswith("cpu "):
            return (*map(int, line.split()[1:9]),)
    return (0,) * 8


def _disks() -> Iterator[DeviceIo]:
    """Whole disks: partitions and loops would count the same bytes twice."""
    for line in _text(PROC / "diskstats").splitlines():
        n = line.split()
        if len(n) >= 14 and not n[2].startswith(("loop", "ram", "dm-")) and Path(f"/sys/block/{n[2]}").exists():
            reads, read_sectors, writes, written_sectors = int(n[3]), int(n[5]), int(n[7]), int(n[9])
            yield DeviceIo(
                f"/dev/{n[2]}",
                int(n[0]),
                int(n[1]),
                reads,
                writes,
                read_sectors * _SECTOR,
                written_sectors * _SECTOR,
            )


def _tasks() -> tuple[int, int]:
    """(processes, threads), the latter from the file that says how many there are."""
    words = _text(PROC / "loadavg").split()
    threads = int(words[3].partition("/")[2]) if len(words) > 3 else 0
    try:
        processes = sum(1 for name in os.listdir(PROC) if name.isdecimal())
    except OSError:
        processes = 0
    return processes, threads


@cache
def _process_start() -> float:
    words = _text(PROC / "self/stat").rpartition(")")[2].split()
    return machine().boot_time + int(words[19]) * _TICK / 1e9 if len(words) > 19 else 0.0


def _table(path: Path, unit: int = 1024) -> dict[str, int]:
    """Lines of a name and a number: of kilobytes in meminfo."""
    out = {}
    for line in _text(path).splitlines():
        words = line.replace(":", " ", 1).split()
        if len(words) > 1 and words[1].isdecimal():
            out[words[0]] = int(words[1]) * (unit if len(words) > 2 else 1)
    return out


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
