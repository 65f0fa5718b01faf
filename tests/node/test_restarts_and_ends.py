"""Restarts in the cases that are not plain, and how pods end."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from kcore import clock
from kcore.objects import Object
from kcore.objects.resources import PODS
from kcore.runtime import READY
from tests.node.conftest import World, container, phase, pod, ready


def shell(name: str, script: str, **more: Any) -> Object:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


def ran(name: str) -> Any:
    return lambda p: "running" in container(p, name).get("state", {})


async def test_no_grace_is_none_when_the_node_itself_ends_the_pod(autojump_clock: Any, cluster: World) -> None:
    slow = {"kcore.dev/stop-delay": "1h"}
    await cluster.create(pod(annotations=slow, terminationGracePeriodSeconds=0, activeDeadlineSeconds=5))
    await cluster.until(ready)
    before = clock.now()
    found = await cluster.until(phase("Failed"))
    assert found["status"]["reason"] == "DeadlineExceeded"
    assert container(found)["state"]["terminated"]["exitCode"] == 137
    assert clock.now() - before < 7


async def test_a_container_that_died_with_its_sandbox_does_not_start_in_what_is_left_of_it(
    autojump_clock: Any, cluster: World
) -> None:
    await cluster.create(pod())
    await cluster.until(ready)
    node: Any = cluster.agent.runtime
    (broken,) = node._sandboxes.values()
    (died,) = broken.containers.values()
    broken.down()  # the sandbox is gone, and of the news of it only the container's end has come
    died.end(137, 9)
    found = await cluster.until(lambda p: ready(p) and container(p).get("restartCount", 0) > 0)
    assert container(found)["restartCount"] == 1
    assert len(broken.containers) == 1
    (now,) = [s for s in await node.list_sandboxes() if s.state == READY]
    assert found["status"]["podIP"] == now.ips[0]


async def test_a_sidecar_that_ends_while_others_initialize_starts_again_beside_them(
    autojump_clock: Any, cluster: World
) -> None:
    side = shell("side", "sleep 5; exit 1", restartPolicy="Always")
    await cluster.create(pod(initContainers=[side, shell("long", "sleep 8")]))
    found = await cluster.until(lambda p: container(p, "side").get("restartCount") == 1 and ran("side")(p))
    assert "running" in container(found, "long")["state"]
    await cluster.until(ran("app"))


@pytest.mark.parametrize(
    ("rules", "code", "again"),
    [
        ([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}], 42, True),
        ([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}], 1, False),
        ([{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}], 1, True),
    ],
)
async def test_rules_of_a_container_restart_it_in_a_pod_that_never_restarts(
    autojump_clock: Any, cluster: World, rules: Any, code: int, again: bool
) -> None:
    app = shell("app", f"sleep 2; exit {code}", restartPolicy="Never", restartPolicyRules=rules)
    await cluster.create(pod(restartPolicy="Never", containers=[app]))
    if again:
        await cluster.until(lambda p: container(p).get("restartCount", 0) >= 2)
    else:
        assert container(await cluster.until(phase("Failed")))["restartCount"] == 0


async def test_one_container_may_restart_where_the_others_do_not(autojump_clock: Any, cluster: World) -> None:
    once, again = shell("once", "exit 0"), shell("again", "sleep 1; exit 1", restartPolicy="OnFailure")
    await cluster.create(pod(restartPolicy="Never", containers=[once, again]))
    found = await cluster.until(lambda p: container(p, "again").get("restartCount", 0) >= 2)
    assert container(found, "once")["restartCount"] == 0
    assert found["status"]["phase"] == "Running"


async def test_ten_good_minutes_forget_the_failures_before(autojump_clock: Any, cluster: World) -> None:
    app = shell("app", "if test -e /data/n; then sleep 700; else sleep 1; fi; exit 1")
    app["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    await cluster.create(pod(containers=[app], volumes=[{"name": "data", "emptyDir": {}}]))
    await cluster.until(lambda p: container(p).get("restartCount") == 4 and ran("app")(p), within=900)
    worker = cluster.agent.find("default", "web")
    assert worker is not None
    assert worker.runs["app"].current is not None
    await cluster.agent.runtime.exec_sync(worker.runs["app"].current.id, ["sh", "-c", "echo > /data/n"], 5)
    await cluster.until(lambda p: container(p).get("restartCount") == 5 and ran("app")(p), within=900)
    long = await cluster.until(lambda p: container(p).get("restartCount") == 6 and ran("app")(p), within=1200)
    ended = clock.parse(container(long)["lastState"]["terminated"]["finishedAt"])
    assert clock.parse(container(long)["state"]["running"]["startedAt"]) - ended <= 11


async def test_sidecars_end_last_and_in_reverse(autojump_clock: Any, cluster: World) -> None:
    sides = [{"name": n, "image": "proxy:1", "restartPolicy": "Always"} for n in ("first", "second")]
    annotations = {f"kcore.dev/stop-delay.{n}": "2s" for n in ("app", "first", "second")}
    await cluster.create(pod(initContainers=sides, annotations=annotations, finalizers=["x/y"]))
    await cluster.until(ready)
    await cluster.client.patch(PODS, "web", {"metadata": {"finalizers": ["x/y"]}}, "default")
    await cluster.client.delete(PODS, "web", "default")
    found = await cluster.until(lambda p: "terminated" in container(p, "first").get("state", {}))
    at = {n: clock.parse(container(found, n)["state"]["terminated"]["finishedAt"]) for n in ("app", "second", "first")}
    assert at["app"] < at["second"] < at["first"]


async def test_post_start_that_fails_ends_its_container(autojump_clock: Any, cluster: World) -> None:
    app = {"name": "app", "image": "app:1", "lifecycle": {"postStart": {"exec": {"command": ["false"]}}}}
    await cluster.create(pod(containers=[app]))
    await cluster.until(lambda p: container(p).get("restartCount", 0) >= 1)
    assert ("Killing", "FailedPostStartHook") in await cluster.events()
    assert "FailedPostStartHook" in [r for r, _ in await cluster.events()]


@pytest.mark.parametrize("hook", [{"sleep": {"seconds": 4}}, {"exec": {"command": ["sleep", "4"]}}])
async def test_pre_stop_is_waited_for(autojump_clock: Any, cluster: World, hook: Any) -> None:
    await cluster.create(pod(containers=[{"name": "app", "image": "app:1", "lifecycle": {"preStop": hook}}]))
    await cluster.until(ready)
    before = trio.current_time()
    await cluster.client.delete(PODS, "web", "default")
    await cluster.until_gone()
    assert 4 <= trio.current_time() - before < 6


async def test_pre_stop_may_not_outlast_the_grace_period_by_more_than_two_seconds(
    autojump_clock: Any, cluster: World
) -> None:
    hook = {"preStop": {"sleep": {"seconds": 100}}}
    slow = {"kcore.dev/stop-delay": "1h"}
    app = [{"name": "app", "image": "app:1", "lifecycle": hook}]
    await cluster.create(pod(annotations=slow, containers=app, terminationGracePeriodSeconds=10))
    await cluster.until(ready)
    before = trio.current_time()
    await cluster.client.delete(PODS, "web", "default")
    await cluster.until_gone()
    assert 10 <= trio.current_time() - before < 14


async def test_ephemeral_container_sees_the_one_that_it_is_aimed_at(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod())
    await cluster.until(ready)
    debug = {"name": "debug", "image": "busybox", "command": ["sleep", "9"], "targetContainerName": "app"}
    await cluster.client.patch(PODS, "web", {"spec": {"ephemeralContainers": [debug]}}, "default")
    await cluster.until(ran("debug"))
    node: Any = cluster.agent.runtime
    by_name = {c.config.name: c for c in node._containers.values()}
    assert by_name["debug"].config.target == by_name["app"].id
