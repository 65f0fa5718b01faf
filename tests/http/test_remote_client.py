"""The Client contract over TLS, against a server that answers from a table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from kcore import errors, kubeconfig
from kcore.client import APPLY_PATCH
from kcore.client.remote import RemoteClient, connect
from kcore.http.listen import bound, listen
from kcore.http.messages import AnyResponse, Request, Response, StreamResponse
from kcore.http.server import Limits, serve
from kcore.http.wire import status_response
from kcore.objects.resources import NODES, PODS
from kcore.pki import Pki, x509


class Server:
    """Answers with what a test has put into it, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answers: list[AnyResponse | errors.ApiError] = []

    async def handle(self, request: Request) -> AnyResponse:
        self.asked.append(request)
        answer = self.answers.pop(0)
        return status_response(answer) if isinstance(answer, errors.ApiError) else answer

    def say(self, value: Any) -> None:
        self.answers.append(Response(200, json.dumps(value).encode()))


@asynccontextmanager
async def cluster(tmp_path: Path, limits: Limits | None = None) -> AsyncIterator[tuple[Server, RemoteClient]]:
    pki = Pki.open(tmp_path)
    certificate, key = pki.client_certificate("system:node:n1", ["system:nodes"])
    server = Server()
    listener = await listen(0)
    kubeconfig.write(tmp_path / "config", f"https://127.0.0.1:{bound(listener)[1]}", pki.ca_pem, certificate, key)
    tls = pki.server_context(["127.0.0.1"])
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve(
                server.handle, [listener], ssl_context=tls, limits=limits, task_status=task_status
            )
        )
        async with connect(kubeconfig.load(tmp_path / "config")) as client:
            yield server, client
        nursery.cancel_scope.cancel()


async def test_a_client_is_known_by_its_certificate(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client):
        server.say({"kind": "Pod"})
        assert await client.get(PODS, "p", "ns") == {"kind": "Pod"}
    request = server.asked[0]
    assert (request.method, request.path) == ("GET", "/api/v1/namespaces/ns/pods/p")
    assert request.peer_certificate is not None
    found = x509.summary(request.peer_certificate)
    assert (found.common_name, found.organizations) == ("system:node:n1", ("system:nodes",))


async def test_every_method_sends_what_the_api_expects(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client):
        pod = {"metadata": {"name": "p", "namespace": "ns"}}
        for _ in range(8):
            server.say({})
        await client.create(PODS, pod)
        await client.create(PODS, {"target": {"name": "n1"}}, "ns", name="p", subresource="binding")
        await client.update(PODS, pod, subresource="status")
        await client.patch(PODS, "p", {"a": 1}, "ns", type=APPLY_PATCH, field_manager="me", force=True)
        await client.delete(PODS, "p", "ns", grace_seconds=0, propagation="Foreground", uid="u")
        await client.delete_collection(PODS, "ns", label_selector="a in (b,c)")
        await client.list(NODES, limit=5, continue_token="x==")
    told = [(r.method, r.path, r.query, r.body.decode()) for r in server.asked]
    ns = "/api/v1/namespaces/ns/pods"
    assert told == [
        ("POST", ns, "", '{"metadata":{"name":"p","namespace":"ns"}}'),
        ("POST", f"{ns}/p/binding", "", '{"target":{"name":"n1"}}'),
        ("PUT", f"{ns}/p/status", "", '{"metadata":{"name":"p","namespace":"ns"}}'),
        ("PATCH", f"{ns}/p", "fieldManager=me&force=true", '{"a":1}'),
        (
            "DELETE",
            f"{ns}/p",
            "",
            '{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0,"propagationPolicy":"Foreground",'
            '"preconditions":{"uid":"u"}}',
        ),
        ("DELETE", ns, "labelSelector=a+in+%28b%2Cc%29", ""),
        ("GET", "/api/v1/nodes", "limit=5&continue=x%3D%3D", ""),
    ]
    assert server.asked[3].headers["content-type"] == APPLY_PATCH


async def test_a_page_of_a_list(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client):
        server.say({"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [{"metadata": {"name": "a"}}]})
        page = await client.list(PODS)
    assert (page.resource_version, page.continue_token) == ("7", "more")
    assert page.items == [{"metadata": {"name": "a"}, "apiVersion": "v1", "kind": "Pod"}]


async def test_the_servers_error_is_raised_as_what_it_is(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client):
        server.answers += [
            errors.not_found("pods", "p"),
            errors.Gone("too old", reason="Gone"),
            Response(502, b"bad gateway", "text/plain"),
        ]
        with pytest.raises(errors.NotFound, match='pods "p" not found'):
            await client.get(PODS, "p", "ns")
        with pytest.raises(errors.Gone):
            await client.list(PODS)
        with pytest.raises(errors.ApiError, match="bad gateway") as caught:
            await client.list(PODS)
        assert caught.value.code == 502


def events(*lines: Any, fail: bool = False) -> StreamResponse:
    async def pieces() -> AsyncIterator[bytes]:
        text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        yield text[:10]
        yield text[10:]
        if fail:
            await trio.sleep_forever()

    return StreamResponse(pieces())


async def test_a_watch_yields_events_until_the_server_ends_it(tmp_path: Path) -> None:
    one, two = {"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}
    async with cluster(tmp_path) as (server, client):
        server.answers.append(events({"type": "ADDED", "object": one}, {"type": "DELETED", "object": two}))
        async with client.watch(PODS, "ns", resource_version="5") as stream:
            seen = [(e.type, e.object) async for e in stream]
    assert seen == [("ADDED", one), ("DELETED", two)]
    assert server.asked[0].query == "watch=1&allowWatchBookmarks=true&resourceVersion=5"


async def test_a_watch_that_is_too_old_raises_gone_at_once_or_later(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client):
        expired = errors.Gone("too old resource version: 1 (5)")
        server.answers += [expired, events({"type": "ERROR", "object": expired.status()})]
        with pytest.raises(errors.Gone):
            async with client.watch(PODS, resource_version="1"):
                pass
        async with client.watch(PODS, resource_version="1") as stream:
            with pytest.raises(errors.Gone):
                await anext(stream)


async def test_leaving_a_watch_closes_its_connection(tmp_path: Path) -> None:
    closed = trio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b'{"type":"ADDED","object":{}}\n'
            await trio.sleep_forever()
        finally:
            closed.set()

    async with cluster(tmp_path) as (server, client):
        server.answers.append(StreamResponse(endless()))
        async with client.watch(PODS, resource_version="1") as stream:
            async for _ in stream:
                break
        await closed.wait()


async def test_a_connection_is_used_again_and_one_that_went_stale_is_replaced(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client):
        for _ in range(3):
            server.say({})
        server.answers[1].close = True  # type: ignore[union-attr]
        for _ in range(3):
            await client.get(NODES, "n")
    peers = [r.peer for r in server.asked]
    assert peers[0] == peers[1] != peers[2]


async def test_no_server_is_an_oserror(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        settings = kubeconfig.load(tmp_path / "config")
    assert client.http
    async with connect(settings) as orphan:
        with pytest.raises(OSError, match=r"127\.0\.0\.1"):
            await orphan.get(NODES, "n")


async def test_a_foreign_ca_and_a_certificate_of_somebody_else_get_no_answer_and_plain_http_a_refusal(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with cluster(tmp_path) as (server, client):
        foreign = Pki.open(tmp_path / "foreign")
        certificate, key = foreign.client_certificate("admin", ["system:masters"])
        settings = kubeconfig.load(tmp_path / "config")
        url, ca = settings.server, settings.ca_pem
        for bad in (
            kubeconfig.Connection(url, ca, certificate, key),  # signed by somebody else
            kubeconfig.Connection(url, foreign.ca_pem),  # does not trust us
        ):
            async with connect(bad) as stranger:
                with pytest.raises(OSError, match=r"no TLS|closed|broke"):
                    await stranger.get(NODES, "n")
        async with connect(kubeconfig.Connection(url.replace("https", "http"), ca)) as plain:
            with pytest.raises(errors.ApiError, match="Client sent an HTTP request to an HTTPS server"):
                await plain.get(NODES, "n")
        assert server.asked == []
        server.say({})
        await client.get(NODES, "n")
