"""sig-api-machinery: discovery, field validation of built-in kinds, chunks, watches, version."""

from __future__ import annotations

import json

import pytest
import trio

from tests.conformance.conftest import APPLY, Api
from tests.conformance.objects import APPS, NS, POD_SPEC, deployment, meta

# --- discovery and version ------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "server version should find the server version",
)
async def test_the_server_version_is_found(api: Api) -> None:
    found = await api.get("/version")
    assert (found["major"], found["gitVersion"][:3]) == ("1", "v1.")


@pytest.mark.conformance(
    "Discovery should locate the groupVersion and a resource within each APIGroup",
    "Discovery should validate PreferredVersion for each APIGroup",
)
async def test_each_group_is_found_with_its_versions_and_its_preferred_one(api: Api) -> None:
    groups = (await api.get("/apis"))["groups"]
    assert len(groups) > 15
    for group in groups:
        assert (await api.get(f"/apis/{group['name']}"))["preferredVersion"] == group["preferredVersion"]
        assert group["preferredVersion"] in group["versions"]
        for version in group["versions"]:
            listed = await api.get(f"/apis/{version['groupVersion']}")
            assert listed["groupVersion"] == version["groupVersion"]
            assert listed["resources"]


@pytest.mark.conformance(
    "AggregatedDiscovery should support aggregated discovery interface",
    "AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers",
)
async def test_aggregated_discovery_is_negotiated(api: Api) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    for path, group in (("/api", ""), ("/apis", "apps")):
        found = await api.get(path, accept=f"{accept},application/json")
        assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
        assert group in [item["metadata"].get("name", "") for item in found["items"]]
    assert (await api.get("/apis", accept="application/json"))["kind"] == "APIGroupList"


@pytest.mark.conformance(
    "AdmissionWebhook should include webhook resources in discovery documents",
)
async def test_webhook_kinds_are_in_discovery(api: Api) -> None:
    found = await api.get("/apis/admissionregistration.k8s.io/v1")
    names = {r["name"] for r in found["resources"]}
    assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= names


@pytest.mark.conformance(
    "Servers with support for Table transformation should return a 406 for a backend which does not implement "
    "metadata",
)
async def test_a_table_of_what_has_no_metadata_is_not_acceptable(api: Api) -> None:
    review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, 406, accept=table)


# --- field validation -----------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "FieldValidation should detect unknown and duplicate fields of a typed object",
)
async def test_unknown_and_duplicate_fields_of_a_typed_object_are_detected(api: Api) -> None:
    sent = json.dumps(deployment("x")).replace('"replicas": 1', '"unknownField": 1, "replicas": 2, "replicas": 3')
    path = f"{APPS}/deployments?fieldValidation="
    refused = await api.post(f"{path}Strict", sent.encode(), 400)
    said = 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"'
    assert said in refused["message"]
    warned = await api.send("POST", f"{path}Warn&dryRun=All", sent.encode())
    assert [text for name, text in warned.headers if name == b"warning"] == [
        b'299 - "unknown field \\"spec.unknownField\\""', b'299 - "duplicate field \\"spec.replicas\\""',
    ]  # fmt: skip
    applied = {"apiVersion": "v1", "kind": "ConfigMap", **meta("x"), "foo": 1}
    path = f"{NS}/configmaps/x?fieldManager=a&fieldValidation=Strict"
    said = (await api.patch(path, applied, 500, type=APPLY))["message"]
    assert said.endswith(": .foo: field not declared in schema")


async def test_keys_that_yaml_gives_twice_are_told_with_their_lines(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: '1'\n  a: '2'\nfoo: 1\n"
    path = f"{NS}/configmaps?dryRun=All&fieldValidation="
    refused = await api.post(f"{path}Strict", text, 400, content_type="application/yaml")
    said = 'strict decoding error: yaml: unmarshal errors:\n  line 6: key "a" already set in map, unknown field "foo"'
    assert said in refused["message"]
    warned = await api.send("POST", f"{path}Warn", text, content_type="application/yaml")
    assert [text for name, text in warned.headers if name == b"warning"] == [
        b'299 - "line 6: key \\"a\\" already set in map"', b'299 - "unknown field \\"foo\\""',
    ]  # fmt: skip


@pytest.mark.conformance(
    "FieldValidation should detect unknown metadata fields of a typed object",
)
async def test_unknown_metadata_fields_of_a_typed_object_are_detected(api: Api) -> None:
    bad = deployment("x")
    bad["metadata"]["unknownMeta"] = "a"
    bad["spec"]["template"]["metadata"]["unknownMeta"] = "b"
    said = (await api.post(f"{APPS}/deployments?fieldValidation=Strict", bad, 400))["message"]
    assert 'unknown field "metadata.unknownMeta"' in said
    assert 'unknown field "spec.template.metadata.unknownMeta"' in said


# --- lists in chunks ------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Servers with support for API chunking should return chunks of results for list calls",
)
async def test_lists_come_in_chunks_of_one_revision(api: Api) -> None:
    for i in range(25):
        await api.post(f"{NS}/podtemplates", {**meta(f"t{i:02}"), "template": {"spec": POD_SPEC}})
    seen: list[str] = []
    version, token = "", ""
    while True:
        page = await api.get(f"{NS}/podtemplates?limit=10&continue={token}")
        version = version or page["metadata"]["resourceVersion"]
        assert page["metadata"]["resourceVersion"] == version
        seen += [item["metadata"]["name"] for item in page["items"]]
        left = page["metadata"].get("remainingItemCount", 0)
        assert left == 25 - len(seen)
        token = page["metadata"].get("continue", "")
        if not token:
            break
        await api.post(f"{NS}/podtemplates", {**meta(f"later{len(seen)}"), "template": {"spec": POD_SPEC}})
    assert seen == [f"t{i:02}" for i in range(25)]


@pytest.mark.conformance(
    "Servers with support for API chunking should support continue listing from the last key if the original "
    "version has been compacted away, though the list is inconsistent",
)
async def test_a_list_goes_on_inconsistently_after_its_revision_was_compacted(api: Api) -> None:
    for i in range(6):
        await api.post(f"{NS}/podtemplates", {**meta(f"t{i}"), "template": {"spec": POD_SPEC}})
    first = await api.get(f"{NS}/podtemplates?limit=2")
    await api.delete(f"{NS}/podtemplates/t2")
    await api.post(f"{NS}/podtemplates", {**meta("t6"), "template": {"spec": POD_SPEC}})
    store = api.cluster.kernel.parts["store"]
    await store.compact(store.revision)
    refused = await api.get(f"{NS}/podtemplates?limit=2&continue={first['metadata']['continue']}", 410)
    assert refused["reason"] == "Expired"
    token = refused["metadata"]["continue"]
    rest = await api.get(f"{NS}/podtemplates?continue={token}")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["t3", "t4", "t5", "t6"]
    assert rest["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]


# --- watches --------------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Watchers should observe add, update, and delete watch notifications on configmaps",
)
async def test_watches_tell_of_additions_updates_and_deletions(api: Api) -> None:
    a, both = (f"{NS}/configmaps?labelSelector=w+in+({x})" for x in ("a", "a,b"))
    one, two = await api.watch(a), await api.watch(both)
    await api.post(f"{NS}/configmaps", meta("x", labels={"w": "a"}))
    await api.patch(f"{NS}/configmaps/x", {"data": {"k": "v"}})
    await api.delete(f"{NS}/configmaps/x")
    await api.post(f"{NS}/configmaps", meta("y", labels={"w": "b"}))
    wanted = [("ADDED", "x"), ("MODIFIED", "x"), ("DELETED", "x")]
    assert await one.seen(3) == wanted
    assert await two.seen(4) == [*wanted, ("ADDED", "y")]
    await one.close()
    await two.close()


@pytest.mark.conformance(
    "Watchers should be able to start watching from a specific resource version",
    "Watchers should be able to restart watching from the last resource version observed by the previous watch",
)
async def test_a_watch_starts_at_a_version_and_is_resumed_from_its_last(api: Api) -> None:
    old = await api.post(f"{NS}/configmaps", meta("x", labels={"w": "r"}))
    new = await api.patch(f"{NS}/configmaps/x", {"data": {"k": "1"}})
    await api.patch(f"{NS}/configmaps/x", {"data": {"k": "2"}})
    await api.delete(f"{NS}/configmaps/x")
    for start, expected in ((old, ["MODIFIED", "MODIFIED", "DELETED"]), (new, ["MODIFIED", "DELETED"])):
        version = start["metadata"]["resourceVersion"]
        watch = await api.watch(f"{NS}/configmaps?labelSelector=w%3Dr&resourceVersion={version}")
        assert [t for t, _ in await watch.seen(len(expected))] == expected
        await watch.close()


@pytest.mark.conformance(
    "Watchers should observe an object deletion if it stops meeting the requirements of the selector",
)
async def test_an_object_that_leaves_the_selection_is_deleted_for_the_watch(api: Api) -> None:
    watch = await api.watch(f"{NS}/configmaps?labelSelector=w%3Ds")
    await api.post(f"{NS}/configmaps", meta("x", labels={"w": "s"}))
    await api.patch(f"{NS}/configmaps/x", {"metadata": {"labels": {"w": "other"}}})
    await api.patch(f"{NS}/configmaps/x", {"data": {"unseen": "1"}})
    await api.patch(f"{NS}/configmaps/x", {"metadata": {"labels": {"w": "s"}}})
    assert await watch.seen(3) == [("ADDED", "x"), ("DELETED", "x"), ("ADDED", "x")]
    await watch.close()


@pytest.mark.conformance(
    "Watchers should receive events on concurrent watches in same order",
)
async def test_all_watches_see_one_order(api: Api) -> None:
    watches = [await api.watch(f"{NS}/configmaps?labelSelector=w%3Do") for _ in range(5)]

    async def write(prefix: str) -> None:
        for i in range(5):
            await api.post(f"{NS}/configmaps", meta(f"{prefix}{i}", labels={"w": "o"}))
            await api.delete(f"{NS}/configmaps/{prefix}{i}")

    async with trio.open_nursery() as nursery:
        for prefix in "abc":
            nursery.start_soon(write, prefix)
    orders = [await watch.seen(30) for watch in watches]
    assert all(order == orders[0] for order in orders)
    for watch in watches:
        await watch.close()
