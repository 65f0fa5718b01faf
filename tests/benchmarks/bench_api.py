"""What the API machinery costs between a Request and the store (memory store, no sockets, no TLS).

Prints microseconds for each operation beside the floor measured in the same run: encoding the same object once.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from kcore.http.messages import Request, StreamResponse

_HERE = Path(__file__).resolve().parent.parent / "api" / "conftest.py"
_spec = importlib.util.spec_from_file_location("api_conftest", _HERE)
assert _spec is not None
assert _spec.loader is not None
api_conftest = importlib.util.module_from_spec(_spec)
sys.modules["api_conftest"] = api_conftest
_spec.loader.exec_module(api_conftest)

PODS = "/api/v1/namespaces/default/pods"
HEADERS = {"authorization": "Bearer admintok", "content-type": "application/json", "accept": "application/json"}


def pod(name: str) -> dict[str, Any]:
    ports = [{"containerPort": 80, "name": "http", "protocol": "TCP"}]
    limits = {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}
    container = {"name": "main", "image": "nginx:1.27", "ports": ports, "resources": limits}
    labels = {"app": "web", "tier": "front", "pod-template-hash": "5d4f8"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container]},
    }


async def timed(count: int, run: Callable[[int], Awaitable[Any]]) -> float:
    """Best of three: microseconds a call."""
    best = float("inf")
    for round in range(3):
        gc.collect()
        began = time.perf_counter()
        for i in range(count):
            await run(round * count + i)
        best = min(best, (time.perf_counter() - began) / count)
    return best * 1e6


def report(name: str, measured: float, floor: float, target: str) -> None:
    print(f"{name:44} {measured:10.1f} us   {measured / floor:8.1f} x floor   target {target}")


@pytest.mark.benchmark
async def test_the_cost_of_requests(capsys: pytest.CaptureFixture[str]) -> None:
    async with api_conftest.serving() as api:
        server = api.server
        for i in range(5000):
            response = await server.handle(Request("POST", PODS, "", HEADERS, msgspec.json.encode(pod(f"p{i:05}"))))
            assert response.status == 201
        await server.feed.caught_up()
        entry = server.feed.cache("core/pods").get("default", "p00001")
        assert entry is not None
        obj = msgspec.json.decode(b"{" + entry.tail)
        began = time.perf_counter()
        for _ in range(2000):
            msgspec.json.encode(obj)
        floor = (time.perf_counter() - began) / 2000 * 1e6
        rows = [("floor: encode a stored pod", floor, "-")]

        async def get(i: int) -> None:
            response = await server.handle(Request("GET", f"{PODS}/p{i % 5000:05}", "", HEADERS))
            assert response.status == 200

        rows.append(("GET a pod", await timed(2000, get), "60 us"))

        async def create(i: int) -> None:
            body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c%d"},"data":{"a":"1"}}' % i
            request = Request("POST", "/api/v1/namespaces/default/configmaps", "", HEADERS, body)
            assert (await server.handle(request)).status == 201

        rows.append(("create a ConfigMap", await timed(1000, create), "250 us"))

        async def create_pod(i: int) -> None:
            body = msgspec.json.encode(pod(f"q{i}"))
            assert (
                await server.handle(Request("POST", "/api/v1/namespaces/kube-public/pods", "", HEADERS, body))
            ).status == 201

        rows.append(("create a pod", await timed(300, create_pod), "-"))
        merge = {**HEADERS, "content-type": "application/merge-patch+json"}

        async def patch(i: int) -> None:
            body = b'{"metadata":{"annotations":{"n":"%d"}}}' % i
            assert (await server.handle(Request("PATCH", f"{PODS}/p{i % 5000:05}", "", merge, body))).status == 200

        rows.append(("merge-patch a pod", await timed(300, patch), "-"))

        async def status(i: int) -> None:
            body = b'{"status":{"phase":"Running","podIP":"127.0.0.%d"}}' % (i % 250)
            path = f"{PODS}/p{i % 5000:05}/status"
            assert (await server.handle(Request("PATCH", path, "", merge, body))).status == 200

        rows.append(("merge-patch a pod's status", await timed(300, status), "-"))

        async def listing(_: int) -> None:
            response = await server.handle(Request("GET", PODS, "", HEADERS))
            assert response.status == 200

        rows.append(("LIST 5,000 pods", await timed(5, listing), "15,000 us"))
        rows.append(("fan-out to 1,000 watchers, each", await fan_out(server), "30 us"))
        with capsys.disabled():
            print()
            for name, measured, target in rows:
                report(name, measured, floor, target)


async def fan_out(server: Any) -> float:
    """Microseconds a watcher between one write and its bytes in every watcher's hands."""
    watchers = 1000
    got = 0
    done = trio.Event()

    async def follow(response: StreamResponse) -> None:
        nonlocal got
        async for line in response.body:
            assert line.startswith(b'{"type":"')
            got += 1
            if got % watchers == 0:
                done.set()

    best = float("inf")
    async with trio.open_nursery() as nursery:
        query = f"watch=1&resourceVersion={server.store.revision}"
        path = "/api/v1/namespaces/default/configmaps"
        for _ in range(watchers):
            nursery.start_soon(follow, await server.handle(Request("GET", path, query, HEADERS)))
        await trio.testing.wait_all_tasks_blocked()
        for i in range(5):
            done = trio.Event()
            body = b'{"metadata":{"name":"fan%d"},"data":{"a":"1"}}' % i
            began = time.perf_counter()
            await server.handle(Request("POST", path, "", HEADERS, body))
            await done.wait()
            best = min(best, (time.perf_counter() - began) / watchers)
        nursery.cancel_scope.cancel()
    return best * 1e6
