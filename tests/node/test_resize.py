"""Resources that change while a pod runs."""

from __future__ import annotations

from typing import Any

import trio

from kcore.objects import Object
from kcore.objects.resources import PODS
from kcore.runtime import Resources, RuntimeFailure
from tests.node.conftest import World, container, pod, ready


def sized(cpu: str, memory: str = "1Gi", **more: Any) -> Object:
    amounts = {"cpu": cpu, "memory": memory}
    return {"name": "app", "image": "app:1", "resources": {"requests": amounts, "limits": amounts}, **more}


async def resize(cluster: World, name: str, wanted: Object) -> None:
    await cluster.client.patch(PODS, name, {"spec": {"containers": [wanted]}}, "default")


def condition(p: Object, type: str) -> Object | None:
    return next((c for c in p["status"].get("conditions") or () if c["type"] == type), None)


def has(cpu: str) -> Any:
    return lambda p: container(p).get("resources", {}).get("limits", {}).get("cpu") == cpu


async def test_running_container_gets_more_without_a_restart(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(containers=[sized("1")]))
    before = await cluster.until(ready)
    assert container(before)["allocatedResources"] == {"cpu": "1", "memory": "1Gi"}
    await resize(cluster, "web", sized("2"))
    found = await cluster.until(has("2"))
    assert container(found)["allocatedResources"]["cpu"] == "2"
    assert container(found)["restartCount"] == 0
    node: Any = cluster.agent.runtime
    (made,) = node._containers.values()
    assert made.resources == Resources(2000, 2000, 1 << 30, 1 << 30)
    assert {"ResizeStarted", "ResizeCompleted"} <= {r for r, _ in await cluster.events()}
    assert condition(await cluster.get(), "PodResizeInProgress") is None


async def test_policy_restarts_the_container_at_once(autojump_clock: Any, cluster: World) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    await cluster.create(pod(containers=[sized("1", resizePolicy=policy)]))
    await cluster.until(ready)
    for n, memory in enumerate(("2Gi", "3Gi", "1Gi"), 1):
        await resize(cluster, "web", sized("1", memory, resizePolicy=policy))
        before = trio.current_time()
        found = await cluster.until(lambda p, n=n: ready(p) and container(p)["restartCount"] == n)
        assert container(found)["resources"]["limits"]["memory"] == memory
        assert trio.current_time() - before < 5
    await resize(cluster, "web", sized("2", "1Gi", resizePolicy=policy))
    assert container(await cluster.until(has("2")))["restartCount"] == 3


async def test_what_the_node_never_has_is_infeasible(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(containers=[sized("1")]))
    await cluster.until(ready)
    await resize(cluster, "web", sized("100"))
    found = await cluster.until(lambda p: condition(p, "PodResizePending"))
    pending = condition(found, "PodResizePending")
    assert pending is not None
    assert pending["reason"] == "Infeasible"
    assert pending["message"] == "Node didn't have enough capacity: cpu, requested: 100000, capacity: 4000"
    assert container(found)["allocatedResources"]["cpu"] == "1"
    await resize(cluster, "web", sized("1"))
    await cluster.until(lambda p: condition(p, "PodResizePending") is None)


async def test_what_does_not_fit_now_is_deferred_until_it_does(autojump_clock: Any, cluster: World) -> None:
    for name in ("web", "other"):
        await cluster.create(pod(name, containers=[sized("2")]))
        await cluster.until(ready, name)
    await resize(cluster, "web", sized("3"))
    found = await cluster.until(lambda p: condition(p, "PodResizePending"))
    pending = condition(found, "PodResizePending")
    assert pending is not None
    assert pending["reason"] == "Deferred"
    assert pending["message"] == "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
    await cluster.client.delete(PODS, "other", "default")
    found = await cluster.until(has("3"))
    assert condition(found, "PodResizePending") is None


async def test_what_the_runtime_refuses_is_told_and_tried_again(
    autojump_clock: Any, cluster: World, monkeypatch: Any
) -> None:
    await cluster.create(pod(containers=[sized("1")]))
    await cluster.until(ready)
    node: Any = cluster.agent.runtime

    async def refuse(id: str, resources: Resources) -> None:
        raise RuntimeFailure("busy")

    with monkeypatch.context() as patch:
        patch.setattr(node, "update_resources", refuse)
        await resize(cluster, "web", sized("2"))
        found = await cluster.until(lambda p: (condition(p, "PodResizeInProgress") or {}).get("reason") == "Error")
        assert container(found)["resources"]["limits"]["cpu"] == "1"
    await cluster.until(has("2"))


async def test_deferred_change_survives_a_restart_of_the_agent(autojump_clock: Any, cluster: World) -> None:
    from kcore.node.agent import Agent

    for name in ("web", "other"):
        await cluster.create(pod(name, containers=[sized("2")]))
        await cluster.until(ready, name)
    await resize(cluster, "web", sized("3"))
    await cluster.until(lambda p: condition(p, "PodResizePending"))
    await cluster.agent.stop(kill=False)
    cluster.agent = Agent(cluster.host, cluster.engine, cluster.agent.config)
    await cluster.agent.start()
    await trio.sleep(5)
    found = await cluster.get()
    assert container(found)["allocatedResources"]["cpu"] == "2"
    assert condition(found, "PodResizePending") is not None
    await cluster.client.delete(PODS, "other", "default")
    assert container(await cluster.until(has("3")))["restartCount"] == 0
