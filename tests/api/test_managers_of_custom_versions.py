"""Managers that write one custom resource in different versions, which a webhook or nobody converts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from .conftest import Api
from .converting import MEMBERS, converted, declare, extended, redeclare
from .custom import DEFINITIONS, MERGE, WS, Object, made

APPLY = {"content_type": "application/apply-patch+yaml"}
Apply = Callable[..., Awaitable[Any]]


@pytest.fixture
async def plain(api: Api) -> AsyncIterator[None]:
    """The same definition without a webhook."""
    body = converted({})
    body["spec"]["conversion"] = {"strategy": "None"}
    async with extended(api):
        await declare(api, body)
        yield


@pytest.fixture
def apply(api: Api) -> Apply:
    async def applied(manager: str, version: str, expect: int = 200, force: bool = False, **spec: Any) -> Any:
        path = f"{WS.replace('v1', version)}/a?fieldManager={manager}&force={str(force).lower()}"
        spec = {MEMBERS[version] if key == "text" else key: value for key, value in spec.items()}
        return await api.call("PATCH", path, made("a", f"ex.com/{version}", spec=spec), expect=expect, **APPLY)

    return applied


def held(obj: Object) -> dict[str, tuple[str, set[str]]]:
    """(version, members of the spec), by manager."""
    return {
        entry["manager"]: (entry["apiVersion"].partition("/")[2], set(entry["fieldsV1"].get("f:spec", {})) - {"."})
        for entry in obj["metadata"].get("managedFields") or ()
    }


async def test_a_change_in_one_version_conflicts_with_who_wrote_the_same_in_another(apply, converter):
    await apply("b", "v2", text="x", size=1, expect=201)
    said = await apply("a", "v1", text="y", expect=409)
    assert said["message"] == 'Apply failed with 1 conflict: conflict with "b": .spec.title'
    got = await apply("a", "v3", text="y", force=True)
    assert got["spec"] == {"heading": "y", "size": 1}
    assert held(got) == {"a": ("v3", {"f:heading"}), "b": ("v2", {"f:size"})}
    await apply("c", "v1", text="y")  # the same value is no conflict
    got = await apply("a", "v3")
    assert got["spec"] == {"heading": "y", "size": 1}  # somebody holds it still, by another name


async def test_an_update_in_one_version_takes_the_field_from_who_wrote_another(api, apply, converter):
    got = await apply("b", "v2", text="x", size=1, expect=201)
    path = f"{WS}/a?fieldManager=u"
    got = await api.call("PUT", path, {**got, "apiVersion": "ex.com/v1", "spec": {"name": "y", "size": 1}}, expect=200)
    assert held(got) == {"b": ("v2", {"f:size"}), "u": ("v1", {"f:name"})}


async def test_what_an_applier_named_in_another_version_goes_when_it_is_no_longer_applied(apply, converter):
    await apply("a", "v1", text="x", size=1, expect=201)
    got = await apply("a", "v2", size=1)
    assert got["spec"] == {"size": 1}
    assert held(got) == {"a": ("v2", {"f:size"})}


async def test_who_wrote_a_version_that_the_definition_has_no_more_manages_nothing(api, apply, converter):
    await apply("old", "v1", size=1, expect=201)
    await apply("b", "v2", text="x")
    versions = [v for v in converted(converter.client)["spec"]["versions"] if v["name"] != "v1"]
    status = {"status": {"storedVersions": ["v2"]}}
    await api.call("PATCH", f"{DEFINITIONS}/ws.ex.com/status", status, expect=200, **MERGE)
    await redeclare(api, {"versions": versions})
    got = await apply("c", "v3", size=2)
    assert held(got) == {"b": ("v2", {"f:title"}), "c": ("v3", {"f:size"})}


async def test_a_version_that_is_not_served_any_more_still_counts(api, apply, converter):
    await apply("old", "v1", text="x", size=1, expect=201)
    versions = converted(converter.client)["spec"]["versions"]
    versions[0]["served"] = False
    await redeclare(api, {"versions": versions})
    said = await apply("c", "v3", text="y", expect=409)
    assert said["message"] == 'Apply failed with 1 conflict: conflict with "old": .spec.name'


async def test_without_the_webhook_nothing_is_applied_over_another_version(api, apply, converter):
    await apply("b", "v1", text="x", expect=201)
    converter.spoil = lambda answer: {**answer, "response": None}
    said = await apply("a", "v2", text="y", expect=500)
    assert said["message"] == "conversion webhook for ex.com/v2, Kind=W failed: no response provided"
    # a write in the stored version goes through, and nobody manages anything then, as upstream
    got = await api.call("PATCH", f"{WS.replace('v1', 'v2')}/a", {"spec": {"size": 2}}, expect=200, **MERGE)
    assert got["spec"] == {"title": "x", "size": 2}
    assert held(got) == {}


async def test_what_went_wrong_while_pruning_is_told(api, apply, converter):
    await apply("a", "v1", text="x", size=1, expect=201)
    converter.spoil = lambda answer: {**answer, "response": None}
    said = await apply("a", "v2", size=1, expect=500)
    assert said["message"] == (
        "failed to prune fields: failed to convert merged object to last applied version: "
        "conversion webhook for ex.com/v2, Kind=W failed: no response provided"
    )


async def test_without_a_webhook_versions_share_what_they_call_the_same(api, apply, plain):
    await apply("b", "v2", text="x", size=1, expect=201)
    said = await apply("a", "v1", size=2, expect=409)
    assert said["message"] == 'Apply failed with 1 conflict: conflict with "b": .spec.size'
    got = await api.call("PATCH", f"{WS}/a?fieldManager=u", {"spec": {"size": 3}}, expect=200, **MERGE)
    assert held(got) == {"b": ("v2", {"f:title"}), "u": ("v1", {"f:size"})}


async def test_a_writer_of_one_version_costs_no_review(api, apply, converter):
    await apply("b", "v2", text="x", size=1, expect=201)
    converter.reviews.clear()
    await apply("b", "v2", text="y", size=1)
    await api.call("PATCH", f"{WS.replace('v1', 'v2')}/a", {"spec": {"size": 2}}, expect=200, **MERGE)
    assert converter.reviews == []
