"""An API server on a memory store, with the built-in kinds, driven through `handle` and through its client."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import kcore_kinds
import msgspec
import pytest
import trio
from kcore_kinds import bundle
from kcore_store_memory.store import MemoryStore

from kcore.api.admission import Admission
from kcore.api.auth import Attributes, Decision, User
from kcore.api.kinds import KindTable
from kcore.api.routes import Routes
from kcore.api.server import ApiServer
from kcore.client import Client
from kcore.http.messages import Request, Response, StreamResponse
from kcore.metrics import Metrics
from kcore.pki import Pki
from kcore.registry import Cluster

from .converting import Converter, converted, converting, declare, extended

ADMIN = User("admin", ("system:masters",), "admin-uid")


class Tokens:
    """Knows users by their bearer token."""

    def __init__(self) -> None:
        self.users = {"admintok": ADMIN, "weaktok": User("weak", ("weakgroup",), "weak-uid")}

    async def authenticate(self, request: Request) -> User | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self.users.get(token) if scheme == "Bearer" else None


class Masters:
    """Allows system:masters everything and others nothing."""

    async def authorize(self, attributes: Attributes) -> Decision:
        return Decision(True if "system:masters" in attributes.user.groups else None)


@attrs.define
class Api:
    """A running server and short ways to call it as admin."""

    server: ApiServer
    store: MemoryStore

    @property
    def client(self) -> Client:
        return self.server.client(ADMIN)

    async def send(
        self, method: str, path: str, body: Any = None, *, token: str = "admintok", **headers: str
    ) -> Response:
        path, _, query = path.partition("?")
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        if token:
            sent["authorization"] = f"Bearer {token}"
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        if raw:
            sent.setdefault("content-type", "application/json")
        response = await self.server.handle(Request(method, path, query, sent, raw))
        assert isinstance(response, Response)
        return response

    async def call(self, method: str, path: str, body: Any = None, *, expect: int = 0, **headers: str) -> Any:
        """The decoded answer; with `expect`, checked for its status."""
        response = await self.send(method, path, body, **headers)
        raw = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        doc = msgspec.json.decode(raw) if response.content_type.startswith("application/json") else raw
        if expect:
            assert response.status == expect, doc
        return doc

    async def watch(self, path: str, **headers: str) -> Stream:
        path, _, query = path.partition("?")
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        request = Request("GET", path, query, {"authorization": "Bearer admintok", **headers})
        response = await self.server.handle(request)
        assert isinstance(response, StreamResponse), response
        return Stream(response)


class Stream:
    """The events of a watch over HTTP."""

    def __init__(self, response: StreamResponse) -> None:
        self.response = response
        self._lines: list[bytes] = []

    async def next(self) -> Any:
        """The next event; None at the end of the stream."""
        while not self._lines:
            try:
                self._lines = (await self.response.body.__anext__()).splitlines()
            except StopAsyncIteration:
                return None
        return msgspec.json.decode(self._lines.pop(0))

    async def close(self) -> None:
        await self.response.body.aclose()  # type: ignore[attr-defined]


@asynccontextmanager
async def serving(
    *, admission: list[Admission] | None = None, routes: list[Routes] | None = None, store: MemoryStore | None = None
) -> AsyncIterator[Api]:
    """A server with the built-in kinds and the namespace ``default``."""
    kinds = KindTable(bundle)
    for kind in kcore_kinds.kcore_kinds():
        kinds.add(kind)
    own = store is None
    store = store or MemoryStore(20_000, 0)
    server = ApiServer(
        store,
        kinds,
        cluster=Cluster(service_cidr="10.96.0.0/16"),
        authenticators=[Tokens()],
        authorizers=[Masters()],
        admission=admission or [],
        routes=routes or [],
        metrics=Metrics("apiserver"),
        log=logging.getLogger("kcore.api"),
    )
    async with trio.open_nursery() as nursery:
        if own:
            nursery.start_soon(store.run)
        await nursery.start(server.run)
        api = Api(server, store)
        yield api
        nursery.cancel_scope.cancel()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving() as running:
        yield running


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def converter(api: Api, pki: Pki) -> AsyncIterator[Converter]:
    """Answers for the definition of W, which the server has."""
    async with converting(pki) as server, extended(api):
        await declare(api, converted(server.client))
        yield server
