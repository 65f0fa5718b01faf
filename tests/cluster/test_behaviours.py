"""Pods that behave as their annotations say, seen through every part of the cluster, on the virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from kcore.objects import Object, meta
from kcore.objects.resources import DEPLOYMENTS, ENDPOINTSLICES, EVENTS, JOBS, PODS, SERVICES
from kcore.testing.virtual import VirtualCluster, virtual_cluster


@pytest.fixture
async def cluster(autojump_clock: MockClock, tmp_path: Path) -> AsyncIterator[VirtualCluster]:
    async with virtual_cluster(tmp_path) as cluster:
        yield cluster


def template(app: str, annotations: dict[str, str], **container: Any) -> Object:
    described = {"labels": {"app": app}, "annotations": {f"kcore.dev/{k}": v for k, v in annotations.items()}}
    ports = [{"containerPort": 8080}]
    return {"metadata": described, "spec": {"containers": [{"name": "c", "image": "x", "ports": ports, **container}]}}


async def create_pod(cluster: VirtualCluster, name: str, annotations: dict[str, str], **container: Any) -> None:
    pod = template(name, annotations, **container)
    pod["metadata"] |= {"name": name, "namespace": "default"}
    await cluster.client.create(PODS, pod)


async def status(cluster: VirtualCluster, name: str) -> Object:
    found: Object = (await cluster.client.get(PODS, name, "default"))["status"]
    return found


async def container(cluster: VirtualCluster, name: str) -> Object:
    found: Object = ((await status(cluster, name)).get("containerStatuses") or [{}])[0]
    return found


async def ready(cluster: VirtualCluster, name: str) -> bool:
    return bool((await container(cluster, name)).get("ready"))


async def test_a_crash_loop_backs_off_and_is_counted(cluster: VirtualCluster, autojump_clock: MockClock) -> None:
    await create_pod(cluster, "crash", {"crash-loop": "true"})
    restarts = []
    for _ in range(4):
        await trio.sleep(30)
        restarts.append((await container(cluster, "crash"))["restartCount"])
    assert restarts == sorted(restarts)
    assert restarts[-1] == 4, "at 1, 12, 33 and 74 s: after 0, 10, 20 and 40 s"
    found = await container(cluster, "crash")
    assert found["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert found["lastState"]["terminated"]["exitCode"] == 1
    assert found["ready"] is False
    reasons = {e["reason"] for e in await cluster.all(EVENTS)}
    assert {"Scheduled", "Created", "Started", "BackOff"} <= reasons


async def test_exit_codes_of_a_job_are_counted(cluster: VirtualCluster, autojump_clock: MockClock) -> None:
    for name, how in (("good", {"run-time": "5s"}), ("bad", {"run-time": "5s", "exit-code": "3"})):
        pod = template(name, how)
        pod["spec"]["restartPolicy"] = "Never"
        spec = {"template": pod, "backoffLimit": 2, "completions": 2 if name == "good" else 1}
        await cluster.client.create(JOBS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    await trio.sleep(200)
    good = (await cluster.client.get(JOBS, "good", "default"))["status"]
    assert (good["succeeded"], good.get("failed", 0)) == (2, 0)
    assert {c["type"] for c in good["conditions"]} >= {"Complete"}
    bad = (await cluster.client.get(JOBS, "bad", "default"))["status"]
    assert (bad.get("succeeded", 0), bad["failed"]) == (0, 3)
    assert [c["reason"] for c in bad["conditions"] if c["type"] == "Failed"] == ["BackoffLimitExceeded"]
    codes = {
        p["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        for p in await cluster.all(PODS, labels="app=bad")
    }
    assert codes == {3}


async def test_a_pod_that_loses_its_readiness_leaves_the_endpoints_and_comes_back(
    cluster: VirtualCluster, autojump_clock: MockClock
) -> None:
    ports = [{"port": 80, "targetPort": 8080}]
    service = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": {"app": "p"}, "ports": ports}}
    await cluster.client.create(SERVICES, service)
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5, "failureThreshold": 2}
    await create_pod(cluster, "p", {"ready-after": "20s", "ready-for": "60s"}, readinessProbe=probe)

    async def conditions() -> list[bool]:
        slices = await cluster.all(ENDPOINTSLICES, labels="kubernetes.io/service-name=s")
        return [e["conditions"]["ready"] for s in slices for e in s.get("endpoints") or ()]

    await trio.sleep(10)
    assert await conditions() == [False]
    await trio.sleep(20)
    assert await conditions() == [True]
    await trio.sleep(70)
    assert await conditions() == [False]
    assert (await container(cluster, "p"))["restartCount"] == 0, "readiness restarts nothing"


async def test_a_start_takes_as_long_as_it_says(cluster: VirtualCluster, autojump_clock: MockClock) -> None:
    await create_pod(cluster, "slow", {"start-delay": "1m30s"})

    async def is_ready() -> bool:
        return await ready(cluster, "slow")

    assert await cluster.until(is_ready, seconds=120) == pytest.approx(90, abs=3)


@pytest.mark.parametrize(
    "how",
    [
        {"httpGet": {"path": "/", "port": 8080}},
        {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTPS"}},
        {"exec": {"command": ["cat", "/etc/hostname"]}},
        {"grpc": {"port": 8080}},
    ],
    ids=["http", "https", "exec", "grpc"],
)
async def test_a_liveness_probe_restarts_a_pod_that_went_bad(
    cluster: VirtualCluster, autojump_clock: MockClock, how: Object
) -> None:
    probe = {**how, "periodSeconds": 5, "failureThreshold": 3}
    await create_pod(cluster, "p", {"ready-for": "60s"}, livenessProbe=probe)
    await trio.sleep(55)
    assert (await container(cluster, "p"))["restartCount"] == 0
    await trio.sleep(65)
    assert (await container(cluster, "p"))["restartCount"] == 1
    reasons = [e["reason"] for e in await cluster.all(EVENTS) if e["involvedObject"]["name"] == "p"]
    assert "Unhealthy" in reasons
    assert "Killing" in reasons


async def test_a_tcp_probe_finds_ports_open_that_are_declared_or_only_probed(
    cluster: VirtualCluster, autojump_clock: MockClock
) -> None:
    await create_pod(cluster, "open", {}, readinessProbe={"tcpSocket": {"port": 8080}})
    await create_pod(cluster, "probed", {}, readinessProbe={"tcpSocket": {"port": 8081}})
    await trio.sleep(30)
    assert await ready(cluster, "open")
    assert await ready(cluster, "probed")


async def test_a_pod_that_is_slow_to_stop_is_killed_after_its_grace(
    cluster: VirtualCluster, autojump_clock: MockClock
) -> None:
    for name, delay in (("polite", "10s"), ("stubborn", "10m")):
        await create_pod(cluster, name, {"stop-delay": delay})
    await trio.sleep(10)
    gone = {}
    for name in ("polite", "stubborn"):
        await cluster.client.delete(PODS, name, "default")

        async def is_gone(name: str = name) -> bool:
            return name not in {meta.name(p) for p in await cluster.all(PODS)}

        gone[name] = await cluster.until(is_gone)
    assert gone == {"polite": pytest.approx(10, abs=2), "stubborn": pytest.approx(30, abs=2)}


async def test_a_rollout_waits_for_pods_that_do_not_become_ready(
    cluster: VirtualCluster, autojump_clock: MockClock
) -> None:
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    spec = {"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 120}
    web = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {**spec, "template": template("web", {}, readinessProbe=probe)},
    }
    await cluster.client.create(DEPLOYMENTS, web)
    await trio.sleep(30)
    bad = {"spec": {"template": {"metadata": {"annotations": {"kcore.dev/http-status": "500"}}}}}
    await cluster.client.patch(DEPLOYMENTS, "web", bad, "default")
    await trio.sleep(300)
    found = (await cluster.client.get(DEPLOYMENTS, "web", "default"))["status"]
    assert found["availableReplicas"] == 3, "maxUnavailable 25 %"
    assert found["updatedReplicas"] == 2, "maxSurge 25 %"
    progressing = next(c for c in found["conditions"] if c["type"] == "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
