"""Ports of the host, sandboxes that break, and terminals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from kcore.objects import Object
from kcore.objects.resources import NODES, PODS
from kcore.runtime import READY, SANDBOX_LOST, Event, Size, Streams

from .conftest import World, container, phase, pod, ready
from .test_embedded import http, opened


def on_host(name: str, port: int = 8080, **more: Any) -> Object:
    ports = [{"containerPort": 80, "hostPort": port, **more}]
    return pod(name, containers=[{"name": "app", "image": "app:1", "ports": ports}])


async def test_a_port_of_the_host_is_given_once(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(on_host("a"))
    await cluster.until(ready, "a")
    await cluster.create(on_host("b"))
    refused = (await cluster.until(phase("Failed"), "b"))["status"]
    assert (refused["reason"], refused["message"]) == (
        "NodePorts",
        "Pod was rejected: Predicate NodePorts failed",
    )
    await cluster.create(on_host("other-protocol", protocol="UDP"))
    await cluster.until(ready, "other-protocol")
    await cluster.client.delete(PODS, "a", "default")
    await cluster.until_gone("a")
    await cluster.create(on_host("c"))
    await cluster.until(ready, "c")


async def test_one_port_may_be_given_at_several_addresses_of_the_host(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(on_host("a", hostIP="127.90.0.1"))
    await cluster.create(on_host("b", hostIP="127.90.0.2"))
    await cluster.until(ready, "a")
    await cluster.until(ready, "b")
    await cluster.create(on_host("everywhere"))
    assert (await cluster.until(phase("Failed"), "everywhere"))["status"]["reason"] == "NodePorts"


async def test_a_port_of_the_host_answers_at_the_nodes_address(tmp_path: Path) -> None:
    async with opened(tmp_path, port=21460) as real:
        found = await real.run(on_host("web", 28080))
        node = await real.client.get(NODES, found["spec"]["nodeName"])
        answer = await http(node["status"]["addresses"][0]["address"], 28080)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"pod":"web"' in answer.replace(b" ", b"")


async def test_a_sandbox_that_breaks_is_replaced_with_everything_in_it(autojump_clock: Any, cluster: World) -> None:
    init = [{"name": "init", "image": "busybox", "command": ["sh", "-c", "true"]}]
    await cluster.create(pod(initContainers=init))
    before = await cluster.until(ready)
    (lost,) = await cluster.agent.runtime.list_sandboxes()
    cluster.agent.runtime.tell(Event(SANDBOX_LOST, before["metadata"]["uid"], lost.id))  # type: ignore[attr-defined]
    found = await cluster.until(lambda p: ready(p) and container(p)["restartCount"] == 1)
    assert container(found)["containerID"] != container(before)["containerID"]
    assert container(found, "init")["restartCount"] == 1
    assert ("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.") in await cluster.events()
    await trio.sleep(60)
    (now,) = [s for s in await cluster.agent.runtime.list_sandboxes() if s.state == READY]
    assert now.id != lost.id
    assert (await cluster.get())["status"]["podIP"] == now.ips[0]
    await cluster.client.delete(PODS, "web", "default")
    await cluster.until_gone()
    await trio.sleep(5)
    assert await cluster.agent.runtime.list_sandboxes() == []


async def test_a_terminal_tells_its_size_and_changes_of_it(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod())
    await cluster.until(ready)
    worker = cluster.agent.find("default", "web")
    assert worker is not None
    assert worker.runs["app"].current is not None
    typed, input = trio.open_memory_channel[bytes](10)
    resized, sizes = trio.open_memory_channel[Size](10)
    out = bytearray()

    async def write(data: bytes) -> None:
        out.extend(data)

    async def read() -> bytes:
        try:
            return await input.receive()
        except trio.EndOfChannel:
            return b""

    async with trio.open_nursery() as nursery:
        id = worker.runs["app"].current.id
        streams = Streams(read, write, None, sizes)

        async def session() -> None:
            code = await cluster.agent.runtime.exec(id, ["sh"], streams, tty=True)
            assert code == 0

        nursery.start_soon(session)
        for width, height in ((80, 24), (132, 50)):
            await resized.send(Size(width, height))
            await trio.sleep(1)
            await typed.send(b"echo $COLUMNS x $LINES\r")
            await trio.sleep(1)
            assert f"\r\n{width} x {height}\r\n".encode() in out
        await typed.send(b"exit\r")
    assert b"COLUMNS" not in (await cluster.agent.runtime.exec_sync(id, ["env"], 5)).stdout


async def test_what_is_typed_ahead_of_a_program_that_does_not_read_is_held_back(
    autojump_clock: Any, cluster: World
) -> None:
    app = {"name": "app", "image": "busybox", "command": ["sleep", "100"], "stdin": True}
    await cluster.create(pod(containers=[app]))
    await cluster.until(ready)
    worker = cluster.agent.find("default", "web")
    assert worker is not None
    assert worker.runs["app"].current is not None
    taken = 0

    async def read() -> bytes:
        nonlocal taken
        await trio.lowlevel.checkpoint()
        taken += 1
        return b"x" * 1000

    async def write(data: bytes) -> None:
        raise AssertionError

    with trio.move_on_after(10):
        await cluster.agent.runtime.attach(worker.runs["app"].current.id, Streams(read, write))
    assert 0 < taken < 1000
