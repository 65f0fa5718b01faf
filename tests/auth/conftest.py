"""An API server's place, for the plugins that look at it, and one that runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from kcore.http.client import Answer, HttpClient
from kcore.kubeconfig import load
from kcore.pki import Pki, client_context
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient
from kcore.testing.running import RunningCluster, running

TOKENS = 'admintok,admin,admin-uid,"system:masters"\nweaktok,weak,weak-uid,"weakgroup"\n'


@pytest.fixture
def context(tmp_path: Path) -> Any:
    """A context whose part ``api`` has a PKI and empty lists, and whose client is in memory."""
    server = SimpleNamespace(authenticators=[], authorizers=[])
    api = SimpleNamespace(pki=Pki.open(tmp_path), server=server)
    return TestContext(tmp_path, api=MemoryClient(), parts={"api": api})


@attrs.define
class Api:
    """A running API server, and requests to it."""

    cluster: RunningCluster

    @property
    def url(self) -> str:
        return load(self.cluster.kubeconfig).server

    @property
    def pki(self) -> Pki:
        return Pki.open(self.cluster.directory)

    @asynccontextmanager
    async def client(self, certificate: tuple[bytes, bytes] = (b"", b"")) -> AsyncIterator[HttpClient]:
        http = HttpClient(self.url, client_context(self.pki.ca_pem, *certificate))
        try:
            yield http
        finally:
            await http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        certificate: tuple[bytes, bytes] = (b"", b""),
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """(status, decoded body)."""
        answer = await self.answer(method, path, body, token=token, certificate=certificate, headers=headers)
        return answer.status, json.loads(answer.body) if answer.body[:1] in b"{[" else answer.body.decode()

    async def answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        certificate: tuple[bytes, bytes] = (b"", b""),
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {"Content-Type": "application/json", **(headers or {})}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        async with self.client(certificate) as http:
            return await http.request(method, path, b"" if body is None else json.dumps(body).encode(), sent)

    async def who(self, **credentials: Any) -> dict[str, Any] | int:
        """Whom the server takes the bearer for (SelfSubjectReview), or the status of its refusal."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        code, answer = await self.ask("POST", path, body, **credentials)
        if code != 201:
            return code
        found: dict[str, Any] = answer["status"]["userInfo"]
        return found


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API server alone, with fixed tokens for admin and weak."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.csv"
    file.write_text(TOKENS)
    names = ["request-header", "certificate", "tokens", "serviceaccount", "bootstrap-token", "anonymous"]
    settings = {"api.authentication": names, "api.settings.tokens.file": str(file)}
    with running("api-only", set=settings) as cluster:
        yield Api(cluster)
