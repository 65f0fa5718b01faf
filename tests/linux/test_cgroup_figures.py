"""Control groups of both versions are read into the same figures; this process's own too."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from kcore.linux import cgroups
from kcore.runtime import DeviceIo

V1 = {
    "cpuacct/cpuacct.usage": "5000000000",
    "cpuacct/cpuacct.stat": "user 300\nsystem 200\n",
    "cpu/cpu.stat": "nr_periods 100\nnr_throttled 40\nthrottled_time 2000000\n",
    "cpu/cpu.cfs_quota_us": "50000",
    "cpu/cpu.cfs_period_us": "100000",
    "cpu/cpu.shares": "512",
    "memory/memory.usage_in_bytes": "1000000",
    "memory/memory.stat": "rss 1\ntotal_rss 600000\ntotal_cache 300000\ntotal_inactive_file 200000\ntotal_pgfault 7\n",
    "memory/memory.limit_in_bytes": "2000000",
    "memory/memory.memsw.limit_in_bytes": "9223372036854771712",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "memory/memory.failcnt": "9",
    "pids/pids.current": "4",
    "pids/pids.max": "max",
    "blkio/blkio.throttle.io_serviced": "8:0 Read 5\n8:0 Write 6\n8:0 Total 11\nTotal 11\n",
    "blkio/blkio.throttle.io_service_bytes": "8:0 Read 500\n8:0 Write 600\nTotal 1100\n",
}
V2 = {
    "cpu.stat": "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 100\nnr_throttled 40\n"
    "throttled_usec 2000\n",
    "cpu.max": "50000 100000\n",
    "cpu.weight": "20\n",
    "memory.current": "1000000\n",
    "memory.stat": "anon 600000\nfile 300000\ninactive_file 200000\npgfault 7\n",
    "memory.max": "2000000\n",
    "memory.swap.max": "max\n",
    "memory.events": "low 0\nmax 9\noom 3\noom_kill 3\n",
    "pids.current": "4\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=500 wbytes=600 rios=5 wios=6 dbytes=0 dios=0\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 total=11\nfull avg10=0.00 avg60=0.00 total=12\n",
}
COMMON = {
    "cgroup": "/kubepods/x",
    "cpu_nanoseconds": 5_000_000_000,
    "cpu_user_nanoseconds": 3_000_000_000,
    "cpu_system_nanoseconds": 2_000_000_000,
    "cpu_periods": 100,
    "cpu_throttled_periods": 40,
    "cpu_throttled_nanoseconds": 2_000_000,
    "cpu_quota": 50_000,
    "cpu_period": 100_000,
    "memory_usage": 1_000_000,
    "memory_working_set": 800_000,
    "memory_rss": 600_000,
    "memory_cache": 300_000,
    "memory_limit": 2_000_000,
    "memory_swap_limit": 0,
    "memory_failcnt": 9,
    "oom_kills": 3,
    "page_faults": 7,
    "threads": 4,
    "threads_limit": 0,
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def same_disk(io: tuple[DeviceIo, ...]) -> bool:
    return [(d.major, d.minor, d.reads, d.writes, d.read_bytes, d.write_bytes) for d in io] == [(8, 0, 5, 6, 500, 600)]


def test_version_1(tmp_path: Path) -> None:
    write(tmp_path, {f"{name.partition('/')[0]}/kubepods/x/{name.partition('/')[2]}": v for name, v in V1.items()})
    found = cgroups.of_path("/kubepods/x", tmp_path).read()
    assert {name: found[name] for name in COMMON} == COMMON
    assert found["cpu_shares"] == 512
    assert same_disk(found["io"])


def test_version_2(tmp_path: Path) -> None:
    write(tmp_path, {f"kubepods/x/{name}": v for name, v in V2.items()} | {"cgroup.controllers": "cpu memory"})
    found = cgroups.of_path("/kubepods/x", tmp_path).read()
    assert {name: found[name] for name in COMMON} == COMMON
    assert abs(found["cpu_shares"] - 512) < 15
    assert same_disk(found["io"])
    assert found["pressure"] == (11, 12, 0, 0, 0, 0)


def test_a_group_that_is_gone_reads_as_nothing(tmp_path: Path) -> None:
    found = cgroups.of_path("/kubepods/gone", tmp_path).read()
    assert {v for name, v in found.items() if name != "cgroup"} == {0, ()}


def test_rubbish_in_the_files_is_no_harm(tmp_path: Path) -> None:
    files = dict.fromkeys((f"kubepods/x/{name}" for name in V2 if name != "io.stat"), "\0nonsense -5 \n x=y\n\n: :")
    write(tmp_path, files | {"cgroup.controllers": ""})
    cgroups.of_path("/kubepods/x", tmp_path).read()


def test_processes_are_counted_with_what_they_have_open(tmp_path: Path) -> None:
    write(tmp_path, {"kubepods/x/cgroup.procs": f"{os.getpid()}\n999999999\n", "cgroup.controllers": ""})
    group = cgroups.of_path("/kubepods/x", tmp_path)
    before = group.read()
    with socket.socket(), (tmp_path / "file").open("w"):
        now = group.read()
    assert now["processes"] == 2
    # at least: the test's process has threads, which open and close files of their own meanwhile
    assert now["file_descriptors"] >= before["file_descriptors"] + 2
    assert now["sockets"] >= before["sockets"] + 1
