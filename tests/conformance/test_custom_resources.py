"""sig-api-machinery: definitions of custom resources, their versions, watches, fields and conversion webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes import dynamic

from tests.conformance.conftest import Api, Place
from tests.conformance.hooks import deny, patch
from tests.conformance.test_webhooks import registered, webhook

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TEXT = {"type": "string"}


def props(**properties: Any) -> Any:
    return {"type": "object", "properties": properties}


def version(name: str = "v1", *, storage: bool = True, schema: Any = None, **more: Any) -> Any:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True} if schema is None else schema
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(kind: str, *versions: Any, group: str = "stable.example.com", **spec: Any) -> Any:
    plural = f"{kind.lower()}s"
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": list(versions), **spec},
    }


def path_of(body: Any, namespace: str, version: str = "v1") -> str:
    spec = body["spec"]
    return f"/apis/{spec['group']}/{version}/namespaces/{namespace}/{spec['names']['plural']}"


def custom(body: Any, name: str = "a", version: str = "v1", **members: Any) -> Any:
    spec = body["spec"]
    head = {"apiVersion": f"{spec['group']}/{version}", "kind": spec["names"]["kind"]}
    return {**head, "metadata": {"name": name}, **members}


def is_true(found: Any, type: str) -> bool:
    conditions = found.get("status", {}).get("conditions") or ()
    return any(c["type"] == type and c["status"] == "True" for c in conditions)


@contextmanager
def defined(place: Place, body: Any) -> Iterator[str]:
    """A definition that is established; gives the path of its objects in the namespace of the test."""
    place.call("POST", DEFINITIONS, body, 201)
    one = f"{DEFINITIONS}/{body['metadata']['name']}"
    try:
        place.until(lambda: is_true(place.call("GET", one), "Established"))
        path = path_of(body, place.namespace, body["spec"]["versions"][0]["name"])
        place.until(lambda: place.answer("GET", path)[0] == 200)
        yield path
    finally:
        place.call("DELETE", one)
        place.until(lambda: place.answer("GET", one)[0] == 404)


async def established(api: Api, body: Any) -> str:
    """The same for the cluster inside the test."""
    await api.post(DEFINITIONS, body, 201)

    async def served() -> bool:
        found = await api.get(f"{DEFINITIONS}/{body['metadata']['name']}")
        return is_true(found, "Established") and not await api.gone(path_of(body, "default"))

    await api.until(served)
    return path_of(body, "default")


# --- definitions ----------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "CustomResourceDefinition resources Simple CustomResourceDefinition creating/deleting custom resource "
    "definition objects works"
)
async def test_a_definition_is_made_and_deleted(api: Api) -> None:
    path = await established(api, definition("Crontab", version()))
    assert await api.names(path) == []
    await api.delete(f"{DEFINITIONS}/crontabs.stable.example.com")
    await api.until(lambda: api.gone(f"{DEFINITIONS}/crontabs.stable.example.com"))
    assert await api.gone(path)


@pytest.mark.conformance(
    "CustomResourceDefinition resources Simple CustomResourceDefinition listing custom resource definition "
    "objects works"
)
async def test_definitions_are_listed_and_deleted_by_their_label(api: Api) -> None:
    for kind in ("One", "Two", "Three"):
        body = definition(kind, version())
        body["metadata"]["labels"] = {"mine": "yes"}
        await established(api, body)
    selected = f"{DEFINITIONS}?labelSelector=mine%3Dyes"
    assert sorted(await api.names(selected)) == [f"{n}.stable.example.com" for n in ("ones", "threes", "twos")]
    await api.delete(selected)

    async def none() -> bool:
        return not await api.names(selected)

    await api.until(none)


@pytest.mark.conformance(
    "CustomResourceDefinition resources Simple CustomResourceDefinition getting/updating/patching custom "
    "resource definition status sub-resource works"
)
async def test_the_status_of_a_definition_is_read_updated_and_patched(api: Api) -> None:
    await established(api, definition("Crontab", version()))
    status = f"{DEFINITIONS}/crontabs.stable.example.com/status"
    found = await api.get(status)
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"}
    found["status"]["conditions"].append(condition)
    updated = await api.put(status, found)
    assert is_true(updated, "StatusUpdate")
    patched = {**condition, "type": "StatusPatched"}
    body = {"status": {"conditions": [*updated["status"]["conditions"], patched]}}
    assert is_true(await api.patch(status, body), "StatusPatched")


@pytest.mark.conformance(
    "CustomResourceDefinition resources should include custom resource definition resources in discovery documents"
)
async def test_definitions_are_in_the_documents_of_discovery(api: Api) -> None:
    (group,) = [g for g in (await api.get("/apis"))["groups"] if g["name"] == "apiextensions.k8s.io"]
    assert {"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"} in group["versions"]
    one = await api.get("/apis/apiextensions.k8s.io")
    assert {v["groupVersion"] for v in one["versions"]} >= {"apiextensions.k8s.io/v1"}
    resources = (await api.get("/apis/apiextensions.k8s.io/v1"))["resources"]
    assert "customresourcedefinitions" in [r["name"] for r in resources]


@pytest.mark.conformance(
    "CustomResourceDefinition resources custom resource defaulting for requests and from storage works"
)
async def test_defaults_fill_in_what_is_sent_and_what_was_stored_before(api: Api) -> None:
    body = definition("Crontab", version(schema=props(a=TEXT, b=TEXT)))
    path = await established(api, body)
    await api.post(path, custom(body, "old"))
    found = await api.get(f"{DEFINITIONS}/crontabs.stable.example.com")
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["a"]["default"], schema["b"]["default"] = "A", "B"
    await api.put(f"{DEFINITIONS}/crontabs.stable.example.com", found)

    async def from_storage() -> bool:
        found = await api.get(f"{path}/old")
        return (found.get("a"), found.get("b")) == ("A", "B")

    await api.until(from_storage)
    made = await api.post(path, custom(body, "new", b="mine"))
    assert (made["a"], made["b"]) == ("A", "mine")
    del schema["b"]["default"]
    found = await api.get(f"{DEFINITIONS}/crontabs.stable.example.com")
    del found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["b"]["default"]
    await api.put(f"{DEFINITIONS}/crontabs.stable.example.com", found)

    async def without() -> bool:
        found = await api.get(f"{path}/old")
        return (found.get("a"), found.get("b")) == ("A", None)

    await api.until(without)
    assert (await api.get(f"{path}/new"))["b"] == "mine"


@pytest.mark.conformance(
    "CustomResourceDefinition Watch CustomResourceDefinition Watch watch on custom resource definition objects"
)
async def test_custom_objects_are_watched_by_name(api: Api) -> None:
    body = definition("Watched", version())
    path = await established(api, body)
    one, two = [await api.watch(f"{path}?fieldSelector=metadata.name%3D{name}") for name in ("a", "b")]
    for name, watch in (("a", one), ("b", two)):
        await api.post(path, custom(body, name))
        await api.patch(f"{path}/{name}", {"content": {"key": "new"}})
        await api.delete(f"{path}/{name}")
        assert await watch.seen(3) == [("ADDED", name), ("MODIFIED", name), ("DELETED", name)]
        await watch.close()


@pytest.mark.conformance(
    "CustomResourceFieldSelectors CustomResourceFieldSelectors MUST list and watch custom resources matching the "
    "field selector"
)
def test_objects_are_selected_by_the_fields_that_their_version_names(place: Place) -> None:
    hosts = {"selectableFields": [{"jsonPath": ".host"}]}
    ports = {"selectableFields": [{"jsonPath": ".host"}, {"jsonPath": ".port"}]}
    schema = props(host=TEXT, port=TEXT)
    body = definition("Endpoint", version(schema=schema, **hosts),
                      version("v2", storage=False, schema=schema, **ports))  # fmt: skip
    with defined(place, body):
        kinds = dynamic.DynamicClient(place.client).resources
        resource = kinds.get(api_version="stable.example.com/v2", kind="Endpoint")
        for name, host, port in (("a", "one", "80"), ("b", "one", "90"), ("c", "two", "80")):
            resource.create(custom(body, name, "v2", host=host, port=port), namespace=place.namespace)

        def listed(selector: str) -> list[str]:
            items = resource.get(namespace=place.namespace, field_selector=selector).items
            return [item.metadata.name for item in items]

        assert listed("host=one") == ["a", "b"]
        assert listed("host=one,port!=90") == ["a"]
        first = path_of(body, place.namespace)
        assert len(place.call("GET", f"{first}?fieldSelector=host%3Done")["items"]) == 2
        assert place.call("GET", f"{first}?fieldSelector=port%3D80", expect=400)["reason"] == "BadRequest"
        seen = []
        now = resource.get(namespace=place.namespace).metadata.resourceVersion
        resource.patch({"host": "two"}, "b", place.namespace, content_type="application/merge-patch+json")
        resource.delete("c", place.namespace)
        for event in resource.watch(
            namespace=place.namespace, field_selector="host=two", resource_version=now, timeout=20
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 2:
                break
        assert seen == [("ADDED", "b"), ("DELETED", "c")]


# --- conversion -----------------------------------------------------------------------------------------------------


def convert(request: Any) -> Any:
    """v1 has hostPort: "a:b"; v2 has host and port."""

    def one(obj: Any) -> Any:
        obj = {**obj, "apiVersion": request["desiredAPIVersion"]}
        if request["desiredAPIVersion"].endswith("v2") and "hostPort" in obj:
            obj["host"], _, obj["port"] = obj.pop("hostPort").partition(":")
        elif request["desiredAPIVersion"].endswith("v1") and "host" in obj:
            obj["hostPort"] = f"{obj.pop('host')}:{obj.pop('port')}"
        return obj

    return {"result": {"status": "Success"}, "convertedObjects": [one(obj) for obj in request["objects"]]}


def converted(place: Place) -> Any:
    place.hooks.answers["/convert"] = convert
    hook = {"clientConfig": place.hooks.client("/convert"), "conversionReviewVersions": ["v1"]}
    first = version(schema=props(hostPort=TEXT))
    second = version("v2", storage=False, schema=props(host=TEXT, port=TEXT))
    return definition("Conv", first, second, conversion={"strategy": "Webhook", "webhook": hook})


@pytest.mark.conformance("CustomResourceConversionWebhook should be able to convert from CR v1 to CR v2")
def test_a_webhook_converts_an_object(place: Place) -> None:
    body = converted(place)
    with defined(place, body) as path:
        place.call("POST", path, custom(body, hostPort="localhost:8080"))
        found = place.call("GET", f"{path_of(body, place.namespace, 'v2')}/a")
        assert (found["host"], found["port"], found.get("hostPort")) == ("localhost", "8080", None)


@pytest.mark.conformance("CustomResourceConversionWebhook should be able to convert a non homogeneous list of CRs")
def test_a_webhook_converts_a_list_of_objects_stored_in_several_versions(place: Place) -> None:
    body = converted(place)
    one = f"{DEFINITIONS}/{body['metadata']['name']}"
    with defined(place, body) as path:
        place.call("POST", path, custom(body, "a", hostPort="localhost:8080"))
        found = place.call("GET", one)
        for each in found["spec"]["versions"]:
            each["storage"] = each["name"] == "v2"
        place.call("PUT", one, found)
        place.until(lambda: set(place.call("GET", one)["status"]["storedVersions"]) == {"v1", "v2"})
        place.call("POST", path_of(body, place.namespace, "v2"), custom(body, "b", "v2", host="far", port="1"))
        listed = place.call("GET", path)["items"]
        assert [item["hostPort"] for item in listed] == ["localhost:8080", "far:1"]
        listed = place.call("GET", path_of(body, place.namespace, "v2"))["items"]
        assert [(item["host"], item["port"]) for item in listed] == [("localhost", "8080"), ("far", "1")]


# --- webhooks about custom resources ------------------------------------------------------------------------------


def rule(body: Any, *operations: str, versions: str = "*") -> Any:
    spec = body["spec"]
    return {"apiGroups": [spec["group"]], "apiVersions": [versions], "operations": list(operations),
            "resources": [spec["names"]["plural"]]}  # fmt: skip


def stage(number: int) -> Any:
    before = "mutation-start" if number == 1 else f"mutation-stage-{number - 1}"
    change = patch({"op": "add", "path": f"/data/mutation-stage-{number}", "value": "yes"})
    return lambda request: change if request["object"]["data"].get(before) else {}


@pytest.mark.conformance("AdmissionWebhook should be able to deny custom resource creation, update and deletion")
def test_webhooks_refuse_custom_objects(place: Place) -> None:
    def judge(request: Any) -> Any:
        obj = request.get("object") or request["oldObject"]
        return deny("unwanted data") if obj["data"]["key"] == "unwanted" else {}

    place.hooks.answers["/custom"] = judge
    body = definition("Judged", version())
    with defined(place, body) as path:
        hook = webhook(place, "/custom", rule(body, "CREATE", "UPDATE", "DELETE"))
        with registered(place, "validating", hook):
            place.call("POST", path, custom(body, data={"key": "unwanted"}), 403)
            place.call("POST", path, custom(body, data={"key": "wanted"}))
            place.call("PATCH", f"{path}/a", {"data": {"key": "unwanted"}}, 403)
        place.call("PATCH", f"{path}/a", {"data": {"key": "unwanted"}})
        with registered(place, "validating", hook):
            assert "unwanted data" in place.call("DELETE", f"{path}/a", expect=403)["message"]
        place.call("DELETE", f"{path}/a")


@pytest.mark.conformance("AdmissionWebhook should mutate custom resource")
def test_webhooks_change_custom_objects(place: Place) -> None:
    place.hooks.answers |= {"/first": stage(1), "/second": stage(2)}
    body = definition("Changed", version())
    hooks = [webhook(place, f"/{n}", rule(body, "CREATE")) for n in ("first", "second")]
    with defined(place, body) as path, registered(place, "mutating", *hooks):
        made = place.call("POST", path, custom(body, data={"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}


@pytest.mark.conformance("AdmissionWebhook should mutate custom resource with pruning")
def test_what_webhooks_add_that_the_schema_does_not_know_is_pruned(place: Place) -> None:
    place.hooks.answers |= {"/first": stage(1), "/second": stage(2)}
    data = props(**{"mutation-start": TEXT, "mutation-stage-1": TEXT})
    body = definition("Pruned", version(schema=props(data=data)))
    hooks = [webhook(place, f"/{n}", rule(body, "CREATE")) for n in ("first", "second")]
    with defined(place, body) as path, registered(place, "mutating", *hooks):
        made = place.call("POST", path, custom(body, data={"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes"}


@pytest.mark.conformance("AdmissionWebhook should mutate custom resource with different stored version")
def test_webhooks_change_objects_whatever_version_they_are_stored_in(place: Place) -> None:
    place.hooks.answers["/first"] = lambda request: stage(1)(request)
    body = definition("Stored", version(), version("v2", storage=False))
    one = f"{DEFINITIONS}/{body['metadata']['name']}"
    hook = webhook(place, "/first", rule(body, "CREATE", "UPDATE"))
    with defined(place, body) as path:
        place.call("POST", path, custom(body, data={"before": "yes"}))
        found = place.call("GET", one)
        for each in found["spec"]["versions"]:
            each["storage"] = each["name"] == "v2"
        place.call("PUT", one, found)
        with registered(place, "mutating", hook):
            change = {"data": {"mutation-start": "yes"}}
            changed = place.call("PATCH", f"{path_of(body, place.namespace, 'v2')}/a", change)
            assert changed["data"] == {"before": "yes", "mutation-start": "yes", "mutation-stage-1": "yes"}
