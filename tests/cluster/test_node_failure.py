"""A node dies, and what the cluster does about it by Kubernetes' defaults: on the virtual clock, and for real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from kcore.objects import Object, meta
from kcore.objects.resources import DEPLOYMENTS, NODES, PODS, STATEFULSETS
from kcore.testing.running import running
from kcore.testing.virtual import VirtualCluster, virtual_cluster
from kcore.testing.waiting import poll

GRACE, TOLERATION = 40.0, 300.0
"""node-monitor-grace-period, and every pod's toleration of a node that is not ready (DefaultTolerationSeconds)."""
MONITOR, HEARTBEAT = 5.0, 10.0


@pytest.fixture
async def cluster(autojump_clock: MockClock, tmp_path: Path) -> AsyncIterator[VirtualCluster]:
    async with virtual_cluster(tmp_path) as cluster:
        yield cluster


def workload(name: str, replicas: int, **spec: Any) -> Object:
    labels = {"app": name}
    containers = [{"name": "c", "image": "nginx", "ports": [{"containerPort": 8080}]}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


async def ready_pods(cluster: VirtualCluster, app: str) -> dict[str, str]:
    """Nodes by pod, of pods that are Ready and stay."""
    pods = await cluster.all(PODS, labels=f"app={app}")
    return {
        meta.name(p): p["spec"]["nodeName"] for p in pods if not meta.deleting(p) and _condition(p, "Ready") == "True"
    }


def _condition(obj: Object, type: str) -> str:
    conditions = obj.get("status", {}).get("conditions") or ()
    return next((c["status"] for c in conditions if c["type"] == type), "")


async def node_ready(cluster: VirtualCluster, name: str) -> str:
    return _condition(await cluster.client.get(NODES, name), "Ready")


async def running_on_three(cluster: VirtualCluster, app: str, replicas: int) -> dict[str, str]:
    async def all_ready() -> bool:
        return len(await ready_pods(cluster, app)) == replicas

    await cluster.until(all_ready)
    pods = await ready_pods(cluster, app)
    assert len(set(pods.values())) == 3
    return pods


async def fail(cluster: VirtualCluster, name: str) -> None:
    await cluster.nodes.stop(name)

    async def unknown() -> bool:
        return await node_ready(cluster, name) == "Unknown"

    took = await cluster.until(unknown)
    assert GRACE - HEARTBEAT <= took <= GRACE + MONITOR + 1


async def test_a_dead_node_is_noticed_and_its_pods_are_replaced_elsewhere(
    cluster: VirtualCluster, autojump_clock: MockClock
) -> None:
    await cluster.client.create(DEPLOYMENTS, workload("web", 6))
    before = await running_on_three(cluster, "web", 6)
    await fail(cluster, "node-2")
    await trio.sleep(MONITOR)
    taints = {(t["key"], t["effect"]) for t in (await cluster.client.get(NODES, "node-2"))["spec"]["taints"]}
    assert ("node.kubernetes.io/unreachable", "NoExecute") in taints
    assert ("node.kubernetes.io/unreachable", "NoSchedule") in taints
    lost = {p for p, node in before.items() if node == "node-2"}
    assert len(lost) == 2
    assert set(await ready_pods(cluster, "web")) == set(before) - lost, "lost pods are not ready any more"

    await trio.sleep(TOLERATION - 60)
    assert len(await cluster.all(PODS, labels="app=web")) == 6, "pods wait for their node for five minutes"
    await trio.sleep(120)
    after = await ready_pods(cluster, "web")
    assert len(after) == 6
    assert "node-2" not in after.values()
    assert set(before) - lost < set(after), "pods of other nodes are left alone"

    await cluster.nodes.start("node-2")
    await trio.sleep(30)
    assert await node_ready(cluster, "node-2") == "True"
    assert not (await cluster.client.get(NODES, "node-2"))["spec"].get("taints")
    assert {meta.name(p) for p in await cluster.all(PODS, labels="app=web")} == set(after), "the lost ones are gone"


async def test_a_node_that_is_back_in_time_keeps_its_pods(cluster: VirtualCluster, autojump_clock: MockClock) -> None:
    await cluster.client.create(DEPLOYMENTS, workload("web", 3))
    before = await running_on_three(cluster, "web", 3)
    await fail(cluster, "node-1")
    await trio.sleep(60)
    await cluster.nodes.start("node-1")
    await trio.sleep(600)
    assert await ready_pods(cluster, "web") == before
    pods = await cluster.all(PODS, labels="app=web")
    restarts = {p["spec"]["nodeName"]: p["status"]["containerStatuses"][0]["restartCount"] for p in pods}
    assert restarts == {"node-1": 1, "node-2": 0, "node-3": 0}


async def test_a_stateful_pod_waits_for_its_node(cluster: VirtualCluster, autojump_clock: MockClock) -> None:
    await cluster.client.create(STATEFULSETS, workload("db", 3, serviceName="db"))
    before = await running_on_three(cluster, "db", 3)
    lost = next(p for p, node in before.items() if node == "node-3")
    await fail(cluster, "node-3")
    await trio.sleep(3600)
    pod = await cluster.client.get(PODS, lost, "default")
    assert meta.deleting(pod), "two pods of one name must never run: it stays until its node tells that it has ended"
    assert len(await cluster.all(PODS, labels="app=db")) == 3
    await cluster.nodes.start("node-3")

    async def replaced() -> bool:
        return len(await ready_pods(cluster, "db")) == 3

    await cluster.until(replaced)
    assert meta.uid(await cluster.client.get(PODS, lost, "default")) != meta.uid(pod)


async def test_deleting_the_node_frees_its_stateful_pods(cluster: VirtualCluster, autojump_clock: MockClock) -> None:
    await cluster.client.create(STATEFULSETS, workload("db", 3, serviceName="db"))
    before = await running_on_three(cluster, "db", 3)
    lost = next(p for p, node in before.items() if node == "node-3")
    await fail(cluster, "node-3")
    await trio.sleep(600)
    await cluster.client.delete(NODES, "node-3")

    async def replaced() -> bool:
        return (await ready_pods(cluster, "db")).get(lost, "node-3") != "node-3"

    await cluster.until(replaced, seconds=120)


async def test_an_hour_without_events_changes_nothing(cluster: VirtualCluster, autojump_clock: MockClock) -> None:
    await cluster.client.create(DEPLOYMENTS, workload("web", 3))
    before = await running_on_three(cluster, "web", 3)
    await trio.sleep(3600)
    assert await ready_pods(cluster, "web") == before
    assert all(slot.restarts == 0 for slot in cluster.kernel.slots.values())


def test_nodes_are_stopped_and_started_from_the_command_line() -> None:
    with running("memory", set={"nodes.heartbeat": 1.0}) as cluster:
        assert [line.split() for line in cluster.kcore("node", "list").stdout.lower().splitlines()[1:]] == [
            [f"node-{i}", "running"] for i in (1, 2, 3)
        ]
        cluster.kcore("node", "stop", "node-2")
        assert "node-2  stopped" in cluster.kcore("node", "list").stdout.lower().replace("   ", "  ")
        again = cluster.kcore("node", "stop", "node-2", check=False)
        assert again.returncode != 0
        assert "is stopped" in again.stderr
        unknown = cluster.kcore("node", "stop", "node-9", check=False)
        assert "there are: node-1, node-2, node-3" in unknown.stderr
        cluster.kcore("node", "start", "node-2")
        assert poll(lambda: _condition(cluster.get("node", "node-2"), "Ready") == "True")
        assert "stopped" not in cluster.kcore("node", "list").stdout
