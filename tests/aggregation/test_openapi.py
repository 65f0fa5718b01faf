"""OpenAPI of servers behind the API server: merged into the whole, so that kubectl explains and validates."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from kcore.http.messages import AnyResponse, Request, Response

from .conftest import Api, Backing, backing

GROUP = "lakes.example.com"
KIND = {"group": GROUP, "version": "v1", "kind": "Trout"}
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
TROUT = "com.example.lakes.v1.Trout"


def definitions(ref: str) -> dict[str, Any]:
    spec = {
        "description": "What a trout should be.",
        "type": "object",
        "properties": {"weight": {"type": "integer", "format": "int32", "description": "In grams."}},
    }
    text = {"type": "string"}
    properties = {"apiVersion": text, "kind": text, "metadata": {"$ref": ref + META}, "spec": spec}
    trout = {"description": "A fish of cold lakes.", "type": "object", "properties": properties}
    trout["x-kubernetes-group-version-kind"] = [KIND]
    meta = {"description": "Metadata as this server has it.", "type": "object", "properties": {"name": text}}
    return {TROUT: trout, META: meta, "unused": {"type": "object"}}


def swagger() -> dict[str, Any]:
    ok = {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{TROUT}"}}}
    body = {"name": "body", "in": "body", "required": True, "schema": {"$ref": f"#/definitions/{TROUT}"}}
    common = {"consumes": ["application/json"], "produces": ["application/json"], "responses": ok}
    common["x-kubernetes-group-version-kind"] = KIND
    post = {**common, "x-kubernetes-action": "post", "parameters": [body, {"$ref": "#/parameters/pretty-1"}]}
    elsewhere = {"get": {**common, "operationId": "notOurs"}}
    path = f"/apis/{GROUP}/v1/namespaces/{{namespace}}/trout"
    return {
        "swagger": "2.0",
        "info": {"title": "lake", "version": "1"},
        "paths": {path: {"post": post}, "/apis/other.example.com/v1/x": elsewhere, "/version/": elsewhere},
        "definitions": definitions("#/definitions/"),
        "parameters": {"pretty-1": {"name": "pretty", "in": "query", "type": "string"}},
    }


def version_3() -> dict[str, Any]:
    ref = {"$ref": f"#/components/schemas/{TROUT}"}
    content = {"application/json": {"schema": ref}}
    post = {
        "x-kubernetes-action": "post",
        "x-kubernetes-group-version-kind": KIND,
        "requestBody": {"content": content},
        "responses": {"200": {"description": "OK", "content": content}},
    }
    return {
        "openapi": "3.0.0",
        "info": {"title": "lake", "version": "1"},
        "paths": {f"/apis/{GROUP}/v1/namespaces/{{namespace}}/trout": {"post": post}},
        "components": {"schemas": definitions("#/components/schemas/")},
    }


RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1",
    "resources": [
        {"name": "trout", "singularName": "trout", "namespaced": True, "kind": "Trout", "verbs": ["create"]}
    ],
}


class Lake:
    """What the server behind answers; `broken` spoils its document of version 2."""

    def __init__(self) -> None:
        self.broken: Response | None = None
        self.created: list[Any] = []
        self.asked = trio.Event()  # for its document of version 2

    async def __call__(self, request: Request) -> AnyResponse:
        if request.path == "/openapi/v2":
            self.asked.set()
            return self.broken or Response(200, json.dumps(swagger()).encode())
        if request.path == f"/openapi/v3/apis/{GROUP}/v1":
            return Response(200, json.dumps(version_3()).encode())
        if request.path == "/openapi/v3":
            entry = {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}/v1?hash=1"}
            return Response(200, json.dumps({"paths": {f"apis/{GROUP}/v1": entry}}).encode())
        if request.path == f"/apis/{GROUP}/v1":
            return Response(200, json.dumps(RESOURCES).encode())
        if request.method == "POST":
            self.created.append(json.loads(request.body))
            return Response(201, request.body)
        return Response(404, b"{}")


@asynccontextmanager
async def lake(api: Api, directory: Path, service: str) -> AsyncIterator[tuple[Lake, Backing]]:
    answers = Lake()
    async with backing(api, directory, f"{service}.default.svc") as own:
        own.handler = answers
        own.documented = False
        await api.service(service, own.port)
        await api.api_service(GROUP, service, caBundle=base64.b64encode(own.ca).decode())
        await api.available(f"v1.{GROUP}", "Passed")
        yield answers, own
        await api.ask("DELETE", f"/apis/apiregistration.k8s.io/v1/apiservices/v1.{GROUP}")
        await api.until(f"/apis/{GROUP}/v1", 404)


async def _document(api: Api, has: bool) -> dict[str, Any]:
    """The whole document, when it has the server's part, or has it no more."""
    with trio.fail_after(10):
        while True:
            _, document = await api.ask("GET", "/openapi/v2")
            if (TROUT in document["definitions"]) is has:
                assert isinstance(document, dict)
                return document
            await trio.sleep(0.05)


async def test_the_part_of_a_server_is_merged_under_names_that_are_free(api: Api, tmp_path: Path) -> None:
    answer, before = await api.ask("GET", "/openapi/v2")
    async with lake(api, tmp_path, "lake"):
        document = await _document(api, True)
        path = f"/apis/{GROUP}/v1/namespaces/{{namespace}}/trout"
        assert document["paths"][path]["post"]["parameters"][1] == {"name": "pretty", "in": "query", "type": "string"}
        assert not [p for p in document["paths"] if "other.example.com" in p]
        assert document["paths"]["/version/"] == before["paths"]["/version/"]
        # ObjectMeta is another one there
        assert document["definitions"][META] == before["definitions"][META]
        assert document["definitions"][f"{META}_v2"]["description"] == "Metadata as this server has it."
        metadata = document["definitions"][TROUT]["properties"]["metadata"]
        assert metadata == {"$ref": f"#/definitions/{META}_v2"}
        assert "unused" not in document["definitions"]
        now, _ = await api.ask("GET", "/openapi/v2")
        assert now.headers["etag"] != answer.headers["etag"]
    assert await _document(api, False) == before
    assert (await api.ask("GET", "/openapi/v2"))[0].headers["etag"] == answer.headers["etag"]


async def test_kubectl_explains_and_validates_kinds_of_other_servers(api: Api, tmp_path: Path) -> None:
    async with lake(api, tmp_path, "brook") as (answers, _):
        await _document(api, True)
        for output in ("plaintext", "plaintext-openapiv2"):
            shown = await _kubectl(api, "explain", "trout.spec", "--output", output)
            assert "What a trout should be." in shown.stdout, shown.stderr
            assert "weight" in shown.stdout
        manifest = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "Trout",
            "metadata": {"name": "t"},
            "spec": {"weight": "heavy", "colour": "brown"},
        }
        refused = await _kubectl(api, "create", "-f", "-", input=json.dumps(manifest))
        assert 'ValidationError(Trout.spec): unknown field "colour"' in refused.stderr
        assert 'invalid type for com.example.lakes.v1.Trout.spec.weight: got "string"' in refused.stderr
        assert answers.created == []
        manifest["spec"] = {"weight": 700}
        made = await _kubectl(api, "create", "-f", "-", input=json.dumps(manifest))
        assert made.stdout == "trout.lakes.example.com/t created\n", made.stderr


async def test_a_server_whose_document_is_none_does_no_harm(api: Api, tmp_path: Path) -> None:
    _, before = await api.ask("GET", "/openapi/v2")
    broken = [
        Response(500, b"oops", "text/plain"),
        Response(200, b"no json"),
        Response(200, b"[1]"),
        Response(200, json.dumps({**swagger(), "parameters": {}}).encode()),
        Response(200, json.dumps({**swagger(), "definitions": {TROUT: {"type": 7}}}).encode()),
    ]
    async with lake(api, tmp_path, "pond") as (answers, _):
        await _document(api, True)
        path = f"/apis/apiregistration.k8s.io/v1/apiservices/v1.{GROUP}"
        for number, answers.broken in enumerate(broken):
            answers.asked = trio.Event()
            change = {"spec": {"versionPriority": 16 + number}}  # a change makes it be looked at again
            await api.ask("PATCH", path, change, headers={"Content-Type": "application/merge-patch+json"})
            with trio.fail_after(10):
                await answers.asked.wait()
            document = await _document(api, True)  # what it said last
            assert document["paths"].keys() > before["paths"].keys()
    async with api.client() as http:
        answer = await http.request("GET", "/openapi/v2", b"", {"Accept": "*/*"})
    assert answer.status == 200


async def _kubectl(api: Api, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
    return await trio.to_thread.run_sync(lambda: api.cluster.run_kubectl(*arguments, input=input, check=False))
