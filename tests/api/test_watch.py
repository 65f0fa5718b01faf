"""Watches: what they tell, in which order, and how they end."""

from __future__ import annotations

import pytest
import trio

from kcore import clock
from kcore.api.codec import protobuf
from kcore.objects.resources import CONFIGMAPS, PODS

CM = "/api/v1/namespaces/default/configmaps"


async def create(api, name, labels=None, path=CM):
    meta = {"name": name, **({"labels": labels} if labels else {})}
    return await api.call("POST", path, {"metadata": meta}, expect=201)


def told(event):
    return event["type"], event["object"]["metadata"]["name"]


async def test_a_watch_from_a_resource_version_tells_every_change_since(api):
    first = await create(api, "a")
    await create(api, "b")
    await api.call("DELETE", CM + "/a", expect=200)
    stream = await api.watch(f"{CM}?watch=1&resourceVersion={first['metadata']['resourceVersion']}")
    assert told(await stream.next()) == ("ADDED", "b")
    gone = await stream.next()
    assert told(gone) == ("DELETED", "a")
    assert gone["object"]["metadata"]["resourceVersion"] == str(api.store.revision)
    await create(api, "c")
    assert told(await stream.next()) == ("ADDED", "c")
    await stream.close()


async def test_a_watch_without_resource_version_begins_with_what_is_there(api):
    await create(api, "a")
    stream = await api.watch(CM + "?watch=true")
    assert told(await stream.next()) == ("ADDED", "a")
    await create(api, "b")
    assert told(await stream.next()) == ("ADDED", "b")


async def test_an_object_that_ceases_to_match_a_selector_is_told_as_deleted_with_its_former_state(api):
    stream = await api.watch(CM + "?watch=1&labelSelector=a%3Db")
    await create(api, "x", {"a": "b"})
    await create(api, "y", {"a": "other"})
    assert told(await stream.next()) == ("ADDED", "x")
    merge = {"content_type": "application/merge-patch+json"}
    changed = await api.call("PATCH", CM + "/x", {"metadata": {"labels": {"a": "c"}}}, expect=200, **merge)
    gone = await stream.next()
    assert told(gone) == ("DELETED", "x")
    assert gone["object"]["metadata"]["labels"] == {"a": "b"}
    assert gone["object"]["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
    await api.call("PATCH", CM + "/x", {"metadata": {"labels": {"a": "b"}}}, expect=200, **merge)
    assert told(await stream.next()) == ("ADDED", "x")


async def test_send_initial_events_ends_them_with_an_annotated_bookmark(api):
    await create(api, "a")
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    stream = await api.watch(f"{CM}?{query}")
    assert told(await stream.next()) == ("ADDED", "a")
    bookmark = await stream.next()
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert bookmark["object"]["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_a_watch_from_before_the_history_is_told_that_it_is_too_old(api):
    cache = api.server.feed.cache("core/configmaps")
    cache.since = api.store.revision
    stream = await api.watch(CM + "?watch=1&resourceVersion=1")
    event = await stream.next()
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410
    assert await stream.next() is None


async def test_a_watcher_that_does_not_keep_up_is_cut_off(api):
    stream = await api.watch(CM + "?watch=1&resourceVersion=" + str(api.store.revision))
    cache = api.server.feed.cache("core/configmaps")
    for group in cache._watchers.values():
        for watcher in group:
            watcher._limit = 3
    for i in range(5):
        await create(api, f"c{i}")
    await api.server.feed.caught_up()
    event = await stream.next()
    assert event["type"] == "ERROR"
    assert event["object"]["reason"] == "Expired"


async def test_timeout_seconds_ends_a_watch_and_bookmarks_come_every_minute(api, autojump_clock):
    clock.use_virtual()
    stream = await api.watch(
        f"{CM}?watch=1&resourceVersion={api.store.revision}&allowWatchBookmarks=1&timeoutSeconds=100"
    )
    began = trio.current_time()
    bookmark = await stream.next()
    assert bookmark["type"] == "BOOKMARK"
    assert round(trio.current_time() - began) == 60
    assert await stream.next() is None
    assert round(trio.current_time() - began) == 100


async def test_a_watch_of_one_nodes_pods_is_told_of_these_alone(api):
    def pod(name, node):
        return {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}}

    path = "/api/v1/namespaces/default/pods"
    stream = await api.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1")
    await api.call("POST", path, pod("elsewhere", "n2"), expect=201)
    await api.call("POST", path, pod("here", "n1"), expect=201)
    assert told(await stream.next()) == ("ADDED", "here")
    page = await api.client.list(PODS, field_selector="spec.nodeName=n1")
    assert [p["metadata"]["name"] for p in page.items] == ["here"]


async def test_all_watchers_get_the_same_bytes(api):
    query = f"watch=1&resourceVersion={api.store.revision}"
    streams = [await api.watch(f"{CM}?{query}") for _ in range(3)]
    await create(api, "a")
    lines = [await s.response.body.__anext__() for s in streams]
    assert lines[0] is lines[1] is lines[2]


async def test_the_clients_watch_shares_objects_with_its_reads(api):
    page = await api.client.list(CONFIGMAPS, "default")
    async with api.client.watch(CONFIGMAPS, "default", resource_version=page.resource_version) as events:
        await create(api, "a")
        event = await events.__anext__()
        assert event.type == "ADDED"
        assert event.object is await api.client.get(CONFIGMAPS, "a", "default")


async def test_a_table_watch_defines_its_columns_once(api):
    await create(api, "a")
    stream = await api.watch(CM + "?watch=1", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    first = await stream.next()
    assert [c["name"] for c in first["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
    await create(api, "b")
    second = await stream.next()
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][:2] == ["b", 0]


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
INITIAL = "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


@pytest.mark.parametrize("resource", ["configmaps", "pods", "services"])
async def test_the_end_of_the_initial_events_is_marked_in_a_table_too(api, resource):
    stream = await api.watch(f"/api/v1/namespaces/kube-system/{resource}{INITIAL}", accept=TABLE)
    event = await stream.next()
    assert (event["type"], event["object"]["kind"]) == ("BOOKMARK", "Table")
    assert event["object"]["columnDefinitions"]  # it is the first event
    assert event["object"]["metadata"]["resourceVersion"]
    (row,) = event["object"]["rows"]
    assert row["cells"][0] == ""
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    await stream.close()


async def test_a_bookmark_in_a_table_has_the_object_that_was_asked_for(api):
    shown = {}
    for include in ("None", "Metadata", "Object"):
        stream = await api.watch(f"{CM}{INITIAL}&includeObject={include}", accept=TABLE)
        while (event := await stream.next())["type"] != "BOOKMARK":
            pass
        found = event["object"]["rows"][0]["object"]
        shown[include] = found and found["kind"]
        await stream.close()
    assert shown == {"None": None, "Metadata": "PartialObjectMetadata", "Object": "ConfigMap"}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", "ConfigMap"),
        (
            "application/json;stream=other,application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            "PartialObjectMetadata",
        ),
        (f"*/*,{TABLE}", "Table"),
        (f"{TABLE};q=0.5,application/json", "ConfigMap"),
        ("application/json;as=Table;v=v7;g=meta.k8s.io,application/json", "ConfigMap"),
    ],
)
async def test_a_watch_has_the_best_form_that_there_is(api, accept, kind):
    await api.call("POST", CM, {"metadata": {"name": "a"}}, expect=201)
    stream = await api.watch(CM + "?watch=1", accept=accept)
    assert (await stream.next())["object"]["kind"] == kind
    await stream.close()


METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


def frames(body: bytes) -> list[tuple[str, dict]]:
    """The (type, object) of each frame of a protobuf watch."""
    out = []
    while body:
        size = int.from_bytes(body[:4], "big")
        message, body = body[4 : 4 + size], body[4 + size :]
        length = message[1]
        kind, rest = message[2 : 2 + length].decode(), message[2 + length :]
        out.append((kind, protobuf.decode(rest[rest.index(b"k8s\0") :])))
    return out


@pytest.mark.parametrize("accept", [TABLE, METADATA])
async def test_every_form_of_a_watch_ends_with_the_status_of_what_is_too_old(api, accept):
    api.server.feed.cache("core/configmaps").since = api.store.revision
    stream = await api.watch(CM + "?watch=1&resourceVersion=1", accept=accept)
    event = await stream.next()
    assert (event["type"], event["object"]["kind"], event["object"]["reason"]) == ("ERROR", "Status", "Expired")
    assert await stream.next() is None


@pytest.mark.parametrize("wanted", ["", ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io"])
async def test_a_protobuf_watch_tells_the_same_in_frames(api, wanted):
    await create(api, "a")
    accept = f"application/vnd.kubernetes.protobuf{wanted}"
    stream = await api.watch(CM + INITIAL, accept=accept)
    assert stream.response.content_type == "application/vnd.kubernetes.protobuf;stream=watch"
    (added, first), (bookmark, mark) = frames(await stream.response.body.__anext__())
    assert (added, bookmark) == ("ADDED", "BOOKMARK")
    assert first["kind"] == mark["kind"] == ("PartialObjectMetadata" if wanted else "ConfigMap")
    assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    await stream.close()
    api.server.feed.cache("core/configmaps").since = api.store.revision
    stream = await api.watch(CM + "?watch=1&resourceVersion=1", accept=accept)
    ((error, status),) = frames(await stream.response.body.__anext__())
    assert (error, status["kind"], status["code"]) == ("ERROR", "Status", 410)


async def test_an_object_that_ceases_to_match_is_told_as_deleted_in_a_table_too(api):
    stream = await api.watch(CM + "?watch=1&labelSelector=a%3Db", accept=TABLE)
    await create(api, "x", {"a": "b"})
    merge = {"content_type": "application/merge-patch+json"}
    await api.call("PATCH", CM + "/x", {"metadata": {"labels": {"a": "c"}}}, expect=200, **merge)
    seen = [await stream.next(), await stream.next()]
    assert [event["type"] for event in seen] == ["ADDED", "DELETED"]
    (row,) = seen[1]["object"]["rows"]
    assert row["object"]["metadata"]["labels"] == {"a": "b"}
    assert seen[1]["object"]["columnDefinitions"] is None
