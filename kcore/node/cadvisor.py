"""``/metrics/cadvisor``: what each container, pod and class of pods uses, and what the machine is.

Names, labels and types are cAdvisor's ("Monitoring cAdvisor with Prometheus") as the kubelet serves them. A family
whose figures nobody knows of a group is left out for that group, as cAdvisor leaves out limits where none are set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kcore.node.config import VERSION
from kcore.node.exposition import Page, labels
from kcore.node.figures import Group, Usage, machine, usage
from kcore.objects import quantity

if TYPE_CHECKING:
    from kcore.node.agent import Agent

PAUSE = "registry.k8s.io/pause:3.10"
DEFAULT_PERIOD = 100_000  # microseconds, of a CPU limit

Row = tuple[str, str, str, Callable[[Group], float]]  # name, type, help, value

_ALWAYS: list[Row] = [
    ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.",
     lambda g: g.started_at),
    ("container_last_seen", "gauge", "Last time a container was seen by the exporter", lambda g: int(g.time)),
    ("container_memory_usage_bytes", "gauge",
     "Current memory usage in bytes, including all memory regardless of when it was accessed",
     lambda g: g.memory_usage),
    ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", lambda g: g.memory_working_set),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", lambda g: g.memory_rss),
    ("container_memory_cache", "gauge", "Number of bytes of page cache memory.", lambda g: g.memory_cache),
    ("container_memory_swap", "gauge", "Container swap usage in bytes.", lambda g: g.memory_swap),
    ("container_memory_mapped_file", "gauge", "Size of memory mapped files in bytes.", lambda g: g.memory_mapped_file),
    ("container_memory_kernel_usage", "gauge", "Size of kernel memory allocated in bytes.", lambda g: g.memory_kernel),
    ("container_memory_max_usage_bytes", "gauge", "Maximum memory usage recorded in bytes",
     lambda g: g.memory_max_usage),
    ("container_memory_failcnt", "counter", "Number of memory usage hits limits", lambda g: g.memory_failcnt),
    ("container_memory_total_active_file_bytes", "gauge", "Current total active file in bytes.",
     lambda g: g.memory_active_file),
    ("container_memory_total_inactive_file_bytes", "gauge", "Current total inactive file in bytes.",
     lambda g: g.memory_inactive_file),
    ("container_oom_events_total", "counter", "Count of out of memory events observed for the container",
     lambda g: g.oom_kills),
    ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", lambda g: g.memory_limit),
    ("container_spec_memory_swap_limit_bytes", "gauge", "Memory swap limit for the container.",
     lambda g: g.memory_swap_limit),
    ("container_spec_memory_reservation_limit_bytes", "gauge", "Memory reservation limit for the container.",
     lambda g: g.memory_reservation),
    ("container_spec_cpu_period", "gauge", "CPU period of the container.", lambda g: g.cpu_period or DEFAULT_PERIOD),
    ("container_spec_cpu_shares", "gauge", "CPU share of the container.", lambda g: g.cpu_shares),
    ("container_cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed in seconds.",
     lambda g: g.cpu_user_nanoseconds / 1e9),
    ("container_cpu_system_seconds_total", "counter", "Cumulative system cpu time consumed in seconds.",
     lambda g: g.cpu_system_nanoseconds / 1e9),
    ("container_processes", "gauge", "Number of processes running inside the container.", lambda g: g.processes),
    ("container_threads", "gauge", "Number of threads running inside the container", lambda g: g.threads),
    ("container_threads_max", "gauge", "Maximum number of threads allowed inside the container, infinity if zero",
     lambda g: g.threads_limit),
    ("container_file_descriptors", "gauge", "Number of open file descriptors for the container.",
     lambda g: g.file_descriptors),
    ("container_sockets", "gauge", "Number of open sockets for the container.", lambda g: g.sockets),
]  # fmt: skip

_LIMITED: list[Row] = [
    ("container_spec_cpu_quota", "gauge", "CPU quota of the container.", lambda g: g.cpu_quota),
    ("container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.",
     lambda g: g.cpu_periods),
    ("container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.",
     lambda g: g.cpu_throttled_periods),
    ("container_cpu_cfs_throttled_seconds_total", "counter", "Total time duration the container has been throttled.",
     lambda g: g.cpu_throttled_nanoseconds / 1e9),
]  # fmt: skip
"""Only of groups whose use of the CPU is limited."""

_DISK_SPACE: list[Row] = [
    ("container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container on this filesystem.",
     lambda g: g.fs_used),
    ("container_fs_limit_bytes", "gauge", "Number of bytes that can be consumed by the container on this filesystem.",
     lambda g: g.fs_limit),
    ("container_fs_inodes_total", "gauge", "Number of Inodes", lambda g: g.fs_inodes),
    ("container_fs_inodes_free", "gauge", "Number of available Inodes", lambda g: g.fs_inodes_free),
]  # fmt: skip

_DEVICE = [
    ("container_fs_reads_total", "Cumulative count of reads completed", "reads"),
    ("container_fs_writes_total", "Cumulative count of writes completed", "writes"),
    ("container_fs_reads_bytes_total", "Cumulative count of bytes read", "read_bytes"),
    ("container_fs_writes_bytes_total", "Cumulative count of bytes written", "write_bytes"),
]

_TRAFFIC = [
    (f"container_network_{word}_{what}_total", f"Cumulative count of {help}", f"{short}_{field}")
    for short, word, past in (("rx", "receive", "received"), ("tx", "transmit", "transmitted"))
    for what, help, field in (
        ("bytes", f"bytes {past}", "bytes"),
        ("packets", f"packets {past}", "packets"),
        ("packets_dropped", f"packets dropped while they were {past}", "dropped"),
        ("errors", f"errors while packets were {past}", "errors"),
    )
]


_PRESSURE = [
    f"container_pressure_{what}_{word}_seconds_total"
    for what in ("cpu", "memory", "io")
    for word in ("waiting", "stalled")
]
"""In the order of `Measured.pressure`."""


async def cadvisor(agent: Agent) -> bytes:
    """The whole page."""
    page, found = Page(), await usage(agent)
    groups = [(_labels(group), group) for group in found.groups]
    _cpu(page, groups)
    for name, kind, help, value in _ALWAYS:
        page.family(name, kind, help)
        for text, group in groups:
            page.sample(name, text, value(group))
    limited = [(text, group) for text, group in groups if group.cpu_quota]
    for name, kind, help, value in _LIMITED:
        page.family(name, kind, help)
        for text, group in limited:
            page.sample(name, text, value(group))
    _faults(page, groups)
    for number, name in enumerate(_PRESSURE):
        page.family(name, "counter", "Total time duration tasks in the container have waited for it.")
        for text, group in groups:
            if group.pressure:
                page.sample(name, text, group.pressure[number] / 1e6)
    _disk(page, groups)
    _network(page, found)
    page.single("container_scrape_error", "gauge", "1 if there was an error while getting container metrics", 0)
    _machine(page, agent)
    return page.text()


def _labels(group: Group) -> str:
    return labels(
        {
            "container": group.container,
            "id": group.id,
            "image": group.image,
            "name": group.name,
            "namespace": group.namespace,
            "pod": group.pod,
        }
    )


def _with(text: str, more: str) -> str:
    """Labels that another is added to."""
    return f"{text[:-1]},{more}}}"


def _cpu(page: Page, groups: Iterable[tuple[str, Group]]) -> None:
    name = "container_cpu_usage_seconds_total"
    page.family(name, "counter", "Cumulative cpu time consumed in seconds.")
    for text, group in groups:
        page.sample(name, _with(text, 'cpu="total"'), group.cpu_nanoseconds / 1e9)


def _faults(page: Page, groups: Iterable[tuple[str, Group]]) -> None:
    name = "container_memory_failures_total"
    page.family(name, "counter", "Cumulative count of memory allocation failures.")
    for text, group in groups:
        for kind, count in (("pgfault", group.page_faults), ("pgmajfault", group.major_page_faults)):
            page.sample(name, _with(text, f'failure_type="{kind}",scope="container"'), count)
            page.sample(name, _with(text, f'failure_type="{kind}",scope="hierarchy"'), count)


def _disk(page: Page, groups: list[tuple[str, Group]]) -> None:
    rows = [(text, group) for text, group in groups if group.disk]
    for name, kind, help, value in _DISK_SPACE:
        page.family(name, kind, help)
        for text, group in rows:
            if value(group) or (group.id != "/" and name == "container_fs_usage_bytes"):
                device = group.io[0].device if group.io else ""
                page.sample(name, _with(text, f'device="{device}"'), value(group))
    for name, help, field in _DEVICE:
        page.family(name, "counter", help)
        for text, group in groups:
            for io in group.io:
                page.sample(name, _with(text, f'device="{io.device}"'), getattr(io, field))
    name = "container_blkio_device_usage_total"
    page.family(name, "counter", "Blkio device bytes usage")
    for text, group in groups:
        for io in group.io:
            device = f'device="{io.device}",major="{io.major}",minor="{io.minor}"'
            page.sample(name, _with(text, f'{device},operation="Read"'), io.read_bytes)
            page.sample(name, _with(text, f'{device},operation="Write"'), io.write_bytes)


def _network(page: Page, found: Usage) -> None:
    """Of the pods' interfaces: cAdvisor tells them of the container that holds the network, the pause container."""
    rows: list[tuple[dict[str, str], object]] = [
        ({"container": "", "id": "/", "image": "", "interface": i.name, "name": "", "namespace": "", "pod": ""}, i)
        for i in found.interfaces
    ]
    for stats, group, _ in found.pods:
        values = {
            "container": "",
            "id": f"{group.id}/{stats.sandbox_id}",
            "image": stats.sandbox_image or PAUSE,
            "interface": "eth0",
            "name": stats.sandbox_id,
            "namespace": stats.namespace,
            "pod": stats.name,
        }
        rows.append((values, stats))
    texts = [(labels(values), of) for values, of in rows]
    for name, help, field in _TRAFFIC:
        page.family(name, "counter", help)
        for text, of in texts:
            page.sample(name, text, getattr(of, field))


def _machine(page: Page, agent: Agent) -> None:
    m = machine()
    if agent.real:
        cores, physical, sockets, memory, swap = float(m.cores), m.physical_cores, m.sockets, m.memory, m.swap
        values = {"boot_id": m.boot_id, "machine_id": m.machine_id, "system_uuid": m.system_uuid}
    else:
        capacity = agent.node["status"]["capacity"]
        cores = float(quantity.parse(capacity.get("cpu", "1")))
        physical, sockets, memory, swap = int(cores), 1, quantity.value(capacity.get("memory", "0")), 0
        info = agent.node["status"].get("nodeInfo") or {}
        values = {
            "boot_id": info.get("bootID", ""),
            "machine_id": info.get("machineID", ""),
            "system_uuid": info.get("systemUUID", ""),
        }
    page.single("machine_cpu_cores", "gauge", "Number of logical CPU cores.", cores, **values)
    page.single("machine_cpu_physical_cores", "gauge", "Number of physical CPU cores.", physical, **values)
    page.single("machine_cpu_sockets", "gauge", "Number of CPU sockets.", sockets, **values)
    page.single("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.", memory, **values)
    page.single("machine_swap_bytes", "gauge", "Amount of swap memory available on the machine.", swap, **values)
    page.single("machine_scrape_error", "gauge", "1 if there was an error while getting machine metrics", 0)
    help = "A metric with a constant '1' value labeled by kernel version, OS version, docker version."
    info = agent.node["status"].get("nodeInfo") or {}
    page.single(
        "cadvisor_version_info",
        "gauge",
        help,
        1,
        cadvisorRevision="",
        cadvisorVersion=VERSION,
        dockerVersion=agent.runtime_version.rpartition("/")[2],
        kernelVersion=info.get("kernelVersion", ""),
        osVersion=info.get("osImage", ""),
    )
