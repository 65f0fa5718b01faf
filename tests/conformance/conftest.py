"""One whole cluster on the virtual clock, and a plain HTTP client of its API; for real clients, a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from kubernetes import config
from kubernetes.client import ApiClient
from trio.testing import MockClock

from kcore.api.auth import User
from kcore.http.messages import Request, Response, StreamResponse
from kcore.objects import Object
from kcore.testing.running import RunningCluster
from kcore.testing.virtual import VirtualCluster, virtual_cluster
from tests.clients.conftest import Kubectl, wait_until
from tests.clients.conftest import cluster as cluster
from tests.clients.conftest import kubectl as kubectl
from tests.conformance.hooks import Hooks, serving
from tests.conformance.pods import Pods

ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))
_JSON = "application/json"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


@attrs.define
class Api:
    """The API of a running cluster, spoken to in HTTP."""

    cluster: VirtualCluster

    async def send(self, method: str, path: str, body: Any = None, *, user: User = ADMIN, **headers: str) -> Any:
        path, _, query = path.partition("?")
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        if raw:
            sent.setdefault("content-type", "application/json")
        return await self.cluster.kernel.parts["api"].server.handle_as(Request(method, path, query, sent, raw), user)

    async def call(self, method: str, path: str, body: Any = None, expect: int = 0, **headers: str) -> Any:
        """The decoded answer."""
        response = await self.send(method, path, body, **headers)
        assert isinstance(response, Response), response
        raw = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        answer = msgspec.json.decode(raw)
        assert response.status == expect if expect else response.status < 300, answer
        return answer

    async def get(self, path: str, expect: int = 0, **headers: str) -> Any:
        return await self.call("GET", path, None, expect, **headers)

    async def post(self, path: str, body: Any, expect: int = 0, **headers: str) -> Any:
        return await self.call("POST", path, body, expect, **headers)

    async def put(self, path: str, body: Any, expect: int = 0) -> Any:
        return await self.call("PUT", path, body, expect)

    async def patch(self, path: str, body: Any, expect: int = 0, type: str = MERGE) -> Any:
        return await self.call("PATCH", path, body, expect, content_type=type)

    async def delete(self, path: str, body: Any = None, expect: int = 0) -> Any:
        return await self.call("DELETE", path, body, expect)

    async def watch(self, path: str) -> Events:
        response = await self.send("GET", path + ("&" if "?" in path else "?") + "watch=true")
        assert isinstance(response, StreamResponse), response
        return Events(response)

    async def gone(self, path: str) -> bool:
        return bool((await self.send("GET", path)).status == 404)

    async def names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await self.get(path))["items"]]

    async def later(self, seconds: float) -> None:
        """Let the cluster live on."""
        for _ in range(round(seconds * 10)):
            await trio.sleep(0.1)

    async def until(self, what: Any, seconds: float = 120) -> None:
        await self.cluster.until(what, seconds=seconds)


class Events:
    """A watch."""

    def __init__(self, response: StreamResponse) -> None:
        self._response = response
        self._lines: list[bytes] = []

    async def next(self) -> Object:
        while not self._lines:
            self._lines = (await self._response.body.__anext__()).splitlines()
        event: Object = msgspec.json.decode(self._lines.pop(0))
        return event

    async def seen(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next events."""
        found = [await self.next() for _ in range(count)]
        return [(e["type"], e["object"]["metadata"]["name"]) for e in found]

    async def close(self) -> None:
        await self._response.body.aclose()  # type: ignore[attr-defined]


@pytest.fixture
async def api(autojump_clock: MockClock, tmp_path: Path) -> AsyncIterator[Api]:
    async with virtual_cluster(tmp_path) as cluster:
        yield Api(cluster)


# --- clusters that are processes of their own, for real clients -----------------------------------------------------


@attrs.define
class Place:
    """A namespace of a running cluster, the real kubectl in it, and the official Python client."""

    kubectl: Kubectl
    client: ApiClient
    hooks: Hooks

    @property
    def namespace(self) -> str:
        return self.kubectl.namespace

    def answer(self, method: str, path: str, body: Any = None, type: str = "", **headers: str) -> tuple[int, Any]:
        """Status and decoded answer of a request by the client's own pool of connections."""
        sent = {"Accept": _JSON, "Content-Type": type or (MERGE if method == "PATCH" else _JSON), **headers}
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        url = self.client.configuration.host + path
        found = self.client.rest_client.pool_manager.request(method, url, body=raw, headers=sent, retries=False)
        return found.status, msgspec.json.decode(found.data) if found.data[:1] == b"{" else found.data.decode()

    def call(self, method: str, path: str, body: Any = None, expect: int = 0, type: str = "", **headers: str) -> Any:
        """The decoded answer, which is a success, or has the status that is expected."""
        status, found = self.answer(method, path, body, type, **headers)
        assert status == expect if expect else status < 300, found
        return found

    def until(self, look: Any, seconds: float = 20) -> Any:
        return wait_until(look, bool, seconds)


@pytest.fixture(scope="package")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooks]:
    with serving(tmp_path_factory.mktemp("hooks")) as hooks:
        yield hooks


@pytest.fixture
def place(kubectl: Kubectl, hooks: Hooks) -> Iterator[Place]:
    with config.new_client_from_config(str(kubectl.cluster.kubeconfig)) as made:
        yield Place(kubectl, made, hooks)


# --- pods on a node --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="package", params=["fake"])
def runtime(request: pytest.FixtureRequest) -> str:
    """What runs the containers of `pods`."""
    return str(request.param)


@pytest.fixture(scope="package")
def pods(runtime: str, cluster: RunningCluster) -> Iterator[Pods]:
    """A namespace for pods of all tests: each names its own."""
    cluster.kubectl("create", "namespace", "pods")
    with config.new_client_from_config(str(cluster.kubeconfig)) as client:
        made = Pods(cluster, client, "pods")
        wait_until(lambda: made.call("GET", "serviceaccounts")["items"], bool)
        yield made
