"""Rates from totals, and figures of groups from those of what is in them."""

from __future__ import annotations

from kcore.node import figures
from kcore.runtime import ContainerStats, DeviceIo, PodStats
from kcore.runtime.rates import Samples

GB = 1_000_000_000


def test_a_rate_is_over_five_seconds_at_least_however_often_somebody_asks() -> None:
    samples = Samples(0.0, 0, (0.0, 0))
    assert samples.rate(0.0, 0) == 0
    for tenth in range(1, 100):
        assert abs(samples.rate(tenth / 10, tenth * 100) - 1000) <= 1
    quiet = [samples.rate(10 + tenth / 10, 9900) for tenth in range(100)]  # it has stopped growing
    assert quiet[0] > 900
    assert quiet[-1] == 0


def test_a_total_that_begins_anew_is_no_negative_rate() -> None:
    samples = Samples(0.0, 5000, (0.0, 5000))
    assert samples.rate(10.0, 10) == 0


def container(name: str, **more: int) -> ContainerStats:
    fields = {"cpu_nanoseconds": 5, "cpu_nanocores": 7, "memory_working_set": 11, "memory_rss": 3, **more}
    io = (DeviceIo("/dev/sda", 8, 0, reads=1, writes=2, read_bytes=3, write_bytes=4),)
    times = {"started_at": 100.0, "time": 200.0}
    return ContainerStats(id=name * 3, name=name, image="i", attempt=0, cgroup=f"/x/{name}", io=io, **times, **fields)


def pod(*containers: ContainerStats, **more: object) -> PodStats:
    return PodStats("u", "p", "ns", "s", 90.0, 200.0, containers, **more)  # type: ignore[arg-type]


def test_a_pod_without_a_group_of_its_own_has_the_sum_of_its_containers() -> None:
    _, group, containers = figures._pod(pod(container("a"), container("b", oom_kills=2)), "burstable")
    assert (group.id, group.namespace, group.pod, group.started_at) == ("/kubepods/burstable/podu", "ns", "p", 90.0)
    assert (group.cpu_nanoseconds, group.memory_working_set, group.oom_kills) == (10, 22, 2)
    assert group.io == (DeviceIo("/dev/sda", 8, 0, 2, 4, 6, 8),)
    assert [(c.id, c.container) for c in containers] == [("/x/a", "a"), ("/x/b", "b")]


def test_a_pod_with_a_group_has_what_the_kernel_counts_there() -> None:
    own = pod(container("a", processes=3), cgroup="/kubepods/podu", cpu_nanoseconds=99, memory_working_set=98)
    _, group, _ = figures._pod(own, "")
    assert (group.id, group.cpu_nanoseconds, group.memory_working_set) == ("/kubepods/podu", 99, 98)
    assert group.processes == 3  # those of a group's own are of those below it


def test_the_machine_knows_itself() -> None:
    machine, root = figures.machine(), figures.machine_group(1.0)
    assert machine.cores >= machine.physical_cores >= machine.sockets >= 1
    assert machine.memory == root.memory_limit > root.memory_working_set > 0
    assert root.cpu_nanoseconds == root.cpu_user_nanoseconds + root.cpu_system_nanoseconds > GB
    assert root.threads >= root.processes > 0
    assert root.fs_limit > root.fs_used > 0
    own = figures.own_process(1.0)
    assert own.memory_rss > 1_000_000
    assert machine.boot_time < own.started_at
