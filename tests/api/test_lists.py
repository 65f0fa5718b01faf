"""Lists: pages of one state, selectors, and the rules for resourceVersion."""

from __future__ import annotations

import base64

import msgspec
import pytest

CM = "/api/v1/namespaces/default/configmaps"


async def fill(api, count):
    for i in range(count):
        await api.call("POST", CM, {"metadata": {"name": f"c{i}", "labels": {"odd": str(i % 2)}}}, expect=201)


def names(page):
    return [i["metadata"]["name"] for i in page["items"]]


async def test_pages_are_of_one_state_whatever_is_written_between(api):
    await fill(api, 5)
    first = await api.call("GET", CM + "?limit=2", expect=200)
    assert names(first) == ["c0", "c1"]
    assert first["metadata"]["remainingItemCount"] == 3
    await api.call("DELETE", CM + "/c3", expect=200)
    await api.call("POST", CM, {"metadata": {"name": "c9"}}, expect=201)
    second = await api.call("GET", f"{CM}?limit=2&continue={first['metadata']['continue']}", expect=200)
    assert names(second) == ["c2", "c3"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = await api.call("GET", f"{CM}?limit=2&continue={second['metadata']['continue']}", expect=200)
    assert names(third) == ["c4"]
    assert "continue" not in third["metadata"]


async def test_a_continue_token_of_a_compacted_state_is_gone_and_offers_another(api):
    await fill(api, 4)
    first = await api.call("GET", CM + "?limit=2", expect=200)
    await fill_more(api)
    await api.store.compact(api.store.revision)
    status = await api.call("GET", f"{CM}?limit=2&continue={first['metadata']['continue']}", expect=410)
    assert status["reason"] == "Expired"
    rest = await api.call("GET", f"{CM}?continue={status['metadata']['continue']}", expect=200)
    assert names(rest)[:2] == ["c2", "c3"]


async def fill_more(api):
    await api.call("POST", CM, {"metadata": {"name": "later"}}, expect=201)


async def test_a_list_at_an_exact_version_shows_the_past(api):
    await fill(api, 2)
    then = api.store.revision
    await api.call("DELETE", CM + "/c0", expect=200)
    page = await api.call("GET", f"{CM}?resourceVersion={then}&resourceVersionMatch=Exact", expect=200)
    assert names(page) == ["c0", "c1"]
    assert page["metadata"]["resourceVersion"] == str(then)
    now = await api.call("GET", f"{CM}?resourceVersion={then}", expect=200)
    assert names(now) == ["c1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("labelSelector=odd%3D1", ["c1", "c3"]),
        ("labelSelector=odd%21%3D1", ["c0", "c2", "c4"]),
        ("labelSelector=odd%20in%20(0,1)&limit=2", ["c0", "c1"]),
        ("fieldSelector=metadata.name%3Dc2", ["c2"]),
        ("fieldSelector=metadata.name%21%3Dc2&labelSelector=odd%3D0", ["c0", "c4"]),
        ("fieldSelector=metadata.namespace%3Delsewhere", []),
    ],
)
async def test_selectors_pick(api, query, expected):
    await fill(api, 5)
    assert names(await api.call("GET", f"{CM}?{query}", expect=200)) == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=abc", 400),
        ("resourceVersion=abc", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=99999999", 504),
        ("fieldSelector=spec.foo%3Dbar", 400),
        ("continue=abc&limit=1", 400),
        ("labelSelector=a%3D%3D%3Db", 400),
    ],
)
async def test_a_list_that_cannot_be_answered_is_refused(api, query, code):
    await api.call("GET", f"{CM}?{query}", expect=code)


async def test_deleting_a_collection_deletes_what_is_selected_and_answers_with_it(api):
    await fill(api, 4)
    page = await api.call("DELETE", CM + "?labelSelector=odd%3D1", expect=200)
    assert names(page) == ["c1", "c3"]
    assert names(await api.call("GET", CM, expect=200)) == ["c0", "c2"]


async def test_contradictions_between_resource_version_match_and_the_rest_are_all_told(api):
    path = "/api/v1/namespaces/default/configmaps"

    async def causes(query):
        doc = await api.call("GET", f"{path}?{query}", expect=422)
        return [f"{c['field']}: {c['message']}" for c in doc["details"]["causes"]]

    unless = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    assert await causes("resourceVersionMatch=Foo") == [
        unless,
        'resourceVersionMatch: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""',
    ]
    assert await causes("resourceVersionMatch=Exact&continue=abc") == [
        unless,
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
    ]
    assert await causes("watch=1&resourceVersionMatch=Exact&sendInitialEvents=true&resourceVersion=1") == [
        "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"',
    ]
    assert await causes("watch=1&resourceVersionMatch=Exact&resourceVersion=1") == [
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
        "provided",
        'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"',
    ]


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("!!!!", "illegal base64 data at input byte 0"),
        ("abc*", "illegal base64 data at input byte 3"),
        ("abcde", "illegal base64 data at input byte 4"),
        (
            {"v": "meta.k8s.io/v2", "rv": 5, "start": "a"},
            "server does not recognize this encoded version meta.k8s.io/v2",
        ),
        ({"v": "meta.k8s.io/v1", "start": "a"}, "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
        ({"v": "meta.k8s.io/v1", "rv": 5, "start": ""}, "encoded start key empty (version meta.k8s.io/v1)"),
        ({"v": "meta.k8s.io/v1", "rv": 5, "start": "../../secrets"}, "invalid key"),
    ],
)
async def test_a_continue_token_that_is_none_is_refused_with_its_fault(api, token, why):
    if isinstance(token, dict):
        token = base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")
    refused = await api.call("GET", f"{CM}?limit=1&continue={token}", expect=400)
    assert refused["message"] == f"invalid continue token: continue key is not valid: {why}"
