"""What pods use, from the kernel's own counts: the engine is not asked."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from kcore import clock
from kcore.linux import cgroups
from kcore.linux.cgroups import Cgroup
from kcore.linux.network import Traffic, traffic
from kcore.runtime import ContainerStats, PodStats, SandboxConfig
from kcore.runtime.rates import Samples

_TRIES, _PAUSE = 40, 0.05  # seconds
_SUMS = ("cpu_nanoseconds", "cpu_nanocores", "memory_working_set", "memory_rss", "memory_cache", "memory_limit")


@attrs.frozen
class Pod:
    """A sandbox to measure."""

    id: str
    pid: int
    config: SandboxConfig
    created_at: float
    cgroup: str
    own_network: bool


@attrs.define
class _Running:
    """A container that runs."""

    cgroup: Cgroup
    sandbox: str
    name: str
    image: str
    attempt: int
    started_at: float


@attrs.define
class Meter:
    """Knows the control groups of what runs, and how much processor they had used when last asked."""

    _running: dict[str, _Running] = attrs.Factory(dict)
    _before: dict[str, Samples] = attrs.Factory(dict)

    def started(self, id: str, pid: int, sandbox: str, said: dict[str, Any], started_at: float) -> None:
        known = self._running.get(id)
        if known is not None and known.started_at == started_at:
            return
        group = cgroups.of_process(pid)
        if group is not None:
            self._running[id] = _Running(group, sandbox, said["name"], said["image"], said["attempt"], started_at)

    def ended(self, id: str) -> None:
        self._running.pop(id, None)
        self._before.pop(id, None)

    def measure(self, pods: list[Pod]) -> list[PodStats]:
        """In a thread: a dozen small files for each container."""
        inside: dict[str, list[ContainerStats]] = {}
        for id, running in list(self._running.items()):
            inside.setdefault(running.sandbox, []).append(self._container(id, running))
        return [self._pod(pod, inside.get(pod.id, [])) for pod in pods]

    def _container(self, id: str, running: _Running) -> ContainerStats:
        now = clock.now()
        found = running.cgroup.read()
        io = found.get("io", ())
        return ContainerStats(
            id=id,
            name=running.name,
            image=running.image,
            attempt=running.attempt,
            started_at=running.started_at,
            time=now,
            cpu_nanocores=self._rate(id, now, found["cpu_nanoseconds"], running.started_at),
            fs_reads=sum(device.reads for device in io),
            fs_writes=sum(device.writes for device in io),
            fs_read_bytes=sum(device.read_bytes for device in io),
            fs_write_bytes=sum(device.write_bytes for device in io),
            **found,
        )

    def _pod(self, pod: Pod, containers: list[ContainerStats]) -> PodStats:
        now = clock.now()
        found = cgroups.of_path(pod.cgroup).read() if pod.cgroup else {}
        if found:
            found["cpu_nanocores"] = self._rate(pod.id, now, found["cpu_nanoseconds"], pod.created_at)
        else:
            found = {name: sum(getattr(c, name) for c in containers) for name in _SUMS}
        seen = traffic(pod.pid) if pod.own_network else Traffic()
        return PodStats(
            uid=pod.config.uid,
            name=pod.config.name,
            namespace=pod.config.namespace,
            sandbox_id=pod.id,
            started_at=pod.created_at,
            time=now,
            containers=tuple(containers),
            **attrs.asdict(seen),
            **found,
        )

    def _rate(self, id: str, now: float, used: int, since: float) -> int:
        """Nanocores, over five seconds at least however often somebody asks; at first since it was started."""
        samples = self._before.get(id)
        if samples is None:
            samples = self._before[id] = Samples(since, 0, (now, used))
        return samples.rate(now, used)


async def forget(cgroup: str) -> None:
    """Remove the control groups of a pod that is gone, and those above it that are empty now.

    The kernel keeps a group for as long as its last process takes to end, which may be after the engine's answer.
    """
    for _ in range(_TRIES if cgroup else 0):
        if await trio.to_thread.run_sync(_remove, cgroup):
            return
        await trio.sleep(_PAUSE)


def _remove(cgroup: str) -> bool:
    """Whether the pod's own are gone."""
    for root in (cgroups.ROOT, *cgroups.ROOT.iterdir()):
        group = root / cgroup.lstrip("/")
        while group != root:
            try:
                group.rmdir()
            except OSError:
                break  # not there, or not empty
            group = group.parent
    return not any((root / cgroup.lstrip("/")).exists() for root in cgroups.ROOT.iterdir())
