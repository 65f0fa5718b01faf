"""Probes decide when a container is started, ready, and alive."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from kcore import clock

from .conftest import World, container, pod, ready, waiting

HTTP = {"httpGet": {"port": 8080, "path": "/healthz"}}


def probed(**probes: Any) -> list[Any]:
    return [{"name": "app", "image": "app:1", **probes}]


async def test_pod_is_ready_when_its_probe_succeeds_and_no_longer_when_it_fails(
    autojump_clock: Any, cluster: World
) -> None:
    probe = {**HTTP, "initialDelaySeconds": 5, "periodSeconds": 10, "failureThreshold": 2}
    annotations = {"kcore.dev/ready-after": "20s", "kcore.dev/ready-for": "60s"}
    await cluster.create(pod(containers=probed(readinessProbe=probe), annotations=annotations))
    found = await cluster.until(lambda p: p.get("status", {}).get("phase") == "Running")
    assert not ready(found)
    began = clock.parse(container(found)["state"]["running"]["startedAt"])
    await cluster.until(ready)
    assert clock.now() - began == 25  # asked at 5, 15, 25
    await cluster.until(lambda p: not ready(p))
    assert clock.now() - began == 95  # unready from 80 on: two failures at 85 and 95
    events = await cluster.events()
    assert ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503") in events
    assert container(await cluster.get())["restartCount"] == 0


async def test_liveness_failure_restarts_the_container(autojump_clock: Any, cluster: World) -> None:
    probe = {**HTTP, "periodSeconds": 10, "failureThreshold": 3}
    annotations = {"kcore.dev/ready-for": "15s"}
    await cluster.create(pod(containers=probed(livenessProbe=probe), annotations=annotations))
    found = await cluster.until(lambda p: container(p).get("restartCount") == 1)
    assert container(found)["lastState"]["terminated"]["exitCode"] == 0
    events = await cluster.events()
    assert ("Killing", "Container app failed liveness probe, will be restarted") in events
    await cluster.until(waiting("CrashLoopBackOff"))


async def test_startup_probe_holds_the_others_back(autojump_clock: Any, cluster: World) -> None:
    probes = {
        "startupProbe": {**HTTP, "periodSeconds": 5, "failureThreshold": 30},
        "livenessProbe": {**HTTP, "periodSeconds": 1, "failureThreshold": 1},
    }
    await cluster.create(pod(containers=probed(**probes), annotations={"kcore.dev/ready-after": "42s"}))
    found = await cluster.until(lambda p: container(p).get("started"))
    began = clock.parse(container(found)["state"]["running"]["startedAt"])
    assert clock.now() - began == 45
    await trio.sleep(60)
    assert container(await cluster.get())["restartCount"] == 0


async def test_startup_that_takes_too_long_is_ended(autojump_clock: Any, cluster: World) -> None:
    probe = {"startupProbe": {**HTTP, "periodSeconds": 5, "failureThreshold": 3}}
    await cluster.create(pod(containers=probed(**probe), annotations={"kcore.dev/ready-after": "1h"}))
    await cluster.until(lambda p: container(p).get("restartCount") == 1)
    assert ("Killing", "Container app failed startup probe, will be restarted") in await cluster.events()


async def test_probe_of_a_closed_port_is_told_as_refused(autojump_clock: Any, cluster: World) -> None:
    probe = {"httpGet": {"port": "nope", "path": "/x"}, "failureThreshold": 1}
    found = await cluster.create(pod(containers=probed(readinessProbe=probe)))
    found = await cluster.until(lambda p: p.get("status", {}).get("podIP"))
    text = f"dial tcp {found['status']['podIP']}:0: connect: connection refused"
    assert any(reason == "Unhealthy" and text in message for reason, message in await cluster.events())


async def test_grpc_and_tcp_and_exec_probes_follow_the_behaviour(autojump_clock: Any, cluster: World) -> None:
    kinds: list[Any] = [
        {"grpc": {"port": 9000}},
        {"tcpSocket": {"port": 9001}},
        {"exec": {"command": ["/bin/probe"]}},
    ]
    for i, kind in enumerate(kinds):
        probe = {**kind, "periodSeconds": 5}
        annotations = {} if "tcpSocket" in kind else {"kcore.dev/ready-after": "12s"}
        await cluster.create(pod(f"p{i}", containers=probed(readinessProbe=probe), annotations=annotations))
        found = await cluster.until(ready, f"p{i}")
        waited = clock.now() - clock.parse(container(found)["state"]["running"]["startedAt"])
        assert waited == (0 if "tcpSocket" in kind else 15)


@pytest.mark.conformance(
    "Probing container should be restarted with a GRPC liveness probe",
    "Probing container should *not* be restarted with a GRPC liveness probe",
)
@pytest.mark.parametrize(("lives", "restarts"), [("1h", 0), ("5s", 1)])
async def test_grpc_decides_whether_a_container_lives(
    autojump_clock: Any, cluster: World, lives: str, restarts: int
) -> None:
    probe = {"grpc": {"port": 5000}, "periodSeconds": 1, "failureThreshold": 1}
    await cluster.create(pod(annotations={"kcore.dev/ready-for": lives}, containers=probed(livenessProbe=probe)))
    await trio.sleep(10)
    assert container(await cluster.get())["restartCount"] == restarts
