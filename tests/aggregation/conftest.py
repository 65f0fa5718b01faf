"""An API server with a server behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from kcore.http import strangers
from kcore.http.client import Answer, HttpClient
from kcore.http.listen import bound, listen
from kcore.http.messages import AnyResponse, Handler, Request, Response
from kcore.http.server import serve
from kcore.kubeconfig import load
from kcore.pki import Pki, client_context
from kcore.testing.running import RunningCluster, running


@attrs.define
class Api:
    cluster: RunningCluster

    @property
    def pki(self) -> Pki:
        return Pki.open(self.cluster.directory)

    @asynccontextmanager
    async def client(self, user: str = "admin", *groups: str) -> AsyncIterator[HttpClient]:
        certificate = self.pki.client_certificate(user, groups or ("system:masters",))
        http = HttpClient(load(self.cluster.kubeconfig).server, client_context(self.pki.ca_pem, *certificate))
        try:
            yield http
        finally:
            await http.aclose()

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[Answer, Any]:
        sent = {"Content-Type": "application/json", **(headers or {})}
        async with self.client() as http:
            answer = await http.request(method, path, b"" if body is None else json.dumps(body).encode(), sent)
        return answer, json.loads(answer.body) if answer.body[:1] == b"{" else answer.body.decode()

    async def service(self, name: str, port: int, *, ready: bool = True) -> None:
        """A service in the namespace default whose one endpoint is 127.0.0.1:port."""
        spec = {"ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}
        await self.make("/api/v1/namespaces/default/services", {"metadata": {"name": name}, "spec": spec})
        ends = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": ready}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        await self.make("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", ends)

    async def make(self, path: str, body: Any) -> Any:
        answer, made = await self.ask("POST", path, body)
        assert answer.status == 201, made
        return made

    async def api_service(self, group: str, service: str, **spec: Any) -> None:
        wanted = {
            "group": group,
            "version": "v1",
            "groupPriorityMinimum": 1500,
            "versionPriority": 15,
            "service": {"name": service, "namespace": "default"},
            **spec,
        }
        path = "/apis/apiregistration.k8s.io/v1/apiservices"
        await self.make(path, {"metadata": {"name": f"v1.{group}"}, "spec": wanted})

    async def until(self, path: str, status: int) -> None:
        """A GET is answered with that status now, or soon."""
        with trio.fail_after(10):
            while True:
                answer, _ = await self.ask("GET", path)
                if answer.status == status:
                    return
                await trio.sleep(0.02)

    async def available(self, name: str, reason: str) -> dict[str, Any]:
        """The condition Available of an APIService, when it has that reason."""
        with trio.fail_after(20):
            while True:
                _, found = await self.ask("GET", f"/apis/apiregistration.k8s.io/v1/apiservices/{name}")
                for condition in (found.get("status") or {}).get("conditions") or ():
                    if condition["type"] == "Available" and condition["reason"] == reason:
                        assert isinstance(condition, dict)
                        return condition
                await trio.sleep(0.05)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    names = ["request-header", "certificate", "anonymous"]
    with running("api-only", set={"api.authentication": names, "api.extensions": ["aggregation"]}) as cluster:
        yield Api(cluster)


GROUP = "wardle.example.com"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1",
    "resources": [
        {"name": "fish", "singularName": "fish", "namespaced": True, "kind": "Fish", "verbs": ["get", "list"]},
        {"name": "fish/status", "singularName": "", "namespaced": True, "kind": "Fish", "verbs": ["get"]},
    ],
}


@attrs.define
class Backing:
    """A server behind the API server: what it was asked, and how it answers beside discovery."""

    api: Api
    names: tuple[str, ...]
    directory: Path
    handler: Handler | None = None
    requests: list[Request] = attrs.Factory(list)
    certificates: list[bytes | None] = attrs.Factory(list)
    port: int = 0
    documented: bool = True  # it answers for its documents itself

    @property
    def ca(self) -> bytes:
        return Pki.open(self.directory).ca_pem

    async def handle(self, request: Request) -> AnyResponse:
        documents = {
            f"/apis/{GROUP}/v1": RESOURCES,
            "/openapi/v3": {"paths": {f"apis/{GROUP}/v1": {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}/v1?h=1"}}},
            f"/openapi/v3/apis/{GROUP}/v1": {"openapi": "3.0.0", "info": {"title": "fish"}},
        }
        if self.documented and request.path in documents:
            return Response(200, json.dumps(documents[request.path]).encode())
        self.requests.append(request)
        self.certificates.append(request.peer_unverified)
        assert self.handler is not None
        return await self.handler(request)


@asynccontextmanager
async def backing(api: Api, directory: Path, *names: str) -> AsyncIterator[Backing]:
    """Serves with a certificate for `names`, of an authority of its own."""
    own = Backing(api, names, directory)
    context = Pki.open(directory).server_context(names)
    strangers.admit(context)
    listener = await listen(0, "127.0.0.1")
    own.port = bound(listener)[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, own.handle, [listener], ssl_context=context))
        yield own
        nursery.cancel_scope.cancel()
