"""Creating, reading, changing and deleting objects, over HTTP and through the in-process client."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kcore import errors
from kcore.api.codec import protobuf
from kcore.objects import names
from kcore.objects.resources import CONFIGMAPS

CM = "/api/v1/namespaces/default/configmaps"


def config_map(name: str = "x", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_a_created_object_can_be_read_back_as_it_was_answered(api):
    created = await api.call("POST", CM, config_map(a="1"), expect=201)
    assert created["metadata"]["namespace"] == "default"
    assert created["metadata"]["uid"]
    assert created["metadata"]["creationTimestamp"]
    assert created["data"] == {"a": "1"}
    assert await api.call("GET", CM + "/x", expect=200) == created


async def test_creating_twice_is_refused(api):
    await api.call("POST", CM, config_map(), expect=201)
    status = await api.call("POST", CM, config_map(), expect=409)
    assert status["message"] == 'configmaps "x" already exists'
    assert status["reason"] == "AlreadyExists"


async def test_a_generated_name_has_the_prefix_and_is_unique(api):
    names = set()
    for _ in range(5):
        body = {"metadata": {"generateName": "web-"}}
        names.add((await api.call("POST", CM, body, expect=201))["metadata"]["name"])
    assert len(names) == 5
    assert all(n.startswith("web-") and len(n) == 9 for n in names)


async def test_an_update_with_a_stale_resource_version_conflicts(api):
    first = await api.call("POST", CM, config_map(), expect=201)
    second = await api.call("PUT", CM + "/x", {**first, "data": {"a": "2"}}, expect=200)
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    status = await api.call("PUT", CM + "/x", {**first, "data": {"a": "3"}}, expect=409)
    assert "the object has been modified" in status["message"]


async def test_an_update_that_changes_nothing_is_not_written(api):
    first = await api.call("POST", CM, config_map(a="1"), expect=201)
    revision = api.store.revision
    again = await api.call("PUT", CM + "/x", first, expect=200)
    assert again == first
    assert api.store.revision == revision


async def test_a_deleted_object_is_gone(api):
    await api.call("POST", CM, config_map(), expect=201)
    status = await api.call("DELETE", CM + "/x", expect=200)
    assert status["status"] == "Success"
    assert status["details"]["name"] == "x"
    assert (await api.call("GET", CM + "/x", expect=404))["message"] == 'configmaps "x" not found'


@pytest.mark.parametrize("api_version", ["v1", "meta.k8s.io/v1"])  # client-go names the resource's own
async def test_options_of_a_deletion_may_come_as_protobuf(api, api_version):
    await api.call("POST", CM, config_map(), expect=201)
    options = {"apiVersion": api_version, "kind": "DeleteOptions", "preconditions": {"uid": "other"}}
    sent = {"content_type": protobuf.CONTENT_TYPE}
    assert (
        "the UID in the precondition (other)"
        in (await api.call("DELETE", CM + "/x", protobuf.encode(options), **sent))["message"]
    )
    del options["preconditions"]
    await api.call("DELETE", CM + "/x", protobuf.encode(options), expect=200, **sent)


async def test_a_finalizer_holds_an_object_until_it_is_removed(api):
    body = config_map()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await api.call("POST", CM, body, expect=201)
    held = await api.call("DELETE", CM + "/x", expect=200)
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    status = await api.call("POST", CM, config_map(), expect=409)
    assert status["message"] == 'object is being deleted: configmaps "x" already exists'
    held["metadata"]["finalizers"] = []
    await api.call("PUT", CM + "/x", held, expect=200)
    await api.call("GET", CM + "/x", expect=404)


async def test_a_list_holds_every_object_in_order_and_watches_can_start_from_it(api):
    for name in ("b", "a", "c"):
        await api.call("POST", CM, config_map(name), expect=201)
    page = await api.call("GET", CM, expect=200)
    assert page["kind"] == "ConfigMapList"
    assert [i["metadata"]["name"] for i in page["items"]] == ["a", "b", "c"]
    assert page["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_the_client_sees_what_http_wrote_and_shares_the_decoded_object(api):
    await api.call("POST", CM, config_map(a="1"), expect=201)
    one = await api.client.get(CONFIGMAPS, "x", "default")
    two = (await api.client.list(CONFIGMAPS, "default")).items[0]
    assert one is two
    assert one["data"] == {"a": "1"}


async def test_the_client_writes_through_the_same_pipeline(api):
    created = await api.client.create(CONFIGMAPS, config_map(a="1"), "default")
    assert created["metadata"]["uid"]
    with pytest.raises(errors.AlreadyExists):
        await api.client.create(CONFIGMAPS, config_map(), "default")
    with pytest.raises(errors.Invalid):
        await api.client.create(CONFIGMAPS, config_map("Bad_"), "default")
    changed = await api.client.patch(CONFIGMAPS, "x", {"data": {"b": "2"}}, "default")
    assert changed["data"] == {"a": "1", "b": "2"}
    await api.client.delete(CONFIGMAPS, "x", "default")
    with pytest.raises(errors.NotFound):
        await api.client.get(CONFIGMAPS, "x", "default")


async def test_a_strictly_refused_patch_shows_what_was_patched(api):
    await api.call("POST", CM, {"metadata": {"name": "a"}}, expect=201)
    strict = CM + "/a?fieldValidation=Strict"
    status = await api.call("PATCH", strict, {"foo": 1}, expect=422, content_type="application/merge-patch+json")
    assert '"foo":1' in status["details"]["causes"][0]["message"].replace("\\", "")
    assert status["details"]["causes"][0]["message"].endswith('strict decoding error: unknown field "foo"')


async def test_a_put_that_names_a_uid_is_for_that_object_alone(api):
    made = await api.call("POST", CM, {"metadata": {"name": "a"}}, expect=201)
    for name, found in (("a", made["metadata"]["uid"]), ("missing", "")):
        body = {"metadata": {"name": name, "uid": "another"}}
        refused = await api.call("PUT", f"{CM}/{name}", body, expect=409)
        why = f"Precondition failed: UID in precondition: another, UID in object meta: {found}"
        assert refused["message"].endswith(why)


@pytest.mark.parametrize("type", ["merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"])
async def test_a_patch_cannot_change_the_uid(api, type):
    await api.call("POST", CM, {"metadata": {"name": "a"}}, expect=201)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "another"}}
    path = f"{CM}/a" + ("?fieldManager=m" if type.startswith("apply") else "")
    refused = await api.call("PATCH", path, body, content_type=f"application/{type}", expect=422)
    assert refused["message"] == (
        'ConfigMap "a" is invalid: metadata.uid: Invalid value: "another": field is immutable'
    )


async def test_applying_what_does_not_exist_creates_it_unless_a_uid_is_named(api):
    path, apply = f"{CM}/new?fieldManager=m", "application/apply-patch+yaml"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new", "uid": "gone"}}
    refused = await api.call("PATCH", path, body, content_type=apply, expect=409)
    assert refused["message"].endswith(
        "uid mismatch: the provided object specified uid gone, and no existing object was found"
    )
    body["metadata"] = {"name": "new", "resourceVersion": "3"}
    await api.call("PATCH", path, body, content_type=apply, expect=201)


async def test_a_put_creates_a_lease_whatever_version_it_names(api):
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    body = {"metadata": {"name": "a", "resourceVersion": "70000"}, "spec": {}}
    made = await api.call("PUT", f"{leases}/a", body, expect=201)
    assert made["metadata"]["resourceVersion"] != "70000"


async def test_a_name_that_is_taken_is_told_otherwise_when_it_could_be_generated(api):
    body = {"metadata": {"name": "a", "generateName": "a-"}}
    await api.call("POST", CM, body, expect=201)
    refused = await api.call("POST", CM, body, expect=409)
    assert refused["message"] == (
        'configmaps "a" already exists, the server was not able to generate a unique name for the object'
    )
    assert refused["details"]["retryAfterSeconds"] == 1


async def test_generated_names_are_tried_eight_times(api, monkeypatch):
    class Unlucky:
        left = 0

        def choices(self, letters: str, k: int) -> str:
            self.left -= 1
            return "other" if self.left == 0 else "same1"

    luck = Unlucky()
    monkeypatch.setattr(names, "_random", luck)
    body = {"metadata": {"generateName": "a-"}}
    assert (await api.call("POST", CM, body, expect=201))["metadata"]["name"] == "a-same1"
    luck.left = 8
    assert (await api.call("POST", CM, body, expect=201))["metadata"]["name"] == "a-other"
    luck.left = 9
    refused = await api.call("POST", CM, body, expect=409)
    assert "not able to generate a unique name" in refused["message"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"preconditions": {"uid": ""}}, 409),
        ({"preconditions": {"resourceVersion": ""}}, 409),
        ({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}, 400),
    ],
)
async def test_a_deletion_that_is_not_meant_for_the_object_leaves_it(api, body, code):
    await api.call("POST", CM, config_map(), expect=201)
    await api.call("DELETE", CM + "/x", body, expect=code)
    await api.call("GET", CM + "/x", expect=200)
    await api.call("DELETE", CM + "/x", {"kind": "DeleteOptions", "apiVersion": "apps/v1"}, expect=200)


async def test_an_owner_that_is_named_twice_is_kept_once(api):
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1"}
    other = {**owner, "name": "q"}
    body = {"metadata": {"name": "x", "ownerReferences": [owner, other, owner]}}
    made = await api.send("POST", CM, body)
    assert msgspec.json.decode(b"".join(made.body))["metadata"]["ownerReferences"] == [owner, other]
    told = dict(made.headers)[b"warning"].decode()
    assert told.startswith('299 - ".metadata.ownerReferences contains duplicate entries; API server dedups')
    assert told.endswith('duplicate UID(s) observed: u1"')
    again = await api.call("PUT", CM + "/x", body, expect=200)
    assert again["metadata"]["ownerReferences"] == [owner, other]
    patch = [{"op": "add", "path": "/metadata/ownerReferences/-", "value": owner}]
    patched = await api.send("PATCH", CM + "/x", patch, content_type="application/json-patch+json")
    assert b"duplicate entries after mutating admission happens" in dict(patched.headers)[b"warning"]
    assert msgspec.json.decode(b"".join(patched.body)) == again


async def test_a_namespace_in_an_object_of_the_whole_cluster_means_nothing(api):
    body = {"metadata": {"name": "kube-public", "namespace": "elsewhere", "labels": {"a": "b"}}}
    await api.call("POST", "/api/v1/namespaces", {"metadata": {**body["metadata"], "name": "new"}}, expect=201)
    found = await api.call("PUT", "/api/v1/namespaces/kube-public", body, expect=200)
    assert "namespace" not in found["metadata"]


@pytest.mark.parametrize(("version", "code"), [("", 201), ("0", 201), ("x", 201), ("7", 500)])
async def test_a_new_object_has_no_version(api, version, code):
    body = {"metadata": {"name": "x", "resourceVersion": version}}
    await api.call("POST", CM, body, expect=code)
