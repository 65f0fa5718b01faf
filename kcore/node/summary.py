"""``/stats/summary``: the node's and its pods' use of resources as one JSON object (kubelet stats/v1alpha1).

Fields that the kernel or the runtime does not tell are left out, never made up. Rates and totals carry the time at
which they were measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcore import clock
from kcore.node.figures import Group, Interface, machine, pids_limit, usage
from kcore.objects import quantity
from kcore.runtime import Filesystem, PodStats

if TYPE_CHECKING:
    from kcore.node.agent import Agent

Json = dict[str, Any]


async def summary(agent: Agent, *, only_cpu_and_memory: bool = False) -> Json:
    """`only_cpu_and_memory` as the parameter of that name upstream: what ``kubectl top`` needs."""
    found = await usage(agent)
    now = clock.timestamp(found.time)
    capacity = quantity.value(agent.node["status"]["capacity"].get("memory", "0"))
    started = machine().boot_time if agent.real else clock.parse(agent.node["metadata"]["creationTimestamp"])
    node: Json = {
        "nodeName": agent.name,
        "startTime": clock.timestamp(started),
        "cpu": _cpu(found.node, now),
        "memory": _memory(found.node, now, capacity),
    }
    files = None if only_cpu_and_memory else await agent.runtime.filesystem()
    node["systemContainers"] = [
        {"name": name, "startTime": clock.timestamp(g.started_at), "cpu": _cpu(g, now), "memory": _memory(g, now)}
        for name, groups in (("kubelet", found.system), ("pods", found.qualities[:1]))
        for g in groups
    ]
    if not only_cpu_and_memory:
        node["network"] = _network(list(found.interfaces), now)
        node |= _node_disk(files, found.node, now)
        if agent.real:
            most, current = pids_limit()
            node["rlimit"] = {"time": now, "maxpid": most, "curproc": current}
    pods = [_pod(agent, *pod, files, only_cpu_and_memory) for pod in found.pods]
    return {"node": node, "pods": pods}


def _cpu(group: Group, now: str) -> Json:
    said: Json = {"time": now, "usageNanoCores": group.cpu_nanocores, "usageCoreNanoSeconds": group.cpu_nanoseconds}
    return said | _pressure(group, 0)


def _pressure(group: Group, at: int) -> Json:
    """Only the totals: the kernel's averages over seconds are for people who watch."""
    if not group.pressure:
        return {}
    some, full = group.pressure[at : at + 2]
    return {"psi": {"some": {"total": some * 1000}, "full": {"total": full * 1000}}}


def _memory(group: Group, now: str, capacity: int = 0) -> Json:
    said: Json = {"time": now}
    limit = group.memory_limit or capacity
    if limit:
        said["availableBytes"] = max(0, limit - group.memory_working_set)
    return {
        **said,
        "usageBytes": group.memory_usage or group.memory_working_set,
        "workingSetBytes": group.memory_working_set,
        "rssBytes": group.memory_rss,
        "pageFaults": group.page_faults,
        "majorPageFaults": group.major_page_faults,
        **_pressure(group, 2),
    }


def _swap(group: Group, now: str) -> Json:
    limit = max(0, group.memory_swap_limit - group.memory_limit)
    return {"time": now, "swapUsageBytes": group.memory_swap, "swapAvailableBytes": max(0, limit - group.memory_swap)}


def _network(interfaces: list[Interface], now: str) -> Json:
    """The first is the default one, which is told twice."""
    told = [_interface(i) for i in interfaces]
    return {"time": now, **(told[0] if told else {"name": ""}), "interfaces": told}


def _interface(i: Interface) -> Json:
    return {
        "name": i.name,
        "rxBytes": i.rx_bytes,
        "rxErrors": i.rx_errors,
        "txBytes": i.tx_bytes,
        "txErrors": i.tx_errors,
    }


# --- disks -----------------------------------------------------------------------------------------------------------


def _space(capacity: int, available: int, used: int, inodes: int, inodes_free: int, now: str) -> Json:
    return {
        "time": now,
        "availableBytes": available,
        "capacityBytes": capacity,
        "usedBytes": used,
        "inodesFree": inodes_free,
        "inodes": inodes,
        "inodesUsed": max(0, inodes - inodes_free),
    }


def _node_disk(files: Filesystem | None, node: Group, now: str) -> Json:
    if not node.fs_limit and files is None:
        return {}
    said: Json = {}
    if node.fs_limit:
        free = node.fs_limit - node.fs_used
        said["fs"] = _space(node.fs_limit, free, node.fs_used, node.fs_inodes, node.fs_inodes_free, now)
    if files is not None:
        image = _space(files.capacity, files.available, files.used, files.inodes, files.inodes_free, now)
        said.setdefault("fs", {**image, "usedBytes": max(0, files.capacity - files.available)})
        said["runtime"] = {"imageFs": image, "containerFs": image}
    return said


def _of_disk(files: Filesystem | None, used: int, inodes: int, now: str) -> Json:
    """What one container or volume takes of the disk that all share."""
    said: Json = {"time": now}
    if files is not None:
        said |= {"availableBytes": files.available, "capacityBytes": files.capacity}
        said |= {"inodesFree": files.inodes_free, "inodes": files.inodes}
    return {**said, "usedBytes": used, "inodesUsed": inodes}


# --- pods ------------------------------------------------------------------------------------------------------------


def _pod(
    agent: Agent,
    stats: PodStats,
    group: Group,
    containers: tuple[Group, ...],
    files: Filesystem | None,
    only_cpu_and_memory: bool,
) -> Json:
    now = clock.timestamp(stats.time)
    said: Json = {
        "podRef": {"name": stats.name, "namespace": stats.namespace, "uid": stats.uid},
        "startTime": clock.timestamp(stats.started_at),
        "containers": [],
        "cpu": _cpu(group, now),
        "memory": _memory(group, now),
        "process_stats": {"process_count": group.processes},
        "swap": _swap(group, now),
    }
    for c, of in zip(stats.containers, containers, strict=True):
        told: Json = {
            "name": c.name,
            "startTime": clock.timestamp(c.started_at),
            "cpu": _cpu(of, now),
            "memory": _memory(of, now),
            "swap": _swap(of, now),
        }
        if not only_cpu_and_memory:
            told["rootfs"] = _of_disk(files, c.fs_used, c.fs_inodes_used, now)
            told["logs"] = _of_disk(files, c.logs_used, 1 if c.logs_used else 0, now)
        said["containers"].append(told)
    if only_cpu_and_memory:
        return said
    names = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")
    said["network"] = _network([Interface("eth0", *(getattr(stats, name) for name in names))], now)
    claims = _claims(agent, stats.uid)
    said["volume"] = [
        {
            **_of_disk(files, v.used, v.inodes, now),
            "name": v.name,
            **({"pvcRef": {"name": claims[v.name], "namespace": stats.namespace}} if v.name in claims else {}),
        }
        for v in stats.volumes
    ]
    used = sum(c.fs_used + c.logs_used for c in stats.containers) + sum(
        v.used for v in stats.volumes if v.name not in claims
    )
    inodes = sum(c.fs_inodes_used for c in stats.containers) + sum(
        v.inodes for v in stats.volumes if v.name not in claims
    )
    said["ephemeral-storage"] = _of_disk(files, used, inodes, now)
    return said


def _claims(agent: Agent, uid: str) -> dict[str, str]:
    """Names of claims by the pod's volumes."""
    worker = agent.workers.get(uid)
    if worker is None:
        return {}
    pod, names = worker.pod, {}
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            names[volume["name"]] = volume["persistentVolumeClaim"]["claimName"]
        elif "ephemeral" in volume:
            names[volume["name"]] = f"{pod['metadata']['name']}-{volume['name']}"
    return names
