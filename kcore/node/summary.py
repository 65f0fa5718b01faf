"""``/stats/summary``: the node's and its pods' use of resources as one JSON object (kubelet stats/v1alpha1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcore import clock
from kcore.objects import quantity
from kcore.runtime import ContainerStats, PodStats

if TYPE_CHECKING:
    from kcore.node.agent import Agent


async def summary(agent: Agent) -> dict[str, Any]:
    pods = await agent.runtime.stats()
    now = clock.timestamp()
    containers = [c for p in pods for c in p.containers]
    capacity = quantity.value(agent.node["status"]["capacity"].get("memory", "0"))
    used = sum(c.memory_working_set for c in containers)
    node = {
        "nodeName": agent.name,
        "startTime": now,
        "cpu": {
            "time": now,
            "usageNanoCores": sum(c.cpu_nanocores for c in containers),
            "usageCoreNanoSeconds": agent.measures.node_cpu(pods),
        },
        "memory": {
            "time": now,
            "availableBytes": max(0, capacity - used),
            "usageBytes": used,
            "workingSetBytes": used,
            "rssBytes": sum(c.memory_rss for c in containers),
        },
    }
    return {"node": node, "pods": [_pod(p, now) for p in pods]}


def _pod(pod: PodStats, now: str) -> dict[str, Any]:
    return {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": clock.timestamp(pod.started_at),
        "containers": [_container(c, now) for c in pod.containers],
        "cpu": {
            "time": now,
            "usageNanoCores": sum(c.cpu_nanocores for c in pod.containers),
            "usageCoreNanoSeconds": sum(c.cpu_nanoseconds for c in pod.containers),
        },
        "memory": {"time": now, "workingSetBytes": sum(c.memory_working_set for c in pod.containers)},
        "network": {
            "time": now,
            "name": "eth0",
            "rxBytes": pod.rx_bytes,
            "txBytes": pod.tx_bytes,
            "interfaces": [{"name": "eth0", "rxBytes": pod.rx_bytes, "txBytes": pod.tx_bytes}],
        },
    }


def _container(c: ContainerStats, now: str) -> dict[str, Any]:
    return {
        "name": c.name,
        "startTime": clock.timestamp(c.started_at),
        "cpu": {"time": now, "usageNanoCores": c.cpu_nanocores, "usageCoreNanoSeconds": c.cpu_nanoseconds},
        "memory": {
            "time": now,
            "usageBytes": c.memory_working_set + c.memory_cache,
            "workingSetBytes": c.memory_working_set,
            "rssBytes": c.memory_rss,
        },
        "rootfs": {"time": now, "usedBytes": c.fs_used},
        "logs": {"time": now},
    }
