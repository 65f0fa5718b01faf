"""What becomes of pods on a node."""

from __future__ import annotations

import itertools
from typing import Any

import trio

from kcore import clock
from kcore.errors import ServiceUnavailable
from kcore.objects.resources import LEASES, NODES, PODS

from .conftest import World, container, phase, pod, ready, waiting


async def test_node_registers_as_ready_and_renews_its_lease(autojump_clock: Any, cluster: World) -> None:
    node = await cluster.client.get(NODES, "node-1")
    assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
    assert node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250
    await trio.sleep(1)
    first = (await cluster.client.get(LEASES, "node-1", "kube-node-lease"))["spec"]["renewTime"]
    await trio.sleep(10)
    second = (await cluster.client.get(LEASES, "node-1", "kube-node-lease"))["spec"]["renewTime"]
    assert 9 < clock.parse(second) - clock.parse(first) < 11


async def test_pod_runs_and_is_ready_with_an_address(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod())
    found = await cluster.until(ready)
    status = found["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("127.100.0.")
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["hostIP"] == "127.90.0.1"
    assert status["qosClass"] == "BestEffort"
    one = container(found)
    assert one["ready"]
    assert one["started"]
    assert one["restartCount"] == 0
    assert one["containerID"].startswith("fake://")
    assert "running" in one["state"]
    assert [r for r, _ in await cluster.events() if r != "Starting"] == ["Pulled", "Created", "Started"]


async def test_status_is_written_only_when_it_changes(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod())
    before = await cluster.until(ready)
    await trio.sleep(3600)
    after = await cluster.get()
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_job_pod_runs_its_shell_command_and_succeeds(autojump_clock: Any, cluster: World) -> None:
    app = {"name": "app", "image": "busybox", "command": ["sh", "-c", "echo hello; sleep 5; exit 0"]}
    await cluster.create(pod(restartPolicy="Never", containers=[app]))
    await cluster.until(phase("Running"))
    found = await cluster.until(phase("Succeeded"))
    ended = container(found)["state"]["terminated"]
    assert ended["exitCode"] == 0
    assert ended["reason"] == "Completed"
    assert clock.parse(ended["finishedAt"]) - clock.parse(ended["startedAt"]) >= 5
    assert not ready(found)
    worker = cluster.agent.find("default", "web")
    assert worker is not None
    assert worker.runs["app"].current is not None
    lines = [x.data async for x in cluster.agent.runtime.logs(worker.runs["app"].current.id)]
    assert lines == [b"hello\n"]


async def test_failing_pod_that_must_not_restart_fails(autojump_clock: Any, cluster: World) -> None:
    app = {"name": "app", "image": "busybox", "command": ["sh", "-c", "exit 3"]}
    await cluster.create(pod(restartPolicy="Never", containers=[app]))
    ended = container(await cluster.until(phase("Failed")))["state"]["terminated"]
    assert ended["exitCode"] == 3
    assert ended["reason"] == "Error"


async def test_crashing_container_backs_off_ten_twenty_forty_seconds(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(annotations={"kcore.dev/crash-loop": "true"}))
    found = await cluster.until(waiting("CrashLoopBackOff"))
    one = container(found)
    assert one["restartCount"] == 1
    assert found["status"]["phase"] == "Running"
    assert one["state"]["waiting"]["message"].startswith(
        "back-off 10s restarting failed container=app pod=web_default("
    )
    assert one["lastState"]["terminated"]["exitCode"] == 1
    starts = []
    for n in range(2, 9):
        found = await cluster.until(
            lambda p, n=n: container(p).get("restartCount") == n and "running" in container(p)["state"]
        )
        starts.append(clock.parse(container(found)["state"]["running"]["startedAt"]))
    gaps = [round(b - a) for a, b in itertools.pairwise(starts)]
    assert gaps == [21, 41, 81, 161, 301, 301]


async def test_init_containers_run_one_after_the_other_before_the_others(autojump_clock: Any, cluster: World) -> None:
    init = [{"name": f"i{n}", "image": "busybox", "command": ["sleep", "10"]} for n in (1, 2)]
    await cluster.create(pod(initContainers=init))
    found = await cluster.until(lambda p: "running" in container(p, "i1").get("state", {}))
    assert found["status"]["phase"] == "Pending"
    assert container(found)["state"]["waiting"]["reason"] == "PodInitializing"
    assert "waiting" in container(found, "i2")["state"]
    found = await cluster.until(lambda p: "running" in container(p, "i2").get("state", {}))
    assert container(found, "i1")["state"]["terminated"]["exitCode"] == 0
    found = await cluster.until(ready)
    assert container(found, "i1")["ready"]
    assert container(found, "i2")["ready"]


async def test_failing_init_container_fails_a_pod_that_must_not_restart(autojump_clock: Any, cluster: World) -> None:
    init = [{"name": "i", "image": "busybox", "command": ["false"]}]
    await cluster.create(pod(initContainers=init, restartPolicy="Never"))
    found = await cluster.until(phase("Failed"))
    assert container(found)["state"]["waiting"]["reason"] == "PodInitializing"


async def test_sidecar_starts_first_and_is_ended_when_the_job_is_done(autojump_clock: Any, cluster: World) -> None:
    sidecar = {"name": "side", "image": "proxy:1", "restartPolicy": "Always"}
    app = {"name": "app", "image": "busybox", "command": ["sleep", "5"]}
    await cluster.create(pod(initContainers=[sidecar], containers=[app], restartPolicy="Never"))
    found = await cluster.until(lambda p: "running" in container(p).get("state", {}))
    assert "running" in container(found, "side")["state"]
    found = await cluster.until(phase("Succeeded"))
    assert "terminated" in container(found, "side")["state"]


async def test_deleted_pod_ends_within_its_grace_and_disappears(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(annotations={"kcore.dev/stop-delay": "12s"}))
    await cluster.until(ready)
    before = clock.now()
    await cluster.client.delete(PODS, "web", "default")
    await cluster.until_gone()
    assert 12 <= clock.now() - before < 14
    assert "Killing" in [r for r, _ in await cluster.events()]
    assert await cluster.agent.runtime.list_sandboxes() == []


async def test_container_that_ignores_the_signal_is_killed_after_the_grace_period(
    autojump_clock: Any, cluster: World
) -> None:
    await cluster.create(pod(annotations={"kcore.dev/stop-delay": "1h"}, terminationGracePeriodSeconds=7))
    await cluster.until(ready)
    before = clock.now()
    await cluster.client.delete(PODS, "web", "default")
    found = await cluster.until(lambda p: "terminated" in container(p).get("state", {}))
    assert container(found)["state"]["terminated"]["exitCode"] == 137
    await cluster.until_gone()
    assert 7 <= clock.now() - before < 9


async def test_pre_stop_hook_takes_its_time_from_the_grace_period(autojump_clock: Any, cluster: World) -> None:
    app = {"name": "app", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": 9}}}}
    await cluster.create(pod(containers=[app]))
    await cluster.until(ready)
    before = clock.now()
    await cluster.client.delete(PODS, "web", "default")
    await cluster.until_gone()
    assert 9 <= clock.now() - before < 11


async def test_pod_deleted_while_it_pulls_goes_at_once(autojump_clock: Any, tmp_path: Any) -> None:
    from .conftest import world

    async with world(tmp_path, missing_images=["broken*"]) as cluster:
        await cluster.create(pod(containers=[{"name": "app", "image": "broken:1"}]))
        await cluster.until(waiting("ErrImagePull"))
        found = await cluster.until(waiting("ImagePullBackOff"))
        assert found["status"]["phase"] == "Pending"
        await cluster.client.delete(PODS, "web", "default")
        await cluster.until_gone(within=5)


async def test_pod_that_does_not_fit_fails_with_the_reason(autojump_clock: Any, cluster: World) -> None:
    app = {"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "5"}}}
    await cluster.create(pod(containers=[app]))
    found = await cluster.until(phase("Failed"))
    assert found["status"]["reason"] == "OutOfcpu"
    assert found["status"]["message"] == (
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000"
    )


async def test_deadline_fails_the_pod(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(
        pod(activeDeadlineSeconds=60, restartPolicy="Never", annotations={"kcore.dev/run-time": "1h"})
    )
    await cluster.until(phase("Running"))
    found = await cluster.until(phase("Failed"))
    assert found["status"]["reason"] == "DeadlineExceeded"


async def test_agent_that_starts_again_carries_on_with_what_runs(autojump_clock: Any, cluster: World) -> None:
    from kcore.node.agent import Agent

    await cluster.create(pod())
    before = await cluster.until(ready)
    await cluster.agent.stop(kill=False)
    again = Agent(cluster.host, cluster.engine, cluster.agent.config)
    await again.start()
    await trio.sleep(30)
    after = await cluster.get()
    assert container(after) == container(before)


async def test_container_whose_maker_ended_before_it_was_started_is_made_anew(
    autojump_clock: Any, cluster: World
) -> None:
    from kcore.node.agent import Agent

    started: list[str] = []

    async def hang(id: str) -> None:
        started.append(id)
        await trio.sleep_forever()

    cluster.agent.runtime.start_container = hang  # type: ignore[method-assign]
    await cluster.create(pod())
    await cluster.until(waiting("ContainerCreating"))
    await trio.sleep(5)
    await cluster.agent.stop(kill=False)
    assert [c.state for c in await cluster.agent.runtime.list_containers()] == ["created"]
    del cluster.agent.runtime.start_container
    again = Agent(cluster.host, cluster.engine, cluster.agent.config)
    await again.start()
    found = await cluster.until(ready)
    assert container(found)["restartCount"] == 0
    assert not container(found)["containerID"].endswith(started[0])
    assert [c.state for c in await again.runtime.list_containers()] == ["running"]


async def test_containers_start_again_after_the_machine_lost_its_power(autojump_clock: Any, cluster: World) -> None:
    from kcore.node.agent import Agent

    await cluster.create(pod())
    before = await cluster.until(ready)
    await cluster.agent.stop(kill=True)
    again = Agent(cluster.host, cluster.engine, cluster.agent.config)
    await again.start()
    found = await cluster.until(lambda p: ready(p) and container(p)["restartCount"] == 1)
    assert container(found)["containerID"] != container(before)["containerID"]
    assert container(found)["lastState"]["terminated"]["exitCode"] == 255


async def test_image_change_restarts_only_that_container(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(containers=[{"name": "app", "image": "app:1"}, {"name": "b", "image": "b:1"}]))
    found = await cluster.until(ready)
    spec = {**found["spec"], "containers": [{"name": "app", "image": "app:2"}, {"name": "b", "image": "b:1"}]}
    await cluster.client.update(PODS, {**found, "spec": spec})
    found = await cluster.until(lambda p: ready(p) and container(p)["image"] == "app:2")
    assert container(found)["restartCount"] == 1
    assert container(found, "b")["restartCount"] == 0


async def test_force_deleted_pod_leaves_nothing_behind(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod())
    await cluster.until(ready)
    await cluster.client.delete(PODS, "web", "default", grace_seconds=0)
    await trio.sleep(5)
    assert await cluster.agent.runtime.list_sandboxes() == []
    assert cluster.agent.workers == {}


async def test_job_whose_program_is_unknown_succeeds_after_a_moment(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(restartPolicy="OnFailure", containers=[{"name": "app", "image": "perl:5"}]))
    found = await cluster.until(phase("Succeeded"))
    assert container(found)["restartCount"] == 0


async def test_ephemeral_container_joins_a_running_pod(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod())
    found = await cluster.until(ready)
    debugger = {"name": "dbg", "image": "busybox", "command": ["sh", "-c", "echo here; sleep 5"]}
    await cluster.client.update(PODS, {**found, "spec": {**found["spec"], "ephemeralContainers": [debugger]}})
    found = await cluster.until(lambda p: "running" in container(p, "dbg").get("state", {}))
    found = await cluster.until(lambda p: "terminated" in container(p, "dbg").get("state", {}))
    assert ready(found)
    await trio.sleep(60)
    assert container(await cluster.get(), "dbg")["restartCount"] == 0


async def test_attached_client_types_into_a_shell(autojump_clock: Any, cluster: World) -> None:
    from kcore.runtime import Streams

    app = {"name": "app", "image": "busybox", "stdin": True, "stdinOnce": True}
    await cluster.create(pod(containers=[app], restartPolicy="Never"))
    await cluster.until(phase("Running"))
    worker = cluster.agent.find("default", "web")
    assert worker is not None
    assert worker.runs["app"].current is not None
    typed, out = [b"exit 3\n", b"echo hi\n"], bytearray()

    async def read() -> bytes:
        return typed.pop() if typed else b""

    async def write(data: bytes) -> None:
        out.extend(data)

    await cluster.agent.runtime.attach(worker.runs["app"].current.id, Streams(read, write))
    assert out == b"hi\n"
    found = await cluster.until(phase("Failed"))
    assert container(found)["state"]["terminated"]["exitCode"] == 3


async def test_readiness_gate_keeps_a_pod_unready_until_somebody_opens_it(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(readinessGates=[{"conditionType": "example.com/gate"}]))
    found = await cluster.until(phase("Running"))
    assert not ready(found)
    gate = {"type": "example.com/gate", "status": "True"}
    conditions = [*found["status"]["conditions"], gate]
    await cluster.client.update(
        PODS, {**found, "status": {**found["status"], "conditions": conditions}}, subresource="status"
    )
    found = await cluster.until(ready)
    assert gate in found["status"]["conditions"]


async def test_pod_that_is_deleted_before_it_ever_ran_goes(autojump_clock: Any, cluster: World) -> None:
    init = [{"name": "i", "image": "busybox", "command": ["sleep", "3600"]}]
    await cluster.create(pod(initContainers=init, terminationGracePeriodSeconds=1))
    await cluster.until(lambda p: "running" in container(p, "i").get("state", {}))
    await cluster.client.delete(PODS, "web", "default")
    await cluster.until_gone(within=10)


async def test_a_node_that_was_cut_off_says_at_once_that_it_is_back(autojump_clock: Any, cluster: World) -> None:
    update, cut = cluster.client.update, True

    async def unreachable(resource: Any, obj: Any, **options: Any) -> Any:
        if cut:
            raise ServiceUnavailable("cut off")
        return await update(resource, obj, **options)

    await trio.sleep(15)
    cluster.client.update = unreachable  # type: ignore[method-assign]
    await trio.sleep(60)
    node = await cluster.client.get(NODES, "node-1")
    conditions = [{**c, "status": "Unknown"} for c in node["status"]["conditions"]]
    await update(NODES, {**node, "status": {**node["status"], "conditions": conditions}}, subresource="status")
    cut = False
    await trio.sleep(45)
    node = await cluster.client.get(NODES, "node-1")
    assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"


async def test_sandboxes_that_broke_before_a_restart_are_told_from_the_new_one_and_go_with_the_pod(
    autojump_clock: Any, cluster: World
) -> None:
    from kcore.node.agent import Agent

    await cluster.create(pod())
    await cluster.until(ready)
    for _ in range(2):
        (current,) = [s for s in await cluster.agent.runtime.list_sandboxes() if s.state == "ready"]
        await cluster.agent.stop(kill=False)
        await cluster.agent.runtime.stop_sandbox(current.id)
        cluster.agent = Agent(cluster.host, cluster.engine, cluster.agent.config)
        await cluster.agent.start()
        await trio.sleep(60)
        await cluster.until(ready)
    found = await cluster.agent.runtime.list_sandboxes()
    assert sorted((s.attempt, s.state) for s in found) == [(0, "notready"), (1, "notready"), (2, "ready")]
    await cluster.client.delete(PODS, "web", "default")
    await cluster.until_gone()
    await trio.sleep(60)
    assert await cluster.agent.runtime.list_sandboxes() == []


async def test_every_sandbox_of_a_pod_that_went_while_the_node_was_away_is_removed(
    autojump_clock: Any, cluster: World
) -> None:
    from kcore.node.agent import Agent

    await cluster.create(pod())
    await cluster.until(ready)
    (first,) = await cluster.agent.runtime.list_sandboxes()
    await cluster.agent.stop(kill=False)
    await cluster.agent.runtime.stop_sandbox(first.id)
    cluster.agent = Agent(cluster.host, cluster.engine, cluster.agent.config)
    await cluster.agent.start()
    await trio.sleep(60)
    assert len(await cluster.agent.runtime.list_sandboxes()) == 2
    await cluster.agent.stop(kill=False)
    await cluster.client.delete(PODS, "web", "default", grace_seconds=0)
    cluster.agent = Agent(cluster.host, cluster.engine, cluster.agent.config)
    await cluster.agent.start()
    await trio.sleep(60)
    assert await cluster.agent.runtime.list_sandboxes() == []
