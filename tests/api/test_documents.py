"""Discovery, OpenAPI, health, version, Tables and other forms of answers."""

from __future__ import annotations

import msgspec

CM = "/api/v1/namespaces/default/configmaps"


async def test_aggregated_discovery_is_told_once_by_its_etag(api):
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    first = await api.send("GET", "/apis", accept=accept)
    assert first.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = {g["metadata"]["name"] for g in msgspec.json.decode(first.body)["items"]}
    assert {"apps", "batch", "rbac.authorization.k8s.io"} <= groups
    etag = dict(first.headers)[b"etag"].decode()
    again = await api.send("GET", "/apis", accept=accept, if_none_match=etag)
    assert again.status == 304


async def test_plain_discovery_lists_resources_and_subresources(api):
    doc = await api.call("GET", "/apis/apps/v1", expect=200)
    names = {r["name"] for r in doc["resources"]}
    assert {"deployments", "deployments/scale", "deployments/status"} <= names


async def test_openapi_v3_documents_carry_what_they_refer_to(api):
    index = await api.call("GET", "/openapi/v3", expect=200)
    assert "apis/apps/v1" in index["paths"]
    url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
    doc = await api.call("GET", url, expect=200)
    schemas = doc["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"][0]["kind"] == "Deployment"
    text = msgspec.json.encode(doc).decode()
    for part in text.split('"$ref":"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in schemas


async def test_openapi_v2_as_protobuf_has_a_media_type_that_clients_can_parse(api):
    asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    answer = await api.send("GET", "/openapi/v2", accept=asked)
    assert answer.status == 200
    assert answer.content_type == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


async def test_health_is_told_in_one_word_or_check_by_check(api):
    assert await api.call("GET", "/readyz", expect=200) == b"ok"
    verbose = await api.call("GET", "/livez?verbose", expect=200)
    assert b"[+]ping ok\n" in verbose
    assert verbose.endswith(b"livez check passed\n")
    assert await api.call("GET", "/healthz/etcd", expect=200) == b"ok"
    assert (await api.call("GET", "/version", expect=200))["gitVersion"] == "v1.37.0+kcore"


async def test_an_object_can_be_had_as_table_metadata_yaml_and_protobuf(api):
    await api.call("POST", CM, {"metadata": {"name": "x"}, "data": {"a": "1"}}, expect=201)
    table = await api.call("GET", CM, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert table["kind"] == "Table"
    assert table["rows"][0]["cells"][:2] == ["x", 1]
    partial = await api.call("GET", CM + "/x", accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
    assert partial["kind"] == "PartialObjectMetadata"
    assert "data" not in partial
    assert b'a: "1"' in await api.call("GET", CM + "/x", accept="application/yaml")
    assert (await api.call("GET", CM + "/x", accept="application/vnd.kubernetes.protobuf")).startswith(b"k8s\0")
    assert (await api.call("GET", CM, accept="application/vnd.kubernetes.protobuf")).startswith(b"k8s\0")
    await api.call("GET", CM + "/x", accept="text/html", expect=406)


async def test_unknown_fields_are_warned_about_or_refused(api):
    body = {"metadata": {"name": "x"}, "nonsense": 1}
    response = await api.send("POST", CM, body)
    assert response.status == 201
    assert (b"warning", b'299 - "unknown field \\"nonsense\\""') in response.headers
    status = await api.call("POST", CM + "?fieldValidation=Strict", body, expect=400)
    assert 'strict decoding error: unknown field "nonsense"' in status["message"]


async def test_the_metrics_count_requests_under_upstreams_names(api):
    await api.call("GET", CM, expect=200)
    text = (await api.call("GET", "/metrics", expect=200)).decode()
    assert 'apiserver_request_total{code="200",component="apiserver"' in text
    assert "apiserver_request_duration_seconds_bucket" in text
    assert 'apiserver_storage_objects{resource="namespaces"} 4.0' in text


async def test_metrics_tell_of_the_process_too(api):
    text = (await api.send("GET", "/metrics")).body
    for name in (b"process_cpu_seconds_total", b"process_resident_memory_bytes", b"go_goroutines"):
        assert text.count(b"# TYPE " + name + b" ") == 1, name
