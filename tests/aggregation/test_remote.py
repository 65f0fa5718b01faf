"""A server behind the API server: found, asked in the user's name, and told of in the documents."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from kcore.http.messages import AnyResponse, Request, Response, StreamResponse, UpgradeResponse, values
from kcore.pki import Pki, x509

from .conftest import GROUP, Api, Backing, backing

FISH = f"/apis/{GROUP}/v1/namespaces/default/fish"


async def _pieces() -> AsyncIterator[bytes]:
    for n in range(3):
        yield b'{"type":"ADDED","object":{"kind":"Fish","n":%d}}\n' % n


async def _answer(request: Request) -> AnyResponse:
    if "watch=1" in request.query:
        return StreamResponse(_pieces())
    if request.headers.get("upgrade"):

        async def echo(stream: trio.abc.Stream, early: bytes) -> None:
            data = early or bytes(await stream.receive_some())
            while data:
                await stream.send_all(data.upper())
                data = bytes(await stream.receive_some())

        return UpgradeResponse(echo, [(b"upgrade", b"shout"), (b"connection", b"Upgrade")])
    if request.path.endswith("/big"):
        return Response(200, b"x" * 20_000_000, "text/plain")
    return Response(200, b'{"kind":"FishList","items":[]}')


async def _discovery(api: Api) -> None:
    _, groups = await api.ask("GET", "/apis")
    names = [g["name"] for g in groups["groups"]]
    assert names[0] == "apiregistration.k8s.io"
    assert names[-1] == GROUP
    _, group = await api.ask("GET", f"/apis/{GROUP}")
    version = {"groupVersion": f"{GROUP}/v1", "version": "v1"}
    assert group["versions"] == [version]
    assert group["preferredVersion"] == version
    _, resources = await api.ask("GET", f"/apis/{GROUP}/v1")
    assert [r["name"] for r in resources["resources"]] == ["fish", "fish/status"]
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
    answer, whole = await api.ask("GET", "/apis", headers=accept)
    (item,) = [i for i in whole["items"] if i["metadata"].get("name") == GROUP]
    assert item["versions"][0]["freshness"] == "Current"
    assert item["versions"][0]["resources"] == [
        {
            "resource": "fish",
            "responseKind": {"group": GROUP, "version": "v1", "kind": "Fish"},
            "scope": "Namespaced",
            "singularResource": "fish",
            "verbs": ["get", "list"],
            "subresources": [
                {
                    "subresource": "status",
                    "responseKind": {"group": GROUP, "version": "v1", "kind": "Fish"},
                    "verbs": ["get"],
                }
            ],
        }
    ]
    again = {**accept, "If-None-Match": answer.headers["etag"]}
    assert (await api.ask("GET", "/apis", headers=again))[0].status == 304
    _, index = await api.ask("GET", "/openapi/v3")
    assert index["paths"][f"apis/{GROUP}/v1"] == {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}/v1?h=1"}
    assert "api/v1" in index["paths"]
    _, document = await api.ask("GET", f"/openapi/v3/apis/{GROUP}/v1?h=1")
    assert document["info"]["title"] == "fish"


async def _requests(api: Api, own: Backing) -> None:
    own.requests.clear()
    smuggled = {"X-Remote-User": "root", "X-Remote-Group": "evil", "X-Remote-Extra-A": "b", "Authorization": "Basic x"}
    answer, found = await api.ask("GET", f"{FISH}?limit=5&x=%2F", headers=smuggled)
    assert (answer.status, found["kind"]) == (200, "FishList")
    (seen,) = own.requests
    assert (seen.path, seen.query) == (FISH, "limit=5&x=%2F")
    assert values(seen.headers, "x-remote-user") == ["admin"]
    assert values(seen.headers, "x-remote-group") == ["system:masters", "system:authenticated"]
    assert "x-remote-extra-a" not in seen.headers
    assert "authorization" not in seen.headers
    certificate = own.certificates[-1]
    assert certificate is not None
    assert x509.summary(certificate).common_name == "front-proxy-client"

    headers = {"Impersonate-User": "bob", "Impersonate-Group": "a, system:masters"}
    answer, _ = await api.ask("GET", FISH, headers=headers)
    assert answer.status == 403  # one group with a comma in its name
    headers = {
        "Impersonate-User": "b\xc3\xb6b",
        "Impersonate-Group": "system:masters",
        "Impersonate-Extra-A%2Fb": "1, 2",
    }
    await api.ask("GET", FISH, headers=headers)
    seen = own.requests[-1]
    assert values(seen.headers, "x-remote-user") == ["böb"]
    assert values(seen.headers, "x-remote-group") == ["system:masters", "system:authenticated"]
    assert values(seen.headers, "x-remote-extra-a%2fb") == ["1, 2"]
    assert not any(name.startswith("impersonate-") for name in seen.headers)

    async with api.client() as http, http.stream("GET", f"{FISH}?watch=1") as (_, pieces):
        text = b"".join([piece async for piece in pieces])
    assert text.count(b"ADDED") == 3
    answer, _ = await api.ask("GET", f"{FISH}/big")
    assert len(answer.body) == 20_000_000
    answer, _ = await api.ask("POST", FISH, {"data": "y" * 2_000_000})
    assert len(own.requests[-1].body) > 2_000_000


async def _upgrade(api: Api) -> None:
    async with api.client() as http:
        stream = await http.connect()
        line = f"GET {FISH}/nemo/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"
        await stream.send_all(line.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += bytes(await stream.receive_some())
        assert head.startswith(b"HTTP/1.1 101")
        await stream.send_all(b"hello")
        assert bytes(await stream.receive_some()) == b"HELLO"
        await trio.aclose_forcefully(stream)


@pytest.mark.conformance(
    "Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator"
)
async def test_a_server_behind_is_found_asked_and_told_of(api: Api, tmp_path: Path) -> None:
    async with backing(api, tmp_path, "fish.default.svc") as own:
        own.handler = _answer
        bundle = base64.b64encode(own.ca).decode()
        await api.api_service(GROUP, "fish", caBundle=bundle)
        condition = await api.available(f"v1.{GROUP}", "ServiceNotFound")
        assert condition["message"] == 'service/fish in "default" is not present'
        answer, text = await api.ask("GET", FISH)
        assert (answer.status, text) == (503, "service unavailable\n")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"

        await api.service("fish", own.port)
        await api.available(f"v1.{GROUP}", "Passed")
        await _discovery(api)
        await _requests(api, own)
        await _upgrade(api)
        shown = await trio.to_thread.run_sync(lambda: api.cluster.kubectl("api-resources", "--api-group", GROUP))
        assert "fish" in shown

        await api.ask("DELETE", f"/apis/apiregistration.k8s.io/v1/apiservices/v1.{GROUP}")
        await api.until(FISH, 404)


async def test_a_server_with_another_certificate_is_not_believed(api: Api, tmp_path: Path) -> None:
    async with backing(api, tmp_path, "else.default.svc") as own:
        await api.service("liar", own.port)
        await api.api_service("liar.example.com", "liar", caBundle=base64.b64encode(own.ca).decode())
        condition = await api.available("v1.liar.example.com", "FailedDiscoveryCheck")
        assert "failed to verify certificate: x509: certificate is" in condition["message"]
        foreign = base64.b64encode(Pki.open(tmp_path / "other").ca_pem).decode()
        change = {"spec": {"caBundle": foreign}}
        path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.liar.example.com"
        patch = {"Content-Type": "application/merge-patch+json"}
        await api.ask("PATCH", path, change, headers=patch)
        with trio.fail_after(10):
            while "unknown authority" not in condition["message"]:
                condition = await api.available("v1.liar.example.com", "FailedDiscoveryCheck")
        # the server answers the check with 404: whatever its certificate is
        await api.ask("PATCH", path, {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}}, headers=patch)
        own.handler = _not_found
        with trio.fail_after(10):
            while "bad status" not in condition["message"]:
                condition = await api.available("v1.liar.example.com", "FailedDiscoveryCheck")


async def _not_found(request: Request) -> Response:
    return Response(404)


async def test_a_service_without_ready_endpoints_is_said_to_be_so(api: Api) -> None:
    await api.service("asleep", 1, ready=False)
    await api.api_service("asleep.example.com", "asleep", insecureSkipTLSVerify=True)
    condition = await api.available("v1.asleep.example.com", "MissingEndpoints")
    assert condition["message"] == (
        'endpointslices for service/asleep in "default" have no addresses with port name "https"'
    )
