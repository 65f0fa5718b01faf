"""Embedded nodes with real sockets on loopback addresses: what reaches pods and kubelets from outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from kcore_nodes import NodesConfig, open_embedded
from kcore_nodes.nodes import Nodes
from kcore_routes_nodes import NodesRoutesConfig, open_routes
from kcore_runtime_fake import FakeConfig, open_fake

from kcore.api.auth import User
from kcore.api.routes import Call
from kcore.errors import BadRequest
from kcore.http import websocket
from kcore.http.messages import Request, StreamResponse
from kcore.http.server import serve_stream
from kcore.objects import Object
from kcore.objects.resources import NODES, PODS
from kcore.registry import Choice, Provider
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient, cluster_client

from .conftest import container, pod, ready


@attrs.define
class Real:
    """Nodes that listen, and the API server's way to them."""

    client: MemoryClient
    nodes: Nodes
    routes: dict[tuple[str, str, str], Callable[[Call], Awaitable[Any]]]

    async def run(self, obj: Object, condition: Callable[[Object], Any] = ready) -> Object:
        made = await self.client.create(PODS, obj, "default")
        return await self.until(made["metadata"]["name"], condition)

    async def until(self, name: str, condition: Callable[[Object], Any]) -> Object:
        with trio.fail_after(10):
            version = "0"
            async with self.client.watch(PODS, "default", resource_version=version) as events:
                async for event in events:
                    if event.object["metadata"]["name"] == name and condition(event.object):
                        return event.object
        raise AssertionError

    def call(self, name: str, sub: str, query: str = "", *, rest: str = "", headers: Any = None) -> Call:
        request = Request("GET", f"/api/v1/{name}/{sub}", query, {"host": "api", **(headers or {})})
        return Call(request, User("admin"), "get", None, "default", name, sub, rest, self.client)

    async def ask(self, resource: str, name: str, sub: str, query: str = "", rest: str = "") -> bytes:
        answer = await self.routes["", resource, sub](self.call(name, sub, query, rest=rest))
        if isinstance(answer, StreamResponse):
            body = b""
            async for piece in answer.body:
                body += piece
            return body
        return bytes(answer.body)


@asynccontextmanager
async def opened(tmp_path: Path, **config: Any) -> AsyncIterator[Real]:
    settings = NodesConfig(**{"count": 2, "port": 21250, **config})
    async with cluster_client() as client:
        choice = Choice(Provider("fake", open_fake, FakeConfig), FakeConfig())
        context = TestContext(tmp_path, name="nodes", api=client, choices={("runtime", "fake"): choice})
        async with (
            open_embedded(context, settings) as nodes,
            open_routes(context, NodesRoutesConfig()) as routes,
        ):
            await nodes.ready()
            yield Real(client, nodes, routes.resources)


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Real]:
    async with opened(tmp_path) as made:
        yield made


def web(name: str = "web", port: int = 18080, **app: Any) -> Object:
    ports = [{"containerPort": port}, {"containerPort": port, "protocol": "UDP"}]
    return pod(name, containers=[{"name": "app", "image": "app:1", "ports": ports, **app}])


async def http(
    address: str, port: int, request: bytes = b"GET /x?y=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
) -> bytes:
    stream = await trio.open_tcp_stream(address, port)
    async with stream:
        await stream.send_all(request)
        answer = b""
        with trio.fail_after(5):
            while data := await stream.receive_some(65536):
                answer += data
    return answer


async def test_pod_answers_http_with_what_it_is(real: Real) -> None:
    found = await real.run(web())
    answer = await http(found["status"]["podIP"], 18080)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    told = json.loads(body)
    assert (told["pod"], told["node"], told["namespace"]) == ("web", "node-1", "default")
    assert (told["method"], told["path"], told["query"]) == ("GET", "/x", "y=1")


async def test_two_pods_share_a_port_at_their_own_addresses(real: Real) -> None:
    one, two = (
        await real.run(web("one")),
        await real.run({**web("two"), "spec": {**web()["spec"], "nodeName": "node-2"}}),
    )
    assert one["status"]["podIP"] != two["status"]["podIP"]
    for found, name in ((one, b'"one"'), (two, b'"two"')):
        assert name in await http(found["status"]["podIP"], 18080)


async def test_pod_echoes_other_tcp_and_udp(real: Real) -> None:
    found = await real.run(web())
    address = found["status"]["podIP"]
    async with await trio.open_tcp_stream(address, 18080) as stream:
        await stream.send_all(b"\x00hello")
        assert await stream.receive_some(100) == b"\x00hello"
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.sendto(b"ping", (address, 18080))
        with trio.fail_after(5):
            data, peer = await sock.recvfrom(100)
    assert data == b"ping"
    assert peer == (address, 18080)


async def test_probes_of_every_kind_find_the_pod_ready(real: Real) -> None:
    kinds = [
        {"httpGet": {"port": 18081, "path": "/ok"}},
        {"httpGet": {"port": 18082, "scheme": "HTTPS"}},
        {"tcpSocket": {"port": 18083}},
        {"grpc": {"port": 18084}},
        {"exec": {"command": ["/bin/bash", "-c", "/ready-probe.sh"]}},
    ]
    for i, kind in enumerate(kinds):
        app = {"name": "app", "image": "app:1", "readinessProbe": {**kind, "periodSeconds": 1, "timeoutSeconds": 5}}
        found = await real.run(pod(f"p{i}", containers=[app]))
        assert container(found)["ready"]


async def test_stopped_node_has_neither_pods_nor_kubelet_any_more(real: Real) -> None:
    found = await real.run(web())
    await real.nodes.stop("node-1")
    assert real.nodes.running == ["node-2"]
    with pytest.raises((OSError, trio.BrokenResourceError, AssertionError)):
        assert await http(found["status"]["podIP"], 18080)
    await real.nodes.start("node-1")
    again = await real.until("web", lambda p: ready(p) and container(p)["restartCount"] == 1)
    assert b'"web"' in await http(again["status"]["podIP"], 18080)


async def test_logs_go_through_the_kubelet(real: Real) -> None:
    app = {"name": "app", "image": "busybox", "command": ["sh", "-c", "echo one; echo two; echo three; sleep 3600"]}
    await real.run(pod(containers=[app]))
    assert await real.ask("pods", "web", "log") == b"one\ntwo\nthree\n"
    assert await real.ask("pods", "web", "log", "tailLines=1") == b"three\n"
    assert await real.ask("pods", "web", "log", "limitBytes=5") == b"one\nt"
    stamped = await real.ask("pods", "web", "log", "timestamps=true&tailLines=1")
    assert stamped.endswith(b"Z three\n")
    with pytest.raises(BadRequest, match="previous terminated container"):
        await real.ask("pods", "web", "log", "previous=true")
    with pytest.raises(BadRequest, match="container other is not valid for pod web"):
        await real.ask("pods", "web", "log", "container=other")


async def test_followed_logs_end_with_the_container(real: Real) -> None:
    app = {"name": "app", "image": "busybox", "command": ["sh", "-c", "echo one; sleep 0.3; echo two"]}
    await real.run(pod(containers=[app], restartPolicy="Never"), lambda p: "running" in container(p).get("state", {}))
    with trio.fail_after(5):
        assert await real.ask("pods", "web", "log", "follow=true") == b"one\ntwo\n"


async def test_a_pod_of_several_containers_must_be_asked_for_one(real: Real) -> None:
    await real.run(pod(containers=[{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]))
    with pytest.raises(BadRequest, match=r"a container name must be specified for pod web, choose one of: \[a b\]"):
        await real.ask("pods", "web", "log")


@pytest.mark.conformance("Pods should support remote command execution over websockets")
async def test_exec_runs_a_command_and_tells_its_exit_code(real: Real) -> None:
    await real.run(pod())
    query = "command=sh&command=-c&command=echo+%24HOSTNAME%3B+cat%3B+exit+3&stdin=true&stdout=true&stderr=true"
    messages = await _websocket(real, "exec", query, [b"\x00typed", b"\xff\x00"])
    out = b"".join(m[1:] for m in messages if m[:1] == b"\x01")
    assert out == b"web\ntyped"
    status = json.loads(next(m[1:] for m in messages if m[:1] == b"\x03"))
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_unknown_command_is_reported_as_runtimes_do(real: Real) -> None:
    await real.run(pod())
    messages = await _websocket(real, "exec", "command=nonsense&stdout=true&stderr=true", [])
    status = json.loads(next(m[1:] for m in messages if m[:1] == b"\x03"))
    assert 'exec: "nonsense": executable file not found in $PATH' in status["message"]


async def _websocket(real: Real, sub: str, query: str, send: list[bytes]) -> list[bytes]:
    """Talk to a pod through the API server's route, over a pair of real sockets."""

    async def handler(request: Request) -> Any:
        call = real.call("web", sub)
        call.request = request
        return await real.routes["", "pods", sub](call)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    messages: list[bytes] = []
    async with trio.open_nursery() as nursery:

        async def serve(stream: trio.SocketStream) -> None:
            await serve_stream(stream, handler)

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        with trio.fail_after(10):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            ws = await websocket.connect(stream, "api", f"/x?{query}", ["v5.channel.k8s.io"])
            for message in send:
                await ws.send(message)
            while (message := await ws.receive()) is not None:
                assert isinstance(message, bytes)
                messages.append(message)
            await ws.aclose()
        nursery.cancel_scope.cancel()
    return messages


async def test_proxy_reaches_pods_and_kubelets(real: Real) -> None:
    await real.run(web())
    told = json.loads(await real.ask("pods", "web:18080", "proxy", rest="/hello"))
    assert told["path"] == "/hello"
    text = (await real.ask("nodes", "node-1", "proxy", rest="/metrics")).decode()
    assert 'kubelet_node_name{node="node-1"} 1' in text
    assert "kubelet_running_pods 1" in text


async def test_kubelet_tells_its_settings_and_what_runs(real: Real) -> None:
    await real.run(web())
    told = json.loads(await real.ask("nodes", "node-1", "proxy", rest="/configz"))["kubeletconfig"]
    assert told["evictionHard"]["memory.available"] == "100Mi"
    (found,) = json.loads(await real.ask("nodes", "node-1", "proxy", rest="/runningpods"))["items"]
    assert found["metadata"]["name"] == "web"
    assert [c["name"] for c in found["spec"]["containers"]] == ["app"]


async def test_kubelet_refuses_who_shows_nothing(real: Real) -> None:
    import ssl

    node = await real.client.get(NODES, "node-1")
    address = node["status"]["addresses"][0]["address"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    stream = trio.SSLStream(await trio.open_tcp_stream(address, 21250), context, https_compatible=True)
    await stream.send_all(b"GET /pods HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 401")
    await trio.aclose_forcefully(stream)


async def test_resource_metrics_name_every_container(real: Real) -> None:
    await real.run(web())
    text = (await real.ask("nodes", "node-1", "proxy", rest="/metrics/resource")).decode()
    assert 'container_cpu_usage_seconds_total{container="app",namespace="default",pod="web"}' in text
    assert "node_memory_working_set_bytes 33554432" in text
    text = (await real.ask("nodes", "node-1", "proxy", rest="/metrics/cadvisor")).decode()
    assert 'container_memory_working_set_bytes{container="app",id="/kubepods/besteffort/pod' in text
    told = json.loads(await real.ask("nodes", "node-1", "proxy", rest="/stats/summary"))
    assert told["pods"][0]["podRef"]["name"] == "web"
