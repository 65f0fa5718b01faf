"""Kubelets that listen, and a client that knows who may see their metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from kcore_metrics_prometheus import ResourceMetricsConfig, open_routes
from kcore_nodes import NodesConfig, open_embedded
from kcore_nodes.nodes import Nodes
from kcore_runtime_fake import FakeConfig, open_fake

from kcore.api.auth import User
from kcore.api.routes import Call, Routes
from kcore.client.delegation import ACCESS_REVIEWS, TOKEN_REVIEWS
from kcore.http.client import HttpClient
from kcore.http.messages import Request
from kcore.objects import Object
from kcore.objects.resources import GVR, NODES, PODS
from kcore.pki import Pki
from kcore.registry import Choice, Provider
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient

USERS = {"token-of-prometheus": "prometheus", "token-of-nobody": "nobody"}
PORT = 21350


class ReviewingClient(MemoryClient):
    """State, and two users: `prometheus` may get metrics, `nobody` may do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Object] = []
        """The SubjectAccessReviews, in order."""

    async def create(
        self, resource: GVR, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        if resource == TOKEN_REVIEWS:
            user = USERS.get(obj["spec"]["token"])
            return {"status": {"authenticated": True, "user": {"username": user}} if user else {}}
        if resource == ACCESS_REVIEWS:
            self.asked.append(obj["spec"])
            what = obj["spec"].get("resourceAttributes") or obj["spec"]["nonResourceAttributes"]
            metrics = what.get("subresource") == "metrics" or what.get("path") == "/metrics"
            allowed = obj["spec"]["user"] == "prometheus" and what["verb"] == "get" and metrics
            return {"status": {"allowed": allowed}}
        return await super().create(resource, obj, namespace, name=name, subresource=subresource)


async def fetch(url: str, path: str, pki: Pki, *, token: str = "", certificate: tuple[str, str] | None = None) -> Any:
    """GET as the bearer of a token, or as (user, group) by a certificate of the cluster's CA, or as nobody."""
    context = pki.client_context(*(pki.client_certificate(certificate[0], [certificate[1]]) if certificate else ()))
    context.check_hostname = False
    client = HttpClient(url, context if url.startswith("https") else None, timeout=10)
    try:
        return await client.request("GET", path, headers={"authorization": f"Bearer {token}"} if token else {})
    finally:
        await client.aclose()


@attrs.define
class Kubelets:
    client: ReviewingClient
    nodes: Nodes
    context: TestContext
    routes: Routes

    async def run(self, *pods: Object) -> None:
        """Create the pods; return when all are ready."""
        waiting = {p["metadata"]["name"] for p in pods}
        for p in pods:
            await self.client.create(PODS, p, "default")
        with trio.fail_after(10):
            async with self.client.watch(PODS, "default", resource_version="0") as events:
                async for event in events:
                    conditions = (event.object.get("status") or {}).get("conditions") or ()
                    if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                        waiting.discard(event.object["metadata"]["name"])
                    if not waiting:
                        return

    async def ask(self, resource: str, name: str = "", *, namespace: str = "", query: str = "") -> Object:
        """What metrics.k8s.io answers."""
        request = Request("GET", f"/apis/metrics.k8s.io/v1beta1/{resource}/{name}", query, {"host": "api"})
        verb = "get" if name else "list"
        call = Call(request, User("admin"), verb, None, namespace, name, "", "", self.client)
        answer = await self.routes.resources["metrics.k8s.io", resource, ""](call)
        assert isinstance(answer, dict)
        return answer

    async def kubelet(self, node: str, path: str, **who: Any) -> Any:
        status = (await self.client.get(NODES, node))["status"]
        return await fetch(f"https://{status['addresses'][0]['address']}:{PORT}", path, self.pki, **who)

    @property
    def pki(self) -> Pki:
        return Pki.open(self.context.keys)


@asynccontextmanager
async def kubelets(path: Path, client: ReviewingClient) -> AsyncIterator[Kubelets]:
    choice = Choice(Provider("fake", open_fake, FakeConfig), FakeConfig(sockets=False))
    context = TestContext(path, name="nodes", api=client, choices={("runtime", "fake"): choice})
    async with (
        open_embedded(context, NodesConfig(count=2, port=PORT)) as nodes,
        open_routes(context, ResourceMetricsConfig(node_timeout=2.0)) as routes,
    ):
        await nodes.ready()
        yield Kubelets(client, nodes, context, routes)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Kubelets]:
    async with kubelets(tmp_path, ReviewingClient()) as made:
        yield made


def pod(name: str, node: str, volumes: Any = (), **labels: str) -> Object:
    containers = [{"name": "app", "image": "app:1"}, {"name": "side", "image": "side:1"}]
    spec = {"nodeName": node, "restartPolicy": "Always", "containers": containers, "volumes": list(volumes)}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}
