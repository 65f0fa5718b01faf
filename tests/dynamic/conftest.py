"""Dynamic admission: an API server, and webhooks that answer over TLS on loopback as each test wants them to."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from kcore_admission_policies.mutating import MutatingAdmissionPolicy
from kcore_admission_policies.validating import ValidatingAdmissionPolicy
from kcore_webhooks.mutating import MutatingAdmissionWebhook
from kcore_webhooks.validating import ValidatingAdmissionWebhook

from kcore.http.listen import bound, listen
from kcore.http.messages import Request, Response
from kcore.http.server import serve
from kcore.pki import Pki
from tests.api.conftest import Api, serving

REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
Answer = Callable[[dict[str, Any]], Any]


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    """A response that changes the object."""
    return {"patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(operations)).decode()}


def label(name: str, value: str = "yes") -> dict[str, Any]:
    """A response that adds a label to an object that has some."""
    return patch({"op": "add", "path": f"/metadata/labels/{name}", "value": value})


def approve(asked: dict[str, Any], **more: Any) -> dict[str, Any]:
    response = {"uid": asked["uid"], "allowed": True, **more}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


@attrs.define
class Hooks:
    """A webhook server. A path's answer is a response (merged into an approval), a function of the AdmissionRequest
    that gives one, or a `Response` that is sent as it is."""

    port: int
    ca: str
    answers: dict[str, Any] = attrs.Factory(dict)
    asked: list[dict[str, Any]] = attrs.Factory(list)
    requests: list[Request] = attrs.Factory(list)
    connections: int = 0

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    def client(self, path: str) -> dict[str, Any]:
        return {"url": self.url(path), "caBundle": self.ca}

    async def handle(self, request: Request) -> Response:
        asked = msgspec.json.decode(request.body)["request"]
        self.asked.append(asked)
        self.requests.append(request)
        answer = self.answers.get(request.path, {})
        if callable(answer):
            answer = answer(asked)
            if isinstance(answer, Awaitable):
                answer = await answer
        if isinstance(answer, Response):
            return answer
        return Response(200, msgspec.json.encode(approve(asked, **answer)))

    def of(self, path: str) -> list[dict[str, Any]]:
        """What a path was asked."""
        return [asked for asked, request in zip(self.asked, self.requests, strict=True) if request.path == path]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@asynccontextmanager
async def serving_hooks(pki: Pki, *names: str, host: str = "127.0.0.1", tls: bool = True) -> AsyncIterator[Hooks]:
    listener = await listen(0, host)
    hooks = Hooks(bound(listener)[1], base64.b64encode(pki.ca_pem).decode())
    context = pki.server_context(names or [host]) if tls else None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(serve, hooks.handle, [listener], ssl_context=context, log=logging.getLogger("hooks"))
        )
        yield hooks
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def dynamic(**more: Any) -> AsyncIterator[Api]:
    """An API server with all four plugins of dynamic admission."""
    async with serving(**more) as api:
        for plugin in (
            MutatingAdmissionPolicy,
            MutatingAdmissionWebhook,
            ValidatingAdmissionPolicy,
            ValidatingAdmissionWebhook,
        ):
            api.server.admission.append(plugin(api.server))
        yield api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with dynamic() as api:
        yield api


@pytest.fixture
async def hooks(pki: Pki) -> AsyncIterator[Hooks]:
    async with serving_hooks(pki) as hooks:
        yield hooks


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}


def webhook(client: dict[str, Any], name: str = "a.example.com", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "clientConfig": client,
        "rules": [RULE],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
        **more,
    }


async def register(api: Api, kind: str, *webhooks: dict[str, Any], name: str = "test") -> None:
    """A configuration of webhooks, in force when this returns. `kind`: Mutating or Validating."""
    body = {"metadata": {"name": name}, "webhooks": list(webhooks)}
    await api.call("POST", f"{REGISTRATION}/{kind.lower()}webhookconfigurations", body, expect=201)
    await api.server.feed.caught_up()


def config_map(name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"app": "x"}, **metadata}, "data": {"k": "v"}}


async def create(api: Api, body: dict[str, Any] | None = None, *, expect: int = 201, query: str = "") -> Any:
    path = f"/api/v1/namespaces/default/configmaps{query}"
    return await api.call("POST", path, body or config_map(), expect=expect)
