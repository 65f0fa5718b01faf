"""OpenAPI documents: what is in them, their forms, and how they are cached."""

from __future__ import annotations

import gzip
import time
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import pytest
import trio
from google.protobuf.internal.decoder import _DecodeVarint

from kcore import clock
from kcore.api.kinds import Kind, ScalePaths, Subresource

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V3_PROTOBUF = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A cron table.",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["when", "maybe"],
            "x-kubernetes-validations": [{"rule": "self.when != ''"}],
            "properties": {
                "when": {"type": "string", "pattern": "^x", "default": "x"},
                "maybe": {"type": "object", "nullable": True, "properties": {"a": {"type": "string"}}},
                "port": {"x-kubernetes-int-or-string": True},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "template": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {}},
                "list": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
                },
            },
        }
    },
}
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def crontabs(**changed: Any) -> Kind:
    subresources = {
        "status": Subresource("status", "CronTab", ("get", "patch", "update")),
        "scale": Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1"),
    }
    return Kind(
        "stable.example.com",
        "v1",
        "CronTab",
        "crontabs",
        verbs=VERBS,
        raw_schema=lambda: {**SCHEMA, **changed},
        subresources=subresources,
        scale=ScalePaths(),
    )


async def document(api: Any, name: str) -> Any:
    index = await api.call("GET", "/openapi/v3", expect=200)
    return await api.call("GET", index["paths"][name]["serverRelativeURL"], expect=200)


async def test_a_custom_kind_shows_the_schema_that_its_author_wrote(api):
    api.server.kinds.add(crontabs())
    schemas = (await document(api, "apis/stable.example.com/v1"))["components"]["schemas"]
    schema = schemas["com.example.stable.v1.CronTab"]
    assert schema["description"] == "A cron table."
    assert {"apiVersion", "kind", "metadata", "spec"} == set(schema["properties"])
    spec = schema["properties"]["spec"]
    assert spec["x-kubernetes-validations"] == [{"rule": "self.when != ''"}]
    assert spec["properties"]["when"] == {"type": "string", "pattern": "^x", "default": "x"}
    assert spec["properties"]["port"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert spec["properties"]["template"]["required"] == ["apiVersion", "kind"]
    assert spec["properties"]["list"]["x-kubernetes-list-map-keys"] == ["name"]
    assert spec["properties"]["maybe"]["nullable"] is True
    assert "com.example.stable.v1.CronTabList" in schemas
    assert "io.k8s.api.autoscaling.v1.Scale" in schemas


async def test_version_2_says_of_a_custom_kind_what_kubectl_can_validate_by(api):
    api.server.kinds.add(crontabs())
    document = await api.call("GET", "/openapi/v2", expect=200)
    spec = document["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]
    assert spec["required"] == ["when"]  # what may be null is not asked for
    assert "type" not in spec["properties"]["maybe"]
    assert "properties" not in spec["properties"]["maybe"]
    assert "type" not in spec["properties"]["any"]
    assert "oneOf" not in spec["properties"]["list"]["items"]
    api.server.kinds.add(crontabs(**{"x-kubernetes-preserve-unknown-fields": True}))
    document = await api.call("GET", "/openapi/v2", expect=200)
    assert set(document["definitions"]["com.example.stable.v1.CronTab"]) == {
        "type",
        "x-kubernetes-group-version-kind",
    }


async def test_operations_are_named_as_upstream_names_them(api):
    api.server.kinds.add(crontabs())
    ids = {}
    for name in ("api/v1", "apis/rbac.authorization.k8s.io/v1", "apis/stable.example.com/v1", "apis/apps", "version"):
        for path, item in (await document(api, name))["paths"].items():
            for method, operation in item.items():
                if method != "parameters":
                    ids[f"{method} {path}"] = operation["operationId"]
    one = "/api/v1/namespaces/{namespace}/pods/{name}"
    assert ids["get /api/v1/pods"] == "listCoreV1PodForAllNamespaces"
    assert ids[f"get {one}/log"] == "readCoreV1NamespacedPodLog"
    assert ids[f"post {one}/exec"] == "connectCoreV1PostNamespacedPodExec"
    assert ids[f"get {one}/proxy/{{path}}"] == "connectCoreV1GetNamespacedPodProxyWithPath"
    assert ids["delete /api/v1/namespaces/{namespace}/pods"] == "deleteCoreV1CollectionNamespacedPod"
    assert ids["get /api/v1/watch/pods"] == "watchCoreV1PodListForAllNamespaces"
    assert ids["get /api/v1/"] == "getCoreV1APIResources"
    assert ids["get /apis/apps/"] == "getAppsAPIGroup"
    assert ids["get /version/"] == "getCodeVersion"
    clusterroles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    assert ids[f"post {clusterroles}"] == "createRbacAuthorizationV1ClusterRole"
    custom = "/apis/stable.example.com/v1/namespaces/{namespace}/crontabs"
    assert ids[f"put {custom}/{{name}}/scale"] == "replaceStableExampleComV1NamespacedCronTabScale"
    assert len(set(ids.values())) == len(ids)


async def test_a_document_of_another_hash_leads_to_the_one_that_is_now(api):
    answer = await api.send("GET", "/openapi/v3/apis/apps/v1?hash=OLD")
    assert answer.status == 301
    address = dict(answer.headers)[b"location"].decode()
    first = await api.send("GET", address)
    headers = dict(first.headers)
    assert headers[b"cache-control"] == b"public, immutable"
    expires = parsedate_to_datetime(headers[b"expires"].decode()).timestamp()
    assert 364 < (expires - clock.now()) / (24 * 3600) < 366
    assert headers[b"etag"].decode().strip('"') in address
    again = await api.send("GET", address, if_none_match=headers[b"etag"].decode())
    assert (again.status, again.body) == (304, b"")


async def test_a_hash_changes_with_what_it_is_of_and_with_nothing_else(api):
    async def hashes() -> dict[str, str]:
        index = await api.call("GET", "/openapi/v3", expect=200)
        return {name: item["serverRelativeURL"] for name, item in index["paths"].items()}

    before = await hashes()
    api.server.kinds.add(crontabs())
    added = await hashes()
    assert added.keys() - before.keys() == {"apis/stable.example.com", "apis/stable.example.com/v1"}
    assert before.items() <= added.items()
    api.server.kinds.add(crontabs())
    assert await hashes() == added
    api.server.kinds.add(crontabs(description="Another."))
    assert {k for k, v in (await hashes()).items() if added[k] != v} == {"apis/stable.example.com/v1"}


async def test_documents_are_sent_compressed_to_who_takes_that(api):
    plain = await api.send("GET", "/openapi/v2")
    packed = await api.send("GET", "/openapi/v2", accept_encoding="gzip")
    assert (b"content-encoding", b"gzip") in packed.headers
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 5


@pytest.mark.parametrize(
    ("path", "accept", "paths", "definitions"),
    [("/openapi/v2", V2_PROTOBUF, (8, 2), (9, 1)), ("/openapi/v3/apis/apps/v1", V3_PROTOBUF, (4, 1), (5, 1))],
)
async def test_documents_as_protobuf_have_the_members_of_the_json(api, path, accept, paths, definitions):
    text = msgspec.json.decode((await api.send("GET", path)).body)
    answer = await api.send("GET", path, accept=accept)
    assert answer.content_type == accept.replace("@", ".")
    document = members(answer.body)
    outer, inner = paths
    assert {name(item) for item in members(document[outer][0])[inner]} == set(text["paths"])
    schemas = text.get("definitions") or text["components"]["schemas"]
    outer, inner = definitions
    content = members(document[outer][0])[inner]
    if "definitions" not in text:
        content = members(content[0])[1]
    assert {name(item) for item in content} == set(schemas)


def name(message: bytes) -> str:
    return members(message)[1][0].decode()


def members(message: bytes) -> dict[int, list[bytes]]:
    """The length-delimited members of a message by number."""
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(message):
        key, at = _DecodeVarint(message, at)
        assert key & 7 == 2
        length, at = _DecodeVarint(message, at)
        found.setdefault(key >> 3, []).append(message[at : at + length])
        at += length
    assert at == len(message)
    return found


async def test_what_is_no_document_is_not_found_and_no_form_of_it_not_acceptable(api):
    await api.call("GET", "/openapi/v3/apis/none/v1", expect=404)
    await api.call("GET", "/openapi/v4", expect=404)
    await api.call("GET", "/openapi/v2", accept="text/html", expect=406)
    await api.call("GET", "/openapi/v3/api/v1", accept=V2_PROTOBUF, expect=406)


async def test_others_are_served_while_a_document_is_made(api):
    """Not how long it takes, but that it is done in many steps."""
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            await trio.lowlevel.checkpoint()
            steps += 1

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await api.call("GET", "/openapi/v2", accept=V2_PROTOBUF, expect=200)
        nursery.cancel_scope.cancel()
    assert steps > min((time.perf_counter() - began) / 0.1, 5)


async def test_what_an_answer_may_hold_a_null_for_is_documented_as_such(api):
    schemas = (await document(api, "apis/rbac.authorization.k8s.io/v1"))["components"]["schemas"]
    assert schemas["io.k8s.api.rbac.v1.ClusterRole"]["properties"]["rules"]["nullable"] is True
    assert "nullable" not in schemas["io.k8s.api.rbac.v1.ClusterRoleList"]["properties"]["items"]
    status = schemas["io.k8s.api.rbac.v1.ClusterRole"]["properties"]["metadata"]
    assert "nullable" not in status
