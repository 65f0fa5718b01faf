"""Pods from files, and nodes that go down in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from kcore import clock
from kcore.node.agent import Agent
from kcore.node.shutdown import shut_down
from kcore.node.staticpods import read_manifest
from kcore.objects.resources import NODES, PODS
from tests.node.conftest import World, container, phase, pod, ready

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: app, image: "app:1", resources: {limits: {cpu: 100m, memory: 64Mi}}}
"""


@pytest.fixture
async def static(autojump_clock: Any, cluster: World, tmp_path: Path) -> tuple[World, trio.Path]:
    directory = trio.Path(tmp_path / "manifests")
    await directory.mkdir()
    config = attrs.evolve(cluster.agent.config, static_pods=str(directory))
    await cluster.agent.stop(kill=False)
    cluster.agent = Agent(cluster.host, cluster.engine, config)
    await cluster.agent.start()
    return cluster, directory


async def test_pod_of_a_file_runs_and_is_mirrored(static: tuple[World, trio.Path]) -> None:
    cluster, directory = static
    await (directory / "web.yaml").write_text(MANIFEST)
    found = await cluster.until(ready, "web-node-1")
    annotations = found["metadata"]["annotations"]
    assert annotations["kubernetes.io/config.source"] == "file"
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
    assert found["metadata"]["ownerReferences"][0]["kind"] == "Node"
    assert found["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "64Mi"}
    (sandbox,) = await cluster.agent.runtime.list_sandboxes()
    assert sandbox.uid == annotations["kubernetes.io/config.hash"]
    assert cluster.agent.find("default", "web-node-1") is not None


async def test_deleted_mirror_comes_back_and_the_pod_runs_on(static: tuple[World, trio.Path]) -> None:
    cluster, directory = static
    await (directory / "web.yaml").write_text(MANIFEST)
    before = await cluster.until(ready, "web-node-1")
    await cluster.client.delete(PODS, "web-node-1", "default", grace_seconds=0)
    found = await cluster.until(
        lambda p: ready(p) and p["metadata"]["uid"] != before["metadata"]["uid"], "web-node-1", within=60
    )
    assert container(found)["containerID"] == container(before)["containerID"]


async def test_changed_file_is_another_pod_and_a_removed_one_none(static: tuple[World, trio.Path]) -> None:
    cluster, directory = static
    await (directory / "web.yaml").write_text(MANIFEST)
    await cluster.until(ready, "web-node-1")
    await (directory / "web.yaml").write_text(MANIFEST.replace("app:1", "app:22"))
    await cluster.until(lambda p: ready(p) and container(p)["image"] == "app:22", "web-node-1")
    assert len(await cluster.agent.runtime.list_sandboxes()) == 1
    await (directory / "web.yaml").unlink()
    await cluster.until_gone("web-node-1")
    assert await cluster.agent.runtime.list_sandboxes() == []


async def test_agent_that_starts_again_finds_its_static_pod_running(static: tuple[World, trio.Path]) -> None:
    cluster, directory = static
    await (directory / "web.yaml").write_text(MANIFEST)
    before = await cluster.until(ready, "web-node-1")
    await cluster.agent.stop(kill=False)
    cluster.agent = Agent(cluster.host, cluster.engine, cluster.agent.config)
    await cluster.agent.start()
    await trio.sleep(30)
    found = await cluster.get("web-node-1")
    assert container(found)["containerID"] == container(before)["containerID"]
    assert len(await cluster.agent.runtime.list_sandboxes()) == 1


@pytest.mark.parametrize(
    "text", ["", "[", "a: b", "kind: Pod\nmetadata: {name: x}\nspec: {}", "kind: Pod\nspec: {containers: [{}]}"]
)
async def test_what_is_no_pod_is_left_out(static: tuple[World, trio.Path], text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_manifest(text.encode(), "node-1")
    cluster, directory = static
    await (directory / "broken.yaml").write_text(text)
    await (directory / "web.yaml").write_text(MANIFEST)
    await cluster.until(ready, "web-node-1")


async def test_shutdown_ends_ordinary_pods_before_critical_ones(autojump_clock: Any, cluster: World) -> None:
    cluster.agent.config = attrs.evolve(cluster.agent.config, shutdown_grace=30.0, shutdown_critical=10.0)
    slow = {"kcore.dev/stop-delay": "5s"}
    await cluster.create(pod("plain", annotations=slow))
    await cluster.create(pod("vital", annotations=slow, priority=2_000_000_000))
    for name in ("plain", "vital"):
        await cluster.until(ready, name)
    before = trio.current_time()
    await shut_down(cluster.agent)
    assert 10 <= trio.current_time() - before < 12
    found = {name: await cluster.get(name) for name in ("plain", "vital")}
    for p in found.values():
        assert p["status"]["phase"] == "Failed"
        assert p["status"]["reason"] == "Terminated"
        assert p["status"]["message"] == "Pod was terminated in response to imminent node shutdown."
    ended = {k: clock.parse(container(p)["state"]["terminated"]["finishedAt"]) for k, p in found.items()}
    assert ended["plain"] < ended["vital"]
    node = await cluster.client.get(NODES, "node-1")
    told = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
    assert (told["status"], told["reason"], told["message"]) == ("False", "KubeletNotReady", "node is shutting down")
    await cluster.create(pod("late"))
    assert (await cluster.until(phase("Failed"), "late"))["status"]["reason"] == "NodeShutdown"


async def test_pod_that_does_not_end_does_not_hold_the_shutdown_up(autojump_clock: Any, cluster: World) -> None:
    cluster.agent.config = attrs.evolve(cluster.agent.config, shutdown_grace=20.0, shutdown_critical=5.0)
    await cluster.create(pod(annotations={"kcore.dev/stop-delay": "1h"}))
    await cluster.until(ready)
    before = trio.current_time()
    await shut_down(cluster.agent)
    assert 15 <= trio.current_time() - before < 24
    assert (await cluster.get())["status"]["phase"] == "Failed"
