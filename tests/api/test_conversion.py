"""Versions that a webhook converts: every way in and out of the store, and what happens when it fails."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from kcore.api import layout
from kcore.http.messages import Response
from kcore.pki import Pki

from .conftest import Api
from .converting import V2, V3, converted, converting, declare, extended, redeclare
from .custom import DEFINITIONS, MERGE, WS, made

APPLY = {"content_type": "application/apply-patch+yaml"}
JSON_PATCH = {"content_type": "application/json-patch+json"}
WHO = "conversion webhook for ex.com/v1, Kind=W"


async def test_an_object_goes_in_and_out_in_the_version_of_the_request(api, converter):
    created = await api.call("POST", WS, made(spec={"name": "x"}), expect=201)
    assert (created["apiVersion"], created["spec"]) == ("ex.com/v1", {"name": "x"})
    for path, member in ((WS, "name"), (V2, "title"), (V3, "heading")):
        read = await api.call("GET", f"{path}/a", expect=200)
        assert read["spec"] == {member: "x"}
        assert read["metadata"] == created["metadata"]
    changed = await api.call("PATCH", f"{WS}/a", {"spec": {"name": "y"}}, expect=200, **MERGE)
    assert changed["spec"] == {"name": "y"}
    assert changed["metadata"]["generation"] == 2
    assert (await api.call("GET", f"{V2}/a", expect=200))["spec"] == {"title": "y"}
    assert {entry["apiVersion"] for entry in changed["metadata"]["managedFields"]} == {"ex.com/v1"}
    await api.call("DELETE", f"{WS}/a", expect=200)
    await api.call("GET", f"{V2}/a", expect=404)


async def test_every_way_to_write_takes_every_version(api, converter):
    await api.call("POST", V3, made(api_version="ex.com/v3", spec={"heading": "x"}), expect=201)
    read = await api.call("GET", f"{WS}/a", expect=200)
    put = await api.call("PUT", f"{WS}/a", {**read, "spec": {"name": "put"}}, expect=200)
    assert put["spec"] == {"name": "put"}
    operations = [{"op": "test", "path": "/spec/title", "value": "put"}]
    operations += [{"op": "replace", "path": "/spec/title", "value": "patched"}]
    assert (await api.call("PATCH", f"{V2}/a", operations, expect=200, **JSON_PATCH))["spec"] == {"title": "patched"}
    applied = made(api_version="ex.com/v3", spec={"heading": "applied"})
    got = await api.call("PATCH", f"{V3}/a?fieldManager=m&force=true", applied, expect=200, **APPLY)
    assert got["spec"] == {"heading": "applied"}
    assert (await api.call("GET", f"{WS}/a", expect=200))["spec"] == {"name": "applied"}
    new = made("b", "ex.com/v1", spec={"name": "new"})
    got = await api.call("PATCH", f"{WS}/b?fieldManager=m", new, expect=201, **APPLY)
    assert (got["apiVersion"], got["spec"]) == ("ex.com/v1", {"name": "new"})
    dry = await api.call("PATCH", f"{WS}/b?dryRun=All", {"spec": {"name": "dry"}}, expect=200, **MERGE)
    assert dry["spec"] == {"name": "dry"}
    assert (await api.call("GET", f"{V3}/b", expect=200))["spec"] == {"heading": "new"}
    await api.call("DELETE", V3, expect=200)
    assert (await api.call("GET", WS, expect=200))["items"] == []


async def test_a_list_is_converted_with_one_call_and_then_remembered(api, converter):
    for name in ("a", "b", "c"):
        await api.call("POST", V2, made(name, "ex.com/v2", spec={"title": name}), expect=201)
    converter.reviews.clear()
    for _ in range(2):
        listed = await api.call("GET", WS, expect=200)
        assert [item["spec"]["name"] for item in listed["items"]] == ["a", "b", "c"]
        assert listed["apiVersion"] == "ex.com/v1"
    assert converter.calls == [3]


async def test_a_long_list_is_converted_a_hundred_at_a_time_and_what_is_large_alone(api, converter):
    for number in range(205):
        await api.call("POST", V2, made(f"w{number:03}", "ex.com/v2", spec={"title": str(number)}), expect=201)
    converter.reviews.clear()
    listed = await api.call("GET", WS, expect=200)
    assert [item["spec"]["name"] for item in listed["items"]] == [str(n) for n in range(205)]
    assert sorted(converter.calls) == [5, 100, 100]
    for name in ("x", "y", "z"):
        await api.call("POST", V2, made(name, "ex.com/v2", spec={"title": "t" * 600_000}), expect=201)
    converter.reviews.clear()
    assert len((await api.call("GET", V3, expect=200))["items"]) == 208
    assert sorted(converter.calls) == [1, 1, 6, 100, 100]


async def test_only_what_is_stored_in_another_version_is_sent(api, converter):
    await api.call("POST", V2, made("a", "ex.com/v2", spec={"title": "x"}), expect=201)
    converter.reviews.clear()
    await api.call("POST", V2, made("b", "ex.com/v2", spec={"title": "y"}), expect=201)
    assert len((await api.call("GET", V2, expect=200))["items"]) == 2
    assert converter.calls == []


async def test_a_watch_tells_every_change_in_its_own_version(api, converter):
    await api.call("POST", V2, made("a", "ex.com/v2", spec={"title": "x"}), expect=201)
    stream = await api.watch(f"{WS}?watch=1")
    assert (await stream.next())["object"]["spec"] == {"name": "x"}
    await api.call("PATCH", f"{V2}/a", {"spec": {"title": "y"}}, expect=200, **MERGE)
    assert (await stream.next())["object"]["spec"] == {"name": "y"}
    await api.call("DELETE", f"{V2}/a", expect=200)
    gone = await stream.next()
    assert (gone["type"], gone["object"]["spec"]) == ("DELETED", {"name": "y"})
    await stream.close()


async def test_fields_are_selected_as_the_version_has_them(api, converter):
    await api.call("POST", WS, made("a", spec={"name": "x"}), expect=201)
    await api.call("POST", WS, made("b", spec={"name": "y"}), expect=201)
    found = await api.call("GET", f"{V2}?fieldSelector=spec.title=y", expect=200)
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]


async def test_when_another_version_is_stored_old_objects_are_served_and_migrate_with_their_next_write(api, converter):
    for name in ("a", "b"):
        await api.call("POST", V2, made(name, "ex.com/v2", spec={"title": name}), expect=201)
    spec = converted(converter.client, storage="v3")["spec"]
    await redeclare(api, {"versions": spec["versions"]})
    crd = await api.call("GET", f"{DEFINITIONS}/ws.ex.com", expect=200)
    assert crd["status"]["storedVersions"] == ["v2", "v3"]
    for path, member in ((WS, "name"), (V2, "title"), (V3, "heading")):
        listed = await api.call("GET", path, expect=200)
        assert [item["spec"] for item in listed["items"]] == [{member: "a"}, {member: "b"}]

    read = await api.call("GET", f"{WS}/a", expect=200)
    again = await api.call("PUT", f"{WS}/a", read, expect=200)  # nothing changes but what lies in the store
    assert again["metadata"]["resourceVersion"] != read["metadata"]["resourceVersion"]
    assert await _stored(api) == {"a": "ex.com/v3", "b": "ex.com/v2"}
    once_more = await api.call("PUT", f"{WS}/a", again, expect=200)
    assert once_more["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]

    without = {"versions": [v for v in spec["versions"] if v["name"] != "v2"]}
    said = await api.call("PATCH", f"{DEFINITIONS}/ws.ex.com", {"spec": without}, expect=422, **MERGE)
    assert 'status.storedVersions[0]: Invalid value: "v2": must appear in spec.versions' in said["message"]
    await api.call("PUT", f"{V3}/b", await api.call("GET", f"{V3}/b", expect=200), expect=200)
    assert await _stored(api) == {"a": "ex.com/v3", "b": "ex.com/v3"}
    status = {"status": {"storedVersions": ["v3"]}}
    await api.call("PATCH", f"{DEFINITIONS}/ws.ex.com/status", status, expect=200, **MERGE)
    await redeclare(api, without)
    assert (await api.call("GET", f"{WS}/b", expect=200))["spec"] == {"name": "b"}
    assert (await api.send("GET", f"{V2}/b")).status == 404


async def _stored(api: Api) -> dict[str, str]:
    """The versions in which objects lie in the store, by name."""
    page = await api.store.range(layout.key("ex.com/ws", "", ""))
    found = [msgspec.json.decode(kv.value) for kv in page.items]
    return {obj["metadata"]["name"]: obj["apiVersion"] for obj in found}


# --- a webhook that goes wrong ---------------------------------------------------------------------------------------


async def _refused(api: Api, code: int = 500) -> str:
    """What a client is told that creates an object in a version that is not stored."""
    status = await api.call("POST", WS, made("b", spec={"name": "x"}), expect=code)
    assert "reason" not in status
    assert "details" not in status
    message: str = status["message"]
    return message


def _in(*path: str, value: Any) -> Any:
    def change(doc: Any) -> Any:
        inner = doc
        for key in path[:-1]:
            inner = inner[key]
        if value is None:
            inner.pop(path[-1])
        else:
            inner[path[-1]] = value
        return doc

    return change


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_in("response", value=None), " failed: no response provided"),
        (_in("response", "convertedObjects", value=[]), " returned 0 objects, expected 1"),
        (_in("response", "convertedObjects", value=None), " returned 0 objects, expected 1"),
        (_in("response", "result", value={"status": "Failure", "message": "no way"}), " failed: no way"),
        (_in("response", "result", value=None), " failed: response.result.status was '', not 'Success'"),
        (
            _in("apiVersion", value="apiextensions.k8s.io/v1beta1"),
            " failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got "
            "apiextensions.k8s.io/v1beta1, Kind=ConversionReview",
        ),
        (
            lambda answer: Response(200, b""),
            ' failed: 0-length response with status code: 200 and content type: application/json',
        ),
        (
            lambda answer: Response(500, b"oops", "text/plain"),
            ' failed: an error on the server ("oops") has prevented the request from succeeding',
        ),
    ],
)  # fmt: skip
async def test_a_wrong_answer_is_an_error_that_says_why(api, converter, spoil, why):
    converter.spoil = spoil
    assert await _refused(api) == WHO + why


async def test_an_answer_to_another_question_is_not_believed(api, converter):
    converter.spoil = _in("response", "uid", value="other")
    said = await _refused(api)
    uid = converter.reviews[-1]["request"]["uid"]
    assert said == f'{WHO} failed: expected response.uid="{uid}", got "other"'


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (
            _in("apiVersion", value="ex.com/v9"),
            f"{WHO} returned invalid object at index 0: invalid groupVersion (expected ex.com/v2, received ex.com/v9)",
        ),
        (
            _in("kind", value="X"),
            f"{WHO} returned invalid object at index 0: invalid kind (expected W, received X)",
        ),
        (_in("metadata", "name", value="c"), f"{WHO} returned invalid object: must have the same name: b != c"),
        (
            _in("metadata", "namespace", value="c"),
            f"{WHO} returned invalid object: must have the same namespace: default != c",
        ),
        (_in("metadata", value=None), f"{WHO} returned invalid object: must have the same name: b != "),
        (
            _in("metadata", "labels", value={"a": "b c"}),
            f'{WHO} returned invalid metadata: metadata.labels: Invalid value: "b c": a valid label must be an empty '
            "string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
            "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        (
            _in("metadata", "labels", value={"a": 1}),
            f"{WHO} returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
        ),
        (
            _in("metadata", "annotations", value=["a"]),
            f"{WHO} returned invalid metadata: invalid metadata.annotations of type []interface {{}} in converted "
            "object",
        ),
        (lambda obj: {"spec": {}}, """Object 'Kind' is missing in '{"spec":{}}'"""),
    ],
)
async def test_what_no_webhook_may_change_is_told(api, converter, spoil, why):
    converter.spoil_object = spoil
    assert await _refused(api) == why


async def test_a_changed_uid_is_told(api, converter):
    await api.call("POST", V2, made(api_version="ex.com/v2", spec={"title": "x"}), expect=201)
    converter.spoil_object = _in("metadata", "uid", value="u")
    said = await api.call("GET", f"{WS}/a", expect=500)
    assert "returned invalid object: must have the same UID: " in said["message"]
    assert said["message"].endswith(" != u")


async def test_labels_and_annotations_may_be_changed_and_nothing_else_of_the_metadata(api, converter):
    def change(obj: Any) -> Any:
        meta = {"labels": {"seen": "yes"}, "annotations": {"a": "b"}, "finalizers": ["x.y/z"], "generation": 7}
        return {**obj, "metadata": {**obj["metadata"], **meta}}

    converter.spoil_object = change
    made_ = await api.call("POST", WS, made("b", spec={"name": "x"}), expect=201)
    assert made_["metadata"]["labels"] == {"seen": "yes"}
    assert made_["metadata"]["annotations"] == {"a": "b"}
    assert made_["metadata"]["generation"] == 1
    assert "finalizers" not in made_["metadata"]


async def test_the_older_review_is_asked_where_it_comes_first(api, converter):
    reviews = converted(converter.client, reviews=("v9", "v1beta1", "v1"))["spec"]["conversion"]
    await redeclare(api, {"conversion": reviews})
    converter.spoil = _in("response", "uid", value="other")  # which it is not held to
    await api.call("POST", WS, made(spec={"name": "x"}), expect=201)
    assert {review["apiVersion"] for review in converter.reviews} == {"apiextensions.k8s.io/v1beta1"}


async def test_while_the_webhook_is_away_only_the_stored_version_is_served(api, converter):
    await api.call("POST", V2, made("a", "ex.com/v2", spec={"title": "x"}), expect=201)
    await redeclare(api, {"conversion": converted({"url": "https://127.0.0.1:1/c"})["spec"]["conversion"]})
    status = await api.call("GET", WS, expect=500)
    why = 'Post "https://127.0.0.1:1/c?timeout=30s": dial tcp 127.0.0.1:1: connect: connection refused'
    assert status["message"] == f"conversion webhook for ex.com/v2, Kind=W failed: {why}"
    assert (await api.call("GET", f"{WS}/a", expect=500))["message"] == status["message"]
    assert await _refused(api) == f"{WHO} failed: {why}"
    stream = await api.watch(f"{V2}?watch=1")
    assert (await stream.next())["object"]["spec"] == {"title": "x"}
    await stream.close()
    assert len((await api.call("GET", V2, expect=200))["items"]) == 1
    await redeclare(api, {"conversion": converted(converter.client)["spec"]["conversion"]})
    assert len((await api.call("GET", WS, expect=200))["items"]) == 1


async def test_a_certificate_of_another_authority_is_not_believed(api, converter, tmp_path):
    async with converting(Pki.open(tmp_path)) as other:
        client = {**other.client, "caBundle": converter.ca}
        await redeclare(api, {"conversion": converted(client)["spec"]["conversion"]})
        why = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        assert await _refused(api) == f'{WHO} failed: Post "{other.client["url"]}?timeout=30s": {why}'


@pytest.fixture
def clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(rate=1.0)


async def test_a_webhook_that_does_not_answer_has_thirty_seconds(clock, api, converter):
    converter.hanging = True
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            url = converter.client["url"]
            assert await _refused(api) == f'{WHO} failed: Post "{url}?timeout=30s": context deadline exceeded'

        nursery.start_soon(ask)
        await converter.arrived.wait()
        clock.jump(29)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        clock.jump(2)


async def test_a_service_is_reached_through_its_endpoint_slice(api, pki):
    async with converting(pki, "hook.default.svc") as server, extended(api):
        service = {"name": "hook", "namespace": "default", "path": "/crd", "port": 8443}
        await declare(api, converted({"service": service, "caBundle": server.ca}))
        start = f'{WHO} failed: Post "https://hook.default.svc:8443/crd?timeout=30s": '
        assert await _refused(api) == start + 'service "hook" not found'
        ports = [{"name": "https", "port": 8443, "protocol": "TCP"}]
        body = {"metadata": {"name": "hook"}, "spec": {"ports": ports}}
        await api.call("POST", "/api/v1/namespaces/default/services", body, expect=201)
        await api.server.feed.caught_up()
        assert await _refused(api) == start + 'no endpoints available for service "hook"'
        slice_ = {
            "metadata": {"name": "hook", "labels": {"kubernetes.io/service-name": "hook"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"]}],
            "ports": [{"name": "https", "port": server.port, "protocol": "TCP"}],
        }
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        await api.call("POST", path, slice_, expect=201)
        await api.server.feed.caught_up()
        got = await api.call("POST", WS, made("b", spec={"name": "x"}), expect=201)
        assert got["spec"] == {"name": "x"}
        assert server.calls == [1, 1]  # to the store and back
