"""Custom resources: how definitions come to be served, what their schemas do to objects, and how they end."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator

import pytest
import trio
from kcore_custom_resources.controller import CustomResources

from .custom import DEFINITIONS, MERGE, WS, condition, definition, made, props, version

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


@pytest.fixture
async def crds(api) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(CustomResources(api.server, logging.getLogger("kcore.api")).run)
        yield api
        nursery.cancel_scope.cancel()


async def established(api, body, name="ws.ex.com"):
    stream = await api.watch(f"{DEFINITIONS}?watch=1&fieldSelector=metadata.name={name}")
    await api.call("POST", DEFINITIONS, body, expect=201)
    seen = []
    while not seen or condition(seen[-1], "Established").get("status") != "True":
        seen.append((await stream.next())["object"])
    await stream.close()
    return seen


async def settled(api):
    """Until every write so far has been followed."""
    revision = -1
    while revision != api.store.revision:
        revision = api.store.revision
        await api.server.feed.caught_up()
        for _ in range(20):
            await trio.lowlevel.checkpoint()


# --- definitions -------------------------------------------------------------------------------------------------


async def test_a_definition_has_its_names_accepted_and_is_then_established(crds):
    seen = await established(crds, definition(shortNames=["wx"], categories=["all"]))
    first, accepted, done = seen
    assert first["status"] == {
        "conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"],
    }  # fmt: skip
    assert condition(accepted, "NamesAccepted")["reason"] == "NoConflicts"
    assert condition(accepted, "Established")["reason"] == "Installing"
    assert done["status"]["acceptedNames"] == {
        "plural": "ws", "singular": "w", "kind": "W", "listKind": "WList", "shortNames": ["wx"], "categories": ["all"],
    }  # fmt: skip
    owners = {entry["manager"]: entry.get("subresource") for entry in done["metadata"]["managedFields"]}
    assert owners["kube-apiserver"] == "status"
    resources = (await crds.call("GET", "/apis/ex.com/v1", expect=200))["resources"]
    assert resources[0]["shortNames"] == ["wx"]
    assert resources[0]["storageVersionHash"]
    assert (await crds.call("GET", "/apis/ex.com", expect=200))["preferredVersion"]["version"] == "v1"


async def test_a_taken_name_is_not_accepted_until_it_is_given_back(crds):
    await established(crds, definition(shortNames=["x"]))
    await crds.call("POST", DEFINITIONS, definition(plural="vs", kind="V", shortNames=["x"]), expect=201)
    await settled(crds)
    second = await crds.call("GET", f"{DEFINITIONS}/vs.ex.com", expect=200)
    assert condition(second, "NamesAccepted") | {"lastTransitionTime": ""} == {
        "type": "NamesAccepted", "status": "False", "lastTransitionTime": "", "reason": "ShortNamesConflict",
        "message": '"x" is already in use',
    }  # fmt: skip
    assert condition(second, "Established")["reason"] == "NotAccepted"
    assert (await crds.send("GET", "/apis/ex.com/v1/vs")).status == 404
    await crds.call("DELETE", f"{DEFINITIONS}/ws.ex.com", expect=200)
    await settled(crds)
    second = await crds.call("GET", f"{DEFINITIONS}/vs.ex.com", expect=200)
    assert condition(second, "Established")["status"] == "True"
    await crds.call("GET", "/apis/ex.com/v1/vs", expect=200)


async def test_a_group_of_kubernetes_says_whether_it_was_approved(crds):
    body = definition()
    body["spec"]["group"] = "ex.k8s.io"
    body["metadata"] = {"name": "ws.ex.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}}
    done = (await established(crds, body, "ws.ex.k8s.io"))[-1]
    assert condition(done, "KubernetesAPIApprovalPolicyConformant")["reason"] == "UnapprovedAnnotation"


async def test_a_definition_waits_for_its_last_object(crds):
    await established(crds, definition())
    held = made()
    held["metadata"]["finalizers"] = ["ex.com/hold"]
    await crds.call("POST", WS, held, expect=201)
    await crds.call("POST", WS, made("b"), expect=201)
    ending = await crds.call("DELETE", f"{DEFINITIONS}/ws.ex.com", expect=200)
    assert condition(ending, "Terminating")["reason"] == "InstanceDeletionPending"
    assert ending["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await settled(crds)
    ending = await crds.call("GET", f"{DEFINITIONS}/ws.ex.com", expect=200)
    assert condition(ending, "Terminating")["reason"] == "InstanceDeletionInProgress"
    assert [item["metadata"]["name"] for item in (await crds.call("GET", WS, expect=200))["items"]] == ["a"]
    refused = await crds.call("POST", WS, made("c"), expect=403)
    assert refused["message"].endswith("create not allowed while custom resource definition is terminating")
    stream = await crds.watch(f"{WS}?watch=1")
    assert (await stream.next())["type"] == "ADDED"
    await crds.call("PATCH", f"{WS}/a", {"metadata": {"finalizers": None}}, expect=200, **MERGE)
    assert (await stream.next())["type"] == "DELETED"
    assert await stream.next() is None  # the watch ends with its kind
    await settled(crds)
    await crds.call("GET", f"{DEFINITIONS}/ws.ex.com", expect=404)
    assert await crds.call("GET", WS, expect=404) == b"404 page not found\n"
    assert "ex.com/ws" not in crds.server.feed.caches()


async def test_a_definition_made_again_begins_anew(crds):
    for _ in range(3):
        await established(crds, definition())
        await crds.call("POST", WS, made(), expect=201)
        await crds.call("DELETE", f"{DEFINITIONS}/ws.ex.com", expect=200)
        await settled(crds)
    await established(crds, definition())
    assert (await crds.call("GET", WS, expect=200))["items"] == []


async def test_a_definition_changed_again_and_again_leaves_nothing_behind(crds):
    await established(crds, definition(version(spec=props(n=NUMBER))))
    path = f"{DEFINITIONS}/ws.ex.com"

    async def change(count):
        for at in range(count):
            minimum = [{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": f"{at}"}]
            await crds.call("PATCH", path, minimum, expect=200, content_type="application/json-patch+json")
            await crds.call("POST", f"{WS}?dryRun=All", made(spec={"n": 1}), expect=201)
        await settled(crds)
        gc.collect()
        return sum(
            type(o).__name__ in ("Kind", "Schema", "Served", "Shape", "CustomStrategy") for o in gc.get_objects()
        )

    before = await change(20)
    assert await change(100) <= before + 5


# --- schemas -----------------------------------------------------------------------------------------------------


async def test_what_the_schema_does_not_know_is_dropped_and_told(crds):
    inner = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"k": props(a=TEXT)}}
    spec = props(n=NUMBER, l={"type": "array", "items": props(a=TEXT)}, free=inner, m={
        "type": "object", "additionalProperties": props(a=TEXT)})  # fmt: skip
    await established(crds, definition(version(spec=spec)))
    given = {
        "n": 1,
        "zzz": 1,
        "l": [{"a": "x", "b": 1}],
        "free": {"any": 1, "k": {"a": "x", "b": 1}},
        "m": {"x": {"b": 1}},
    }
    response = await crds.send("POST", f"{WS}?fieldValidation=Warn", made(spec=given, top=1))
    told = [value.decode() for key, value in response.headers if key == b"warning"]
    assert told == [
        rf'299 - "unknown field \"{path}\""'
        for path in ("spec.free.k.b", "spec.l[0].b", "spec.m.x.b", "spec.zzz", "top")
    ]
    kept = await crds.call("GET", f"{WS}/a", expect=200)
    assert kept["spec"] == {"n": 1, "l": [{"a": "x"}], "free": {"any": 1, "k": {"a": "x"}}, "m": {"x": {}}}
    strict = await crds.call("POST", f"{WS}?fieldValidation=Strict", made("b", spec={"zzz": 1}), expect=400)
    assert strict["message"].endswith('strict decoding error: unknown field "spec.zzz"')


async def test_of_a_custom_resource_duplicates_are_told_first_and_its_patches_show_it_in_order(crds):
    await established(crds, definition(version(spec=props(a=TEXT, n=NUMBER))))
    body = b'{"apiVersion":"ex.com/v1","kind":"W","metadata":{"name":"a"},"spec":{"z":1,"n":1,"z":2,"a":"x","a":"y"}}'
    told = 'strict decoding error: duplicate field "spec.z", duplicate field "spec.a", unknown field "spec.z"'
    refused = await crds.call("POST", f"{WS}?fieldValidation=Strict", body, expect=400)
    assert refused["message"].endswith(told)
    await crds.call("POST", WS, body, expect=201)
    patch, merge = b'{"spec":{"z":1,"a":"x","a":"y"}}', "application/merge-patch+json"
    refused = await crds.call("PATCH", f"{WS}/a?fieldValidation=Strict", patch, content_type=merge, expect=422)
    message = refused["details"]["causes"][0]["message"]
    assert message.endswith('strict decoding error: duplicate field "spec.a", unknown field "spec.z"')
    assert r"\"spec\":{\"a\":\"y\",\"n\":1,\"z\":1}" in message


async def test_defaults_fill_in_what_is_missing_or_may_not_be_null(crds):
    spec = props(
        a={"type": "string", "default": "x"},
        n={"type": "string"},
        may={"type": "string", "nullable": True, "default": "x"},
        o={"type": "object", "default": {}, "properties": {"i": {"type": "integer", "default": 3}}},
        l={"type": "array", "items": props(d={"type": "boolean", "default": True})},
        m={"type": "object", "additionalProperties": props(d={"type": "integer", "default": 1})},
    )
    await established(crds, definition(version(spec=spec)))
    given = {"a": None, "n": None, "may": None, "l": [{}, {"d": False}], "m": {"k": {}}}
    created = await crds.call("POST", WS, made(spec=given), expect=201)
    assert created["spec"] == {
        "a": "x", "may": None, "l": [{"d": True}, {"d": False}], "m": {"k": {"d": 1}}, "o": {"i": 3},
    }  # fmt: skip


async def test_a_changed_schema_holds_at_once_for_what_is_stored_too(crds):
    await established(crds, definition(version(spec=props(a=TEXT, b=TEXT))))
    created = await crds.call("POST", WS, made(spec={"a": "1", "b": "2"}), expect=201)
    changed = {"spec": {"versions": [version(spec=props(a=TEXT, c={"type": "string", "default": "now"}))]}}
    await crds.call("PATCH", f"{DEFINITIONS}/ws.ex.com", changed, expect=200, **MERGE)
    await settled(crds)
    read = await crds.call("GET", f"{WS}/a", expect=200)
    assert read["spec"] == {"a": "1", "c": "now"}
    assert read["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    assert (await crds.call("GET", WS, expect=200))["items"][0]["spec"] == read["spec"]
    # writing the same again stores it in its new form
    again = await crds.call("PUT", f"{WS}/a", read, expect=200)
    assert int(again["metadata"]["resourceVersion"]) > int(read["metadata"]["resourceVersion"])
    same = await crds.call("PUT", f"{WS}/a", again, expect=200)
    assert same["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]


async def test_a_value_that_was_allowed_may_stay_but_not_become_another_wrong_one(crds):
    rule = {"x-kubernetes-validations": [{"rule": "self != 'long-value'"}]}
    await established(crds, definition(version(spec=props(a=TEXT, b=TEXT))))
    await crds.call("POST", WS, made(spec={"a": "long-value"}), expect=201)
    changed = {"spec": {"versions": [version(spec=props(a={"type": "string", "maxLength": 3, **rule}, b=TEXT))]}}
    await crds.call("PATCH", f"{DEFINITIONS}/ws.ex.com", changed, expect=200, **MERGE)
    await settled(crds)
    await crds.call("PATCH", f"{WS}/a", {"spec": {"b": "2"}}, expect=200, **MERGE)
    refused = await crds.call("PATCH", f"{WS}/a", {"spec": {"a": "other"}}, expect=422, **MERGE)
    assert refused["details"]["causes"][0]["message"] == "Too long: may not be more than 3 bytes"


async def test_equal_is_not_the_same_where_a_boolean_stands_for_a_number(crds):
    await established(crds, definition(version(spec=props(n=NUMBER, b=TEXT))))
    await crds.call("POST", WS, made(spec={"n": 1}), expect=201)
    await crds.call("PATCH", f"{WS}/a", {"spec": {"n": True}}, expect=422, **MERGE)


async def test_embedded_objects_keep_their_type_and_metadata(crds):
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    await established(crds, definition(version(spec=props(t=embedded))))
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"q": 1}}
    created = await crds.call("POST", WS, made(spec={"t": template}), expect=201)
    assert created["spec"]["t"] == template
    refused = await crds.call("POST", WS, made("b", spec={"t": {"metadata": {}}}), expect=422)
    assert [c["field"] for c in refused["details"]["causes"]] == ["spec.t.apiVersion", "spec.t.kind"]


@pytest.mark.parametrize(
    ("value", "ok"), [(1, True), ("50%", True), (True, False), ({}, False), (1.5, False)]
)  # fmt: skip
async def test_int_or_string_is_one_of_them(crds, value, ok):
    await established(crds, definition(version(spec=props(p={"x-kubernetes-int-or-string": True}))))
    await crds.call("POST", WS, made(spec={"p": value}), expect=201 if ok else 422)


# --- rules -------------------------------------------------------------------------------------------------------


async def test_rules_compare_an_object_with_what_it_was(crds):
    item = props(k=TEXT, v={**NUMBER, "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "only up"}]})
    keyed = {"type": "array", "items": item | {"required": ["k"]}, "x-kubernetes-list-type": "map",
             "x-kubernetes-list-map-keys": ["k"], "maxItems": 5}  # fmt: skip
    await established(crds, definition(version(spec=props(l=keyed))))
    await crds.call("POST", WS, made(spec={"l": [{"k": "a", "v": 2}, {"k": "b", "v": 5}]}), expect=201)
    turned = [{"k": "b", "v": 5}, {"k": "a", "v": 3}]
    await crds.call("PATCH", f"{WS}/a", {"spec": {"l": turned}}, expect=200, **MERGE)
    turned[0]["v"] = 4
    refused = await crds.call("PATCH", f"{WS}/a", {"spec": {"l": turned}}, expect=422, **MERGE)
    assert refused["details"]["causes"] == [
        {"reason": "FieldValueInvalid", "message": "Invalid value: 4: only up", "field": "spec.l[0].v"}
    ]


async def test_rules_wait_until_the_object_is_otherwise_right(crds):
    rules = [{"rule": "self.n != 3", "fieldPath": ".n", "reason": "FieldValueForbidden", "message": "no threes"}]
    spec = {**props(n=NUMBER), "required": ["n"], "x-kubernetes-validations": rules}
    await established(crds, definition(version(spec=spec)))
    refused = await crds.call("POST", WS, made(spec={}), expect=422)
    assert [c["field"] for c in refused["details"]["causes"]] == ["spec.n", "<nil>"]
    refused = await crds.call("POST", WS, made(spec={"n": 3}), expect=422)
    assert refused["details"]["causes"] == [
        {"reason": "FieldValueForbidden", "message": "Forbidden: no threes", "field": "spec.n"}
    ]


async def test_rules_that_cost_too_much_are_cut_off(crds):
    costly = {"type": "array", "maxItems": 100, "items": NUMBER, "x-kubernetes-validations": [
        {"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}]}  # fmt: skip
    await established(crds, definition(version(spec=props(l=costly))))
    refused = await crds.call("POST", WS, made(spec={"l": [1] * 100}), expect=422)
    assert "no further validation rules will be run" in refused["message"]


# --- versions ----------------------------------------------------------------------------------------------------


def two(**second):
    new = version("v2", spec=props(a=TEXT, c=TEXT), storage=False, **second)
    return definition(version(spec=props(a=TEXT, b=TEXT)), new)


async def test_each_version_shows_what_its_schema_knows(crds):
    await established(crds, two())
    v2 = WS.replace("v1", "v2")
    await crds.call("POST", WS, made(spec={"a": "1", "b": "2"}), expect=201)
    newer = await crds.call("GET", f"{v2}/a", expect=200)
    assert (newer["apiVersion"], newer["spec"]) == ("ex.com/v2", {"a": "1"})
    stream = await crds.watch(f"{v2}?watch=1")
    assert (await stream.next())["object"] == newer
    await crds.call("PATCH", f"{WS}/a", {"spec": {"a": "3"}}, expect=200, **MERGE)
    assert (await stream.next())["object"]["spec"] == {"a": "3"}
    await stream.close()
    listed = await crds.call("GET", v2, expect=200)
    assert [(i["apiVersion"], i["spec"]) for i in listed["items"]] == [("ex.com/v2", {"a": "3"})]


async def test_a_write_moves_an_object_to_the_storage_version(crds):
    await established(crds, two())
    created = await crds.call("POST", WS, made(spec={"a": "1", "b": "2"}), expect=201)
    versions = [version(spec=props(a=TEXT, b=TEXT), storage=False), version("v2", spec=props(a=TEXT, c=TEXT))]
    changed = await crds.call(
        "PATCH", f"{DEFINITIONS}/ws.ex.com", {"spec": {"versions": versions}}, expect=200, **MERGE
    )
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    await settled(crds)
    assert b'"apiVersion":"ex.com/v1"' in crds.server.feed.cache("ex.com/ws").get("default", "a").value
    read = await crds.call("GET", f"{WS}/a", expect=200)
    assert read["spec"] == {"a": "1", "b": "2"}
    written = await crds.call("PUT", f"{WS}/a", read, expect=200)
    assert written["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]
    await settled(crds)
    assert b'"apiVersion":"ex.com/v2"' in crds.server.feed.cache("ex.com/ws").get("default", "a").value


async def test_a_deprecated_version_warns(crds):
    body = definition(version(deprecated=True), version("v2", storage=False))
    await established(crds, body)
    response = await crds.send("GET", WS)
    assert (b"warning", b'299 - "ex.com/v1 W is deprecated; use ex.com/v2 W"') in response.headers


# --- columns, fields, subresources -------------------------------------------------------------------------------


async def test_columns_are_read_by_their_paths(crds):
    paths = {"S": ".spec.s", "L": ".spec.l[*].k", "R": '.spec.c[?(@.type=="Ready")].status', "O": ".spec.o"}
    columns = [{"name": name, "type": "string", "jsonPath": path} for name, path in paths.items()]
    columns.append({"name": "Bad", "type": "string", "jsonPath": ".spec.x["})
    columns += [
        {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1},
        {"name": "T", "type": "date", "jsonPath": ".spec.t"},
    ]
    await established(crds, definition(version(additionalPrinterColumns=columns)))
    spec = {"s": "x", "l": [{"k": "1"}, {"k": "2"}], "c": [{"type": "A"}, {"type": "Ready", "status": "True"}],
            "o": {"q": [1]}, "n": 5, "t": "nonsense"}  # fmt: skip
    await crds.call("POST", WS, made(spec=spec), expect=201)
    await crds.call("POST", WS, made("b"), expect=201)
    table = await crds.call("GET", WS, expect=200, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [row["cells"] for row in table["rows"]] == [
        ["a", "x", "1", "True", '{"q":[1]}', None, 5, "<invalid>"], ["b", *[None] * 7],
    ]  # fmt: skip
    assert [c["priority"] for c in table["columnDefinitions"]] == [0, 0, 0, 0, 0, 0, 1, 0]


async def test_selectable_fields_pick_objects_from_lists_and_watches(crds):
    spec = props(color=TEXT, on={"type": "boolean"})
    fields = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.on"}]
    await established(crds, definition(version(spec=spec, selectableFields=fields)))
    await crds.call("POST", WS, made(spec={"color": "red", "on": True}), expect=201)
    await crds.call("POST", WS, made("b", spec={"color": "blue"}), expect=201)
    found = await crds.call("GET", f"{WS}?fieldSelector=spec.color=red,spec.on=true", expect=200)
    assert [i["metadata"]["name"] for i in found["items"]] == ["a"]
    stream = await crds.watch(f"{WS}?watch=1&fieldSelector=spec.color=blue")
    assert (await stream.next())["object"]["metadata"]["name"] == "b"
    await crds.call("PATCH", f"{WS}/a", {"spec": {"color": "blue"}}, expect=200, **MERGE)
    assert (await stream.next())["type"] == "ADDED"
    await stream.close()
    refused = await crds.call("GET", f"{WS}?fieldSelector=spec.size=1", expect=400)
    assert refused["message"] == "field label not supported: spec.size"


async def test_status_and_scale_are_written_by_themselves(crds):
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.s"}
    await established(crds, definition(version(subresources={"status": {}, "scale": scale})))
    await crds.call("POST", WS, made("none"), expect=201)
    missing = await crds.call("GET", f"{WS}/none/scale", expect=500)
    assert missing["message"].endswith('the spec replicas field ".spec.replicas" does not exist')
    created = await crds.call("POST", WS, made(spec={"replicas": 2}, status={"n": 1}), expect=201)
    assert "status" not in created
    status = {"status": {"n": 1, "s": "a=b"}, "spec": {"replicas": 9}}
    written = await crds.call("PATCH", f"{WS}/a/status", status, expect=200, **MERGE)
    assert (written["spec"], written["metadata"]["generation"]) == ({"replicas": 2}, 1)
    got = await crds.call("GET", f"{WS}/a/scale", expect=200)
    assert (got["spec"], got["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    await crds.call("PATCH", f"{WS}/a/scale", {"spec": {"replicas": 5}}, expect=200, **MERGE)
    now = await crds.call("GET", f"{WS}/a", expect=200)
    assert (now["spec"]["replicas"], now["metadata"]["generation"]) == (5, 2)
    refused = await crds.call("PATCH", f"{WS}/a", {"spec": {"replicas": -1}}, expect=422, **MERGE)
    assert "should be a non-negative integer" in refused["message"]


async def test_a_missing_subresource_is_not_found_like_an_object(crds):
    await established(crds, definition())
    await crds.call("POST", WS, made(), expect=201)
    assert (await crds.call("GET", f"{WS}/a/status", expect=404))["message"] == 'ws.ex.com "a" not found'


async def test_a_custom_resource_says_what_it_is(crds):
    await established(crds, definition())
    wrong = await crds.call("POST", WS, {**made(), "kind": "Q"}, expect=422)
    assert wrong["message"] == 'Q.ex.com "a" is invalid: kind: Invalid value: "Q": must be W'
    other = await crds.call("POST", WS, made(api_version="ex.com/v9"), expect=400)
    assert "does not match the expected API version (ex.com/v1)" in other["message"]


async def test_custom_resources_have_no_protobuf_and_no_strategic_patch(crds):
    await established(crds, definition())
    await crds.call("POST", WS, made(), expect=201)
    answer = await crds.send("GET", f"{WS}/a", accept="application/vnd.kubernetes.protobuf,application/json")
    assert answer.content_type == "application/json"
    await crds.call("GET", f"{WS}/a", expect=406, accept="application/vnd.kubernetes.protobuf")
    patch = {"content_type": "application/strategic-merge-patch+json"}
    await crds.call("PATCH", f"{WS}/a", {"spec": {}}, expect=415, **patch)


async def test_server_side_apply_merges_by_the_definitions_schema(crds):
    item = {**props(k=TEXT, v=NUMBER), "required": ["k"]}
    keyed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    await established(crds, definition(version(spec=props(l=keyed))))
    apply = {"content_type": "application/apply-patch+yaml"}
    for manager, key in (("one", "a"), ("two", "b")):
        await crds.call("PATCH", f"{WS}/a?fieldManager={manager}", made(spec={"l": [{"k": key, "v": 1}]}), **apply)
    now = await crds.call("GET", f"{WS}/a", expect=200)
    assert now["spec"]["l"] == [{"k": "a", "v": 1}, {"k": "b", "v": 1}]
    changed = made(spec={"l": [{"k": "a", "v": 2}]})
    refused = await crds.call("PATCH", f"{WS}/a?fieldManager=two", changed, expect=409, **apply)
    assert refused["details"]["causes"][0]["field"] == '.spec.l[k="a"].v'
