"""What a node tells Prometheus: ``/metrics``, ``/metrics/cadvisor``, ``/metrics/resource``, ``/metrics/probes``.

Names, labels and types are upstream's (Kubernetes docs, "Kubernetes Metrics Reference"; cAdvisor's list of metrics).
"""

from __future__ import annotations

import os
import resource as rusage
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from kcore.node.config import VERSION
from kcore.node.exposition import Page, labels
from kcore.node.figures import Group, usage
from kcore.node.measures import DURATION, OPERATION, Histogram
from kcore.objects import quantity
from kcore.runtime import Volume, VolumeStats

if TYPE_CHECKING:
    from kcore.node.agent import Agent


async def kubelet(agent: Agent) -> bytes:
    """The kubelet's own metrics."""
    page, m = Page(), agent.measures
    page.single("kubelet_node_name", "gauge", "The node's name. The count is always 1.", 1, node=agent.name)
    version = {"git_version": VERSION, "major": "1", "minor": VERSION.split(".")[1], "platform": "linux/amd64"}
    text = "A metric with a constant '1' value labeled by build information."
    page.single("kubernetes_build_info", "gauge", text, 1, **version)
    ready = [w for w in agent.workers.values() if w.sandbox is not None and not w.stopped]
    page.single("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox", len(ready))
    page.family("kubelet_running_containers", "gauge", "Number of containers currently running")
    states: dict[str, int] = {"created": 0, "running": 0, "exited": 0}
    for worker in agent.workers.values():
        for run in worker.runs.values():
            if run.current is not None:
                states[run.current.state] += 1
    for state, count in states.items():
        page.sample("kubelet_running_containers", labels({"container_state": state}), count)
    page.single("kubelet_desired_pods", "gauge", "Number of pods the kubelet is instructed to run", len(agent.workers))
    page.family("kubelet_started_containers_total", "counter", "Cumulative number of containers started")
    for kind, count in m.started_containers.items():
        page.sample("kubelet_started_containers_total", labels({"container_type": kind}), count)
    _histograms(page, agent)
    page.family("kubelet_runtime_operations_total", "counter", "Cumulative number of runtime operations.")
    for name, found in m.operations.items():
        page.sample("kubelet_runtime_operations_total", labels({"operation_type": name}), found.count)
    page.family("kubelet_runtime_operations_errors_total", "counter", "Cumulative number of runtime operation errors.")
    for name in m.operations:
        errors = m.operation_errors.get(name, 0)
        page.sample("kubelet_runtime_operations_errors_total", labels({"operation_type": name}), errors)
    page.family("kubelet_evictions", "counter", "Cumulative number of pod evictions by eviction signal")
    for signal in dict.fromkeys(("memory.available", "nodefs.available", "pid.available", *m.evictions)):
        page.sample("kubelet_evictions", labels({"eviction_signal": signal}), m.evictions.get(signal, 0))
    page.single("kubelet_node_config_error", "gauge", "1 if a configuration error was met, 0 otherwise.", 0)
    _certificates(page)
    _volumes(page, agent)
    await _claims(page, agent)
    page.family("rest_client_requests_total", "counter", "Number of HTTP requests, by status code, method, and host.")
    for (method, code), found in m.requests.items():
        values = {"code": code, "host": "apiserver", "method": method}
        page.sample("rest_client_requests_total", labels(values), found.count)
    _process(page)
    return page.text()


def _histograms(page: Page, agent: Agent) -> None:
    m = agent.measures
    rows: list[tuple[str, str, str, dict[str, Histogram]]] = [
        ("kubelet_pod_start_duration_seconds", "From seeing a pod for the first time to its running", "", {}),
        ("kubelet_pod_worker_duration_seconds", "Duration of one step of a pod", "operation_type", m.pod_worker),
        ("kubelet_runtime_operations_duration_seconds", "Of runtime operations", "operation_type", m.operations),
    ]
    for name, help, label, found in rows:
        page.family(name, "histogram", help)
        if not label:
            page.histogram(name, {}, m.pod_start)
        for value, histogram in found.items():
            page.histogram(name, {label: value}, histogram)
    for name, help in (
        ("kubelet_pleg_relist_duration_seconds", "Duration of relisting pods; this node is told of changes instead"),
        ("kubelet_pleg_relist_interval_seconds", "Interval between relistings; this node does not relist"),
    ):
        page.family(name, "histogram", help)
        page.histogram(name, {}, Histogram(DURATION))
    name = "kubelet_cgroup_manager_duration_seconds"
    page.family(name, "histogram", "Duration of cgroup operations; the runtime makes them, not this node")
    page.histogram(name, {"operation_type": "update"}, Histogram(OPERATION))
    name = "rest_client_request_duration_seconds"
    page.family(name, "histogram", "Request latency in seconds, by verb and host.")
    by_verb: dict[str, Histogram] = {}
    for (method, _), histogram in m.requests.items():
        total = by_verb.setdefault(method, Histogram(DURATION))
        total.counts = [a + b for a, b in zip(total.counts, histogram.counts, strict=True)]
        total.sum += histogram.sum
    for method, histogram in by_verb.items():
        page.histogram(name, {"host": "apiserver", "verb": method}, histogram)


def _certificates(page: Page) -> None:
    for name in ("client_expiration_renew_errors", "client_ttl_seconds", "server_ttl_seconds"):
        value = 0.0 if name.endswith("errors") else float("inf")
        kind = "counter" if name.endswith("errors") else "gauge"
        page.single(f"kubelet_certificate_manager_{name}", kind, "Of certificates that this node renews itself", value)
    page.single("kubelet_server_expiration_renew_errors", "counter", "Failed renewals of the serving certificate", 0)


def _volumes(page: Page, agent: Agent) -> None:
    m = agent.measures
    page.family("storage_operation_duration_seconds", "histogram", "Storage operation duration")
    for plugin, histogram in m.mounts.items():
        values = {"migrated": "false", "operation_name": "volume_mount", "status": "success", "volume_plugin": plugin}
        page.histogram("storage_operation_duration_seconds", values, histogram)
    page.family("storage_operation_errors_total", "counter", "Storage operation errors")
    for plugin in {**m.mounts, **m.mount_errors}:
        count = m.mount_errors.get(plugin, 0)
        values = {"operation_name": "volume_mount", "volume_plugin": plugin}
        page.sample("storage_operation_errors_total", labels(values), count)
    totals: dict[str, int] = {}
    for worker in agent.workers.values():
        for spec in worker.pod["spec"].get("volumes") or ():
            volume = worker.volumes.get(spec["name"])
            if volume is not None:
                totals[volume.kind] = totals.get(volume.kind, 0) + 1
    page.family("volume_manager_total_volumes", "gauge", "Number of volumes in Volume Manager")
    for kind, count in totals.items():
        for state in ("actual_state_of_world", "desired_state_of_world"):
            page.sample("volume_manager_total_volumes", labels({"plugin_name": kind, "state": state}), count)


async def _claims(page: Page, agent: Agent) -> None:
    """What persistent volumes have and what is used of them, once for each claim."""
    found: dict[tuple[str, str], tuple[Volume, tuple[str, str]]] = {}
    for worker in agent.workers.values():
        m = worker.pod["metadata"]
        for spec in worker.pod["spec"].get("volumes") or () if not worker.stopped else ():
            volume, claim = worker.volumes.get(spec["name"]), spec.get("persistentVolumeClaim")
            if "ephemeral" in spec:
                claim = {"claimName": f"{m['name']}-{spec['name']}"}
            if volume is not None and claim:
                found[m["namespace"], claim["claimName"]] = volume, (worker.uid, spec["name"])
    used = {(p.uid, v.name): v for p in await agent.runtime.stats() for v in p.volumes} if found else {}
    size = quantity.value(agent.allocatable.get("ephemeral-storage", "100Gi"))
    rows = {}
    for key, (volume, of) in sorted(found.items(), key=lambda item: item[0]):
        stats = used.get(of)
        rows[key] = await trio.to_thread.run_sync(_room, size, volume, stats) if agent.real else _share(size, stats)
    names = ("capacity_bytes", "available_bytes", "used_bytes", "inodes", "inodes_free", "inodes_used")
    for number, name in enumerate(names):
        page.family(f"kubelet_volume_stats_{name}", "gauge", "Of a persistent volume claim that a pod here uses")
        for (namespace, claim), row in rows.items():
            values = {"namespace": namespace, "persistentvolumeclaim": claim}
            page.sample(f"kubelet_volume_stats_{name}", labels(values), row[number])


def _room(size: int, volume: Volume, stats: VolumeStats | None) -> tuple[int, ...]:
    """(capacity, available, used, inodes, free, used) of the file system behind a directory of this machine."""
    if volume.source:
        try:
            disk = os.statvfs(volume.source)
        except OSError:
            pass  # gone, or not for us
        else:
            unit = disk.f_frsize
            taken = disk.f_blocks - disk.f_bfree
            inodes = disk.f_files - disk.f_ffree
            return disk.f_blocks * unit, disk.f_bavail * unit, taken * unit, disk.f_files, disk.f_ffree, inodes
    return _share(size, stats)


def _share(size: int, stats: VolumeStats | None) -> tuple[int, ...]:
    """The same of a disk of `size` bytes of which the runtime knows what is used."""
    used, inodes = (stats.used, stats.inodes) if stats is not None else (0, 0)
    return size, max(0, size - used), used, size // 16384, max(0, size // 16384 - inodes), inodes


def _process(page: Page) -> None:
    """Of the whole process: nodes that share one show the same."""
    used = rusage.getrusage(rusage.RUSAGE_SELF)
    page.single("process_cpu_seconds_total", "counter", "CPU time spent in seconds.", used.ru_utime + used.ru_stime)
    try:
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except OSError:
        pages = 0
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    page.single("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", memory)
    tasks = trio.lowlevel.current_statistics().tasks_living
    page.single("go_goroutines", "gauge", "Number of tasks that currently exist.", tasks)


# --- resource --------------------------------------------------------------------------------------------------------


async def resource(agent: Agent) -> bytes:
    """What the gatherer of ``kubectl top`` asks for: use of CPU and memory, each with the time it was measured."""
    page, found = Page(), await usage(agent)

    def told(name: str, kind: str, help: str, groups: Iterable[Group], value: Callable[[Group], float]) -> None:
        page.family(name, kind, help)
        for group in groups:
            values = {"container": group.container, "namespace": group.namespace, "pod": group.pod}
            text = labels({k: v for k, v in values.items() if v})
            page.sample(name, text, value(group), int((group.time or found.time) * 1000))

    node, pods, containers = [found.node], [pod for _, pod, _ in found.pods], list(found.containers)
    help = "Cumulative cpu time consumed by the {} in core-seconds"
    for of, groups in (("node", node), ("pod", pods), ("container", containers)):
        name = f"{of}_cpu_usage_seconds_total"
        told(name, "counter", help.format(of), groups, lambda g: g.cpu_nanoseconds / 1e9)
    help = "Current working set of the {} in bytes"
    for of, groups in (("node", node), ("pod", pods), ("container", containers)):
        told(f"{of}_memory_working_set_bytes", "gauge", help.format(of), groups, lambda g: g.memory_working_set)
    swap = "Current amount of the {} swap usage in bytes. Reported only on non-windows systems"
    for of, groups in (("node", node), ("pod", pods), ("container", containers)):
        told(f"{of}_swap_usage_bytes", "gauge", swap.format(of), groups, lambda g: g.memory_swap)
    for of, groups in (("node", node), ("pod", pods), ("container", containers)):
        limits = [g for g in groups if g.memory_swap_limit]
        text = f"Current amount of the {of} swap limit in bytes. Reported only on non-windows systems"
        told(f"{of}_swap_limit_bytes", "gauge", text, limits, lambda g: max(0, g.memory_swap_limit - g.memory_limit))
    page.family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds")
    for g in containers:
        text = labels({"container": g.container, "namespace": g.namespace, "pod": g.pod})
        page.sample("container_start_time_seconds", text, g.started_at)
    page.single("resource_scrape_error", "gauge", "1 if there was an error while getting metrics, 0 otherwise", 0)
    return page.text()


async def probes(agent: Agent) -> bytes:
    """How probes went."""
    page = Page()
    page.family("prober_probe_total", "counter", "Cumulative number of a probe for a container by result.")
    names = ("probe_type", "result", "container", "namespace", "pod", "pod_uid")
    for key, count in agent.measures.probes.items():
        page.sample("prober_probe_total", labels(dict(zip(names, key, strict=True))), count)
    return page.text()
