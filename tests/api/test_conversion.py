"""Versions that a webhook converts: every way in and out of the store, and what happens when it fails."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from kcore_custom_resources.controller import CustomResources

from kcore.api.webhook import WebhookError

from .custom import DEFINITIONS, MERGE, WS, definition, made, props, version

V2 = WS.replace("v1", "v2")
TEXT = {"type": "string"}


@attrs.define
class Converter:
    """Stands at the other end: v1 has spec.name, v2 has spec.title. Counts what it is asked."""

    calls: list[int] = attrs.Factory(list)
    failing: str = ""
    spoil: str = ""

    async def call(self, config, review, *, timeout):
        if self.failing:
            raise WebhookError(self.failing)
        request = review["request"]
        self.calls.append(len(request["objects"]))
        converted = [self.convert(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        uid = "other" if self.spoil == "uid" else request["uid"]
        response = {"uid": uid, "result": {"status": "Success"}, "convertedObjects": converted}
        if self.spoil == "count":
            response["convertedObjects"] = []
        if self.spoil == "refuse":
            response["result"] = {"status": "Failure", "message": "no way"}
        return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}

    def convert(self, obj, wanted):
        old, new = ("name", "title") if wanted.endswith("v2") else ("title", "name")
        spec = {new if key == old else key: value for key, value in obj["spec"].items()}
        meta = {**obj["metadata"], "labels": {"seen": "yes"}}
        if self.spoil == "name":
            meta["name"] = "other"
        return {**obj, "apiVersion": wanted, "metadata": meta, "spec": spec}

    async def aclose(self):
        pass


@pytest.fixture
async def converter(api) -> AsyncIterator[Converter]:
    hook = Converter()
    await api.server.webhooks.aclose()
    api.server.webhooks = hook
    async with trio.open_nursery() as nursery:
        await nursery.start(CustomResources(api.server, logging.getLogger("kcore.api")).run)
        fields = [{"jsonPath": ".spec.title"}]
        second = version("v2", spec=props(title=TEXT), selectableFields=fields)
        body = definition(version(spec=props(name=TEXT), storage=False), second)
        config = {"clientConfig": {"url": "https://x.test/"}, "conversionReviewVersions": ["v1"]}
        body["spec"]["conversion"] = {"strategy": "Webhook", "webhook": config}
        await api.call("POST", DEFINITIONS, body, expect=201)
        while (await api.send("GET", WS)).status != 200:
            await trio.lowlevel.checkpoint()
        yield hook
        nursery.cancel_scope.cancel()


async def test_an_object_goes_in_and_out_in_the_version_of_the_request(api, converter):
    created = await api.call("POST", WS, made(spec={"name": "x"}), expect=201)
    assert (created["apiVersion"], created["spec"]) == ("ex.com/v1", {"name": "x"})
    read = await api.call("GET", f"{V2}/a", expect=200)
    assert (read["apiVersion"], read["spec"]) == ("ex.com/v2", {"title": "x"})
    changed = await api.call("PATCH", f"{WS}/a", {"spec": {"name": "y"}}, expect=200, **MERGE)
    assert changed["spec"] == {"name": "y"}
    assert (await api.call("GET", f"{V2}/a", expect=200))["spec"] == {"title": "y"}
    assert {entry["apiVersion"] for entry in changed["metadata"]["managedFields"]} == {"ex.com/v1"}
    await api.call("DELETE", f"{WS}/a", expect=200)
    await api.call("GET", f"{V2}/a", expect=404)


async def test_a_list_is_converted_with_one_call_and_then_remembered(api, converter):
    for name in ("a", "b", "c"):
        await api.call("POST", V2, made(name, "ex.com/v2", spec={"title": name}), expect=201)
    converter.calls.clear()
    for _ in range(2):
        listed = await api.call("GET", WS, expect=200)
        assert [item["spec"]["name"] for item in listed["items"]] == ["a", "b", "c"]
    assert converter.calls == [3]


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


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("uid", 'got "other"'),
        ("count", "returned 0 objects, expected 1"),
        ("refuse", "failed: no way"),
        ("name", 'must have the same name: "b" != "other"'),
    ],
)
async def test_a_wrong_answer_is_an_error_that_says_why(api, converter, spoil, why):
    converter.spoil = spoil
    status = await api.call("POST", WS, made("b", spec={"name": "x"}), expect=500)
    assert status["message"].startswith("conversion webhook for ex.com/v1, Kind=W")
    assert why in status["message"]


async def test_while_the_webhook_is_away_only_the_stored_version_is_served(api, converter):
    await api.call("POST", V2, made("a", "ex.com/v2", spec={"title": "x"}), expect=201)
    converter.failing = 'Post "https://x.test/": dial tcp: connection refused'
    status = await api.call("GET", WS, expect=500)
    assert status["message"] == f"conversion webhook for ex.com/v2, Kind=W failed: {converter.failing}"
    stream = await api.watch(f"{V2}?watch=1")
    assert (await stream.next())["object"]["spec"] == {"title": "x"}
    await stream.close()
    assert len((await api.call("GET", V2, expect=200))["items"]) == 1
    converter.failing = ""
    assert len((await api.call("GET", WS, expect=200))["items"]) == 1
