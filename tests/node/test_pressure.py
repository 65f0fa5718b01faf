"""A node that runs out of something: what it tells, whom it ends, whom it does not let in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from kcore.node.admit import sysctl_refusal
from kcore.node.config import NodeConfig
from kcore.node.eviction import storage_excess, thresholds
from kcore.node.machine import memory, processes
from kcore.node.nodestatus import allocatable
from kcore.objects import Object
from kcore.objects.resources import EVENTS, NODES
from kcore.runtime import ContainerStats, PodStats, VolumeStats
from tests.node.conftest import World, phase, pod, ready


def eater(memory: str, request: str = "", **more: Any) -> Object:
    app: Object = {"name": "app", "image": "app:1"}
    if request:
        app["resources"] = {"requests": {"memory": request}}
    return pod(more.pop("name", "web"), annotations={"kcore.dev/memory": memory}, containers=[app], **more)


async def condition(cluster: World, type: str) -> Object:
    node = await cluster.client.get(NODES, "node-1")
    return next(dict(c) for c in node["status"]["conditions"] if c["type"] == type)


async def test_pod_that_takes_most_beyond_its_request_goes_first(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(eater("3Gi", "3Gi", name="fair"))
    await cluster.create(eater("1Gi", name="small"))
    await cluster.create(eater("4040Mi", "1Gi", name="greedy"))
    gone = await cluster.until(phase("Failed"), "greedy")
    assert gone["status"]["reason"] == "Evicted"
    assert gone["status"]["message"] == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 56Mi. "
        "Container app was using 4040Mi, request is 1Gi, has larger consumption of memory. "
    )
    target = next(c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
    told = await condition(cluster, "MemoryPressure")
    assert (told["status"], told["reason"]) == ("True", "KubeletHasInsufficientMemory")
    await trio.sleep(60)
    for name in ("fair", "small"):
        assert ready(await cluster.get(name))
    reasons = {e["reason"] for e in (await cluster.client.list(EVENTS)).items}
    assert {"Evicted", "EvictionThresholdMet"} <= reasons
    await cluster.create(pod("late"))
    refused = await cluster.until(phase("Failed"), "late")
    assert refused["status"]["message"] == "The node had condition: [MemoryPressure]. "
    await cluster.create(eater("32Mi", "64Mi", name="modest"))
    await cluster.until(ready, "modest")
    await trio.sleep(320)
    assert (await condition(cluster, "MemoryPressure"))["status"] == "False"


async def test_of_equal_greed_the_less_important_goes(autojump_clock: Any, cluster: World) -> None:
    for name, priority, used in (("high", 1000, "5Gi"), ("low", 1, "3040Mi")):
        await cluster.create(eater(used, name=name, priority=priority))
    await cluster.until(phase("Failed"), "low")
    assert ready(await cluster.get("high"))


async def test_what_the_node_cannot_do_without_stays(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(eater("8Gi", name="vital", priority=2_000_001_000))
    await trio.sleep(120)
    assert ready(await cluster.get("vital"))
    assert (await condition(cluster, "MemoryPressure"))["status"] == "True"


async def test_full_volume_ends_its_pod(autojump_clock: Any, cluster: World) -> None:
    app = {"name": "app", "image": "busybox", "command": ["sh", "-c", "seq 1 5000 > /v/f; sleep 1h"]}
    app["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    await cluster.create(pod(containers=[app], volumes=[{"name": "v", "emptyDir": {"sizeLimit": "10Ki"}}]))
    found = await cluster.until(phase("Failed"))
    assert found["status"]["message"] == 'Usage of EmptyDir volume "v" exceeds the limit "10Ki". '


def stats(used: int, **volumes: int) -> PodStats:
    app = ContainerStats("i", "app", "a", 0, 0.0, 0.0, 0, 0, 0, 0, fs_used=used)
    return PodStats(
        "u", "web", "default", "s", 0.0, 0.0, (app,), volumes=tuple(VolumeStats(k, v) for k, v in volumes.items())
    )


def test_local_storage_is_limited_by_container_and_by_pod() -> None:
    app = {"name": "app", "resources": {"limits": {"ephemeral-storage": "1Mi"}}}
    found = pod(
        containers=[app], volumes=[{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]
    )
    assert storage_excess(found, stats(1 << 20)) == ""
    assert storage_excess(found, stats(1 << 19, m=1 << 20)) == ""
    assert "total limit of containers 1Mi" in storage_excess(found, stats(1 << 19, v=1 << 20))
    two = pod(containers=[app, {"name": "other"}])
    text = 'Container app exceeded its local ephemeral storage limit "1Mi". '
    assert storage_excess(two, stats((1 << 20) + 1)) == text


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("net.ipv4.tcp_syncookies", {}, ""),
        ("kernel.msgmax", {}, 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        ("net.core.somaxconn", {}, ""),
        ("net.ipv4/tcp_syncookies", {"hostNetwork": True}, "not allowed with host net enabled"),
        ("kernel.shm_rmid_forced", {"hostIPC": True}, "not allowed with host ipc enabled"),
    ],
)
def test_only_safe_sysctls_and_those_that_the_node_allows(name: str, more: Any, message: str) -> None:
    found = pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **more)
    refusal = sysctl_refusal(found, ("net.core.*",))
    assert message in (refusal.message if refusal else "")
    assert bool(refusal) == bool(message)


async def test_pod_with_a_forbidden_sysctl_fails(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}))
    assert (await cluster.until(phase("Failed")))["status"]["reason"] == "SysctlForbidden"


def test_a_machine_keeps_back_what_eviction_needs() -> None:
    size = {"cpu": "4", "memory": "8388608Ki", "pods": "110", "ephemeral-storage": "1000Gi"}
    config = NodeConfig("n", "127.0.0.1", capacity=size, reserved={"cpu": "500m", "memory": "1Gi"})
    found = allocatable(config, real=True)
    assert found == {
        "cpu": "3500m",
        "memory": f"{8388608 - 1048576 - 102400}Ki",
        "pods": "110",
        "ephemeral-storage": "900Gi",
    }
    assert allocatable(NodeConfig("n", "127.0.0.1", capacity=size), real=False) == size


def test_a_machine_is_measured(tmp_path: Path) -> None:
    assert 0 < memory().available <= memory().capacity
    assert 0 < processes().available < processes().capacity
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 600 kB\n")
    assert memory(tmp_path).available == 600 * 1024


def test_thresholds_are_checked() -> None:
    assert [t.value for t in thresholds({"memory.available": "5%"})] == ["5%"]
    for bad in ({"memory": "5%"}, {"memory.available": "lots"}):
        with pytest.raises(ValueError, match=r"is none of|quantities"):
            thresholds(bad)
