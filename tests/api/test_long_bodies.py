"""Bodies within the limit that would take long: what they cost is in proportion, and others do not wait for it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import trio

from kcore.api import aside, decoding

CM = "/api/v1/namespaces/default/configmaps"
YAML, APPLY = "application/yaml", "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


async def test_of_a_hundred_thousand_unknown_fields_a_hundred_are_told(api):
    unknown = b",".join(b'"k%d":1' % i for i in range(100_000))
    body = b'{"metadata":{"name":"x"},' + unknown + b"}"
    answer = await api.send("POST", CM, body)
    assert answer.status == 201
    assert 0 < sum(name == b"warning" for name, _ in answer.headers) <= 64
    status = await api.call("POST", CM + "?fieldValidation=Strict", body, expect=400)
    assert status["message"].count("unknown field") == 100


@pytest.mark.parametrize(
    ("type", "body"),
    [
        (YAML, b"".join(b"a%d: &x%d 1\n" % (i, i) for i in range(10_000))),
        (PROTOBUF, b"k8s\0" + b"\xff" * 100_000),
        (PROTOBUF, b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\xc0\x9a\x0c" + b"\x12\x00" * 100_000),
    ],
)
async def test_garbage_of_any_length_is_refused_with_a_status(api, type, body):
    status = await api.call("POST", CM, body, content_type=type)
    assert status["kind"] == "Status"
    assert status["code"] in (400, 422)
    assert (await api.call("GET", CM))["items"] == []


async def test_others_are_served_while_a_long_body_is_read(api):
    """The order of events, not their duration: a short request that comes later is answered first."""
    data = {f"k{i}": "x" * 20 for i in range(3_000)}
    text = "metadata: {name: long}\ndata:\n" + "".join(f"  {k}: {v}\n" for k, v in data.items())
    assert len(text) > aside.LONG
    order: list[str] = []

    async def send(name: str, body: Any, type: str, started: trio.Event | None = None) -> None:
        if started is not None:
            started.set()
        await api.call("POST", CM, body, content_type=type, expect=201)
        order.append(name)

    async with trio.open_nursery() as nursery:
        started = trio.Event()
        nursery.start_soon(send, "long", text.encode(), YAML, started)
        await started.wait()
        nursery.start_soon(send, "short", {"metadata": {"name": "short"}}, "application/json")
    assert order == ["short", "long"]
    assert len((await api.call("GET", CM + "/long"))["data"]) == len(data)


async def test_a_long_configuration_is_applied_as_a_short_one_is(api):
    data = {f"k{i}": "x" * 40 for i in range(2_000)}
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}
    for code in (201, 200):
        body = json.dumps(applied).encode()
        assert len(body) > aside.LONG
        made = await api.call("PATCH", CM + "/x?fieldManager=me", body, content_type=APPLY, expect=code)
        assert made["data"] == data
        data["k0"] = "changed"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "b": [true, null, "x"], "c": {"d": "e"}}',
        '{"a": 1.0, "b": 1e3, "c": 1.5}',
        '{"a": 123456789012345678901234567890}',
        '{"a": "1", "a": "2"}',
        '{"a": "\\u00e9\\n"}',
        "{a: 1, b: yes}",
        '{"a": 1} # and a comment',
    ],
)
def test_json_that_is_applied_means_what_it_means_as_yaml(text):
    from kcore.api.codec import yaml

    expected = yaml.decode(text.encode())
    found, _ = decoding.slow(text.encode(), APPLY)
    assert msgspec.json.encode(found) == msgspec.json.encode(expected)


async def test_of_fifty_thousand_mistakes_a_thousand_are_told(api):
    labels = {f"k{i}": "!!" for i in range(50_000)}
    answer = await api.send("POST", CM, {"metadata": {"name": "x", "labels": labels}})
    assert answer.status == 422
    assert len(msgspec.json.decode(answer.body)["details"]["causes"]) == 1000
    assert len(answer.body) < 1_000_000
