"""sig-api-machinery: the OpenAPI documents and the aggregated discovery of custom resources, and what kubectl makes
of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.conftest import Api, Place
from tests.conformance.test_custom_resources import (
    DEFINITIONS,
    custom,
    defined,
    definition,
    established,
    path_of,
    props,
    version,
)  # fmt: skip

TEXT = {"type": "string"}
BARS = {
    "type": "array",
    "description": "List of Bars and their specs.",
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": "Name of Bar."},
            "age": {"type": "string", "description": "Age of Bar."},
            "bazs": {"type": "array", "items": TEXT, "description": "List of Bazs."},
        },
    },
}
FOO = {
    "type": "object",
    "description": "Foo CRD for Testing",
    "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {"bars": BARS}},
        "status": {"type": "object", "description": "Status of Foo", "properties": {"ready": {"type": "boolean"}}},
    },
}
OPEN: Any = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def published(place: Place, name: str) -> Any:
    """The definition of that name in the document that kubectl validates by (version 2), or None."""
    return place.call("GET", "/openapi/v2")["definitions"].get(name)


def name_of(body: Any, version: str = "v1") -> str:
    spec = body["spec"]
    group = ".".join(reversed(spec["group"].split(".")))
    return f"{group}.{version}.{spec['names']['kind']}"


def create(place: Place, obj: Any) -> str:
    return place.kubectl("create", "-f", "-", input=json.dumps(obj))


# --- publishing -----------------------------------------------------------------------------------------------------


@pytest.mark.conformance("CustomResourcePublishOpenAPI works for CRD with validation schema")
def test_kubectl_validates_and_explains_by_the_schema_of_a_definition(place: Place) -> None:
    body = definition("Foo", version(schema=FOO), group="schema.example.com")
    with defined(place, body):
        shown = place.until(lambda: published(place, name_of(body)))
        assert shown["properties"]["spec"]["properties"]["bars"]["items"]["required"] == ["name"]
        said = create(place, custom(body, spec={"bars": [{"name": "test-bar"}]}))
        assert said == "foo.schema.example.com/a created\n"
        place.kubectl("apply", "-f", "-", input=json.dumps(custom(body, spec={"bars": [{"name": "b", "age": "1"}]})))
        place.kubectl("delete", "foos.schema.example.com", "a")
        for spec, why in (
            ({"bars": [{"name": "b", "unknown": True}]}, "unknown"),
            ({"bars": [{"age": "10"}]}, "name"),
        ):
            assert why in place.kubectl.error("create", "-f", place.kubectl.file(custom(body, spec=spec)))
            assert why in place.kubectl.error("apply", "-f", place.kubectl.file(custom(body, spec=spec)))
        explained = place.kubectl("explain", "foos.schema.example.com")
        for words in ("DESCRIPTION", "Foo CRD for Testing", "spec", "Specification of Foo", "status"):
            assert words in explained
        assert "List of Bars and their specs." in place.kubectl("explain", "foos.schema.example.com.spec")
        bars = place.kubectl("explain", "foos.schema.example.com.spec.bars")
        assert "-required-" in bars
        assert "Age of Bar." in bars
        assert 'field "bars2" does not exist' in place.kubectl.error("explain", "foos.schema.example.com.spec.bars2")


@pytest.mark.conformance("CustomResourcePublishOpenAPI works for CRD without validation schema")
def test_kubectl_takes_anything_where_there_is_no_schema(place: Place) -> None:
    body = definition("Empty", version(), group="empty.example.com")
    with defined(place, body):
        shown = place.until(lambda: published(place, name_of(body)))
        assert "properties" not in shown
        create(place, custom(body, a={"b": 1}))
        place.kubectl("apply", "-f", "-", input=json.dumps(custom(body, a={"c": [True]})))
        assert "KIND:       Empty\nVERSION:    v1\n" in place.kubectl("explain", "emptys.empty.example.com")


@pytest.mark.conformance("CustomResourcePublishOpenAPI works for CRD preserving unknown fields at the schema root")
def test_kubectl_takes_unknown_fields_where_the_root_keeps_them(place: Place) -> None:
    root = {**FOO, "x-kubernetes-preserve-unknown-fields": True}
    body = definition("Waldo", version(schema=root), group="root.example.com")
    with defined(place, body):
        place.until(lambda: published(place, name_of(body)))
        create(place, custom(body, a={"b": 1}, spec={"bars": [{"name": "b"}]}))
        assert place.kubectl.get("waldos.root.example.com", "a")["a"] == {"b": 1}
        assert "KIND:       Waldo" in place.kubectl("explain", "waldos.root.example.com")


@pytest.mark.conformance("CustomResourcePublishOpenAPI works for CRD preserving unknown fields in an embedded object")
def test_kubectl_takes_unknown_fields_where_an_object_inside_keeps_them(place: Place) -> None:
    schema = props(spec={**OPEN, "description": "Specification of Waldo", "x-kubernetes-embedded-resource": True})
    body = definition("Fred", version(schema=schema), group="nested.example.com")
    inside = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "more": {"b": 1}}
    with defined(place, body):
        place.until(lambda: published(place, name_of(body)))
        create(place, custom(body, spec=inside))
        assert place.kubectl.get("freds.nested.example.com", "a")["spec"]["more"] == {"b": 1}
        assert "Specification of Waldo" in place.kubectl("explain", "freds.nested.example.com")
        assert "unknown" in place.kubectl.error("create", "-f", place.kubectl.file(custom(body, "b", more=1)))


@pytest.mark.conformance("CustomResourcePublishOpenAPI works for multiple CRDs of different groups")
def test_kinds_of_two_groups_are_published(place: Place) -> None:
    one, two = (definition("Foo", version(schema=FOO), group=f"{n}.groups.example.com") for n in ("a", "b"))
    with defined(place, one), defined(place, two):
        place.until(lambda: published(place, name_of(one)) and published(place, name_of(two)))


@pytest.mark.conformance(
    "CustomResourcePublishOpenAPI works for multiple CRDs of same group and version but different kinds"
)
def test_two_kinds_of_a_group_are_published(place: Place) -> None:
    one, two = (definition(kind, version(schema=FOO), group="kinds.example.com") for kind in ("Foo", "Bar"))
    with defined(place, one), defined(place, two):
        place.until(lambda: published(place, name_of(one)) and published(place, name_of(two)))


@pytest.mark.conformance("CustomResourcePublishOpenAPI works for multiple CRDs of same group but different versions")
def test_versions_of_a_kind_and_of_a_group_are_published(place: Place) -> None:
    both = definition("Foo", version(schema=FOO), version("v2", storage=False, schema=FOO), group="vs.example.com")
    other = definition("Bar", version("v3", schema=FOO), group="vs.example.com")
    with defined(place, both), defined(place, other):
        names = [name_of(both), name_of(both, "v2"), name_of(other, "v3")]
        place.until(lambda: all(published(place, name) for name in names))


@pytest.mark.conformance("CustomResourcePublishOpenAPI updates the published spec when one version gets renamed")
def test_a_version_that_is_renamed_is_published_under_its_new_name(place: Place) -> None:
    body = definition("Foo", version("v2", schema=FOO), version("v3", storage=False, schema=FOO),
                      group="renamed.example.com")  # fmt: skip
    with defined(place, body):
        old = place.until(lambda: published(place, name_of(body, "v3")))
        before = published(place, name_of(body, "v2"))
        steps = [{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]
        place.call("PATCH", f"{DEFINITIONS}/{body['metadata']['name']}", steps, type="application/json-patch+json")
        new = place.until(lambda: published(place, name_of(body, "v4")))
        assert new["properties"] == old["properties"]
        assert published(place, name_of(body, "v3")) is None
        assert published(place, name_of(body, "v2")) == before


@pytest.mark.conformance(
    "CustomResourcePublishOpenAPI removes definition from spec when one version gets changed to not be served"
)
def test_a_version_that_is_not_served_any_more_is_published_no_more(place: Place) -> None:
    body = definition("Foo", version("v5", schema=FOO), version("v6", storage=False, schema=FOO),
                      group="served.example.com")  # fmt: skip
    with defined(place, body):
        place.until(lambda: published(place, name_of(body, "v6")))
        before = published(place, name_of(body, "v5"))
        steps = [{"op": "replace", "path": "/spec/versions/1/served", "value": False}]
        place.call("PATCH", f"{DEFINITIONS}/{body['metadata']['name']}", steps, type="application/json-patch+json")
        place.until(lambda: published(place, name_of(body, "v6")) is None)
        assert published(place, name_of(body, "v5")) == before
        place.call("GET", path_of(body, place.namespace, "v6"), expect=404)


# --- discovery ------------------------------------------------------------------------------------------------------


async def versions_of(api: Api, group: str) -> dict[str, list[str]]:
    """The resources of each version of a group, from aggregated discovery."""
    found = await api.get("/apis", accept=f"{AGGREGATED},application/json")
    assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    return {
        version["version"]: [r["resource"] for r in version["resources"]]
        for item in found["items"]
        if item["metadata"]["name"] == group
        for version in item["versions"]
    }


@pytest.mark.conformance(
    "AggregatedDiscovery should support aggregated discovery interface for CRDs",
    "AggregatedDiscovery should support raw aggregated discovery request for CRDs",
)
async def test_aggregated_discovery_follows_definitions(api: Api) -> None:
    body = definition("Disco", version(), version("v2", storage=False), group="disco.example.com")
    assert await versions_of(api, "disco.example.com") == {}
    await established(api, body)
    assert await versions_of(api, "disco.example.com") == {"v2": ["discos"], "v1": ["discos"]}
    assert list(await versions_of(api, "disco.example.com")) == ["v2", "v1"]
    steps = [{"op": "remove", "path": "/spec/versions/1"}]
    await api.patch(f"{DEFINITIONS}/{body['metadata']['name']}", steps, type="application/json-patch+json")

    async def one() -> bool:
        return await versions_of(api, "disco.example.com") == {"v1": ["discos"]}

    await api.until(one)
    await api.delete(f"{DEFINITIONS}/{body['metadata']['name']}")

    async def none() -> bool:
        return not await versions_of(api, "disco.example.com")

    await api.until(none)
