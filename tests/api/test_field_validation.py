"""What a body says twice, and what its kind does not know: refused, told or passed over (fieldValidation)."""

from __future__ import annotations

import re
from typing import Any

import pytest

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CM = "/api/v1/namespaces/default/configmaps"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
YAML = "application/yaml"

BODY = """{"apiVersion": "apps/v1", "kind": "Deployment",
 "metadata": {"name": "other", "name": "web", "unknownMeta": 1},
 "spec": {"unknown1": 1, "unknownDupe": 1, "unknownDupe": 2, "paused": true, "paused": false,
  "selector": {"matchLabels": {"a": "b"}},
  "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
   {"name": "c", "image": "i", "unknownNested": 1, "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}}}"""

TYPED = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: other
  name: web
  unknownMeta: 1
spec:
  unknown1: 1
  paused: true
  paused: false
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: i, unknownNested: 1}]}
"""

PATCH = """{"spec": {"unknown1": 1, "unknownDupe": 1, "unknownDupe": 2, "paused": true, "paused": false,
 "template": {"spec": {"containers": [{"name": "c", "image": "i", "unknownNested": 1,
  "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}}}"""

IN_TEXT = [
    'duplicate field "metadata.name"',
    'unknown field "metadata.unknownMeta"',
    'unknown field "spec.unknown1"',
    'unknown field "spec.unknownDupe"',
    'duplicate field "spec.paused"',
    'unknown field "spec.template.spec.containers[0].unknownNested"',
    'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
]
LINES = ['line 5: key "name" already set in map', 'line 10: key "paused" already set in map']
IN_ORDER = [
    'unknown field "metadata.unknownMeta"',
    'unknown field "spec.template.spec.containers[0].unknownNested"',
    'unknown field "spec.unknown1"',
]
OF_PATCH = [
    'duplicate field "spec.unknownDupe"',
    'duplicate field "spec.paused"',
    'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
    'unknown field "spec.template.spec.containers[0].unknownNested"',
    'unknown field "spec.unknown1"',
    'unknown field "spec.unknownDupe"',
]


def warnings(response: Any) -> list[str]:
    found = [v.decode() for k, v in response.headers if k == b"warning"]
    return [re.fullmatch(r'299 - "(.*)"', text)[1].replace('\\"', '"') for text in found]


async def deployment(api: Any) -> str:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    await api.call("POST", DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec}, expect=201)
    return DEPLOYMENTS + "/web"


async def test_of_a_new_object_both_are_told_in_the_order_of_its_text(api):
    refused = await api.call("POST", DEPLOYMENTS + "?fieldValidation=Strict", BODY.encode(), expect=400)
    assert refused["message"].endswith("strict decoding error: " + ", ".join(IN_TEXT))
    done = await api.send("POST", DEPLOYMENTS + "?dryRun=All", BODY.encode())
    assert (done.status, warnings(done)) == (201, IN_TEXT)
    done = await api.send("POST", DEPLOYMENTS + "?dryRun=All&fieldValidation=Ignore", BODY.encode())
    assert (done.status, warnings(done)) == (201, [])


async def test_of_yaml_the_lines_of_duplicates_are_told_and_then_what_is_unknown(api):
    query = "?fieldValidation=Strict"
    refused = await api.call("POST", DEPLOYMENTS + query, TYPED.encode(), content_type=YAML, expect=400)
    told = "yaml: unmarshal errors:\n  " + "\n  ".join(LINES) + ", " + ", ".join(IN_ORDER)
    assert refused["message"].endswith("strict decoding error: " + told)
    done = await api.send("POST", DEPLOYMENTS, TYPED.encode(), content_type=YAML)
    assert (done.status, warnings(done)) == (201, LINES + IN_ORDER)


@pytest.mark.parametrize("type", [MERGE, STRATEGIC])
async def test_of_a_patch_its_duplicates_are_told_before_what_its_result_has_unknown(api, type):
    path = await deployment(api)
    refused = await api.call("PATCH", path + "?fieldValidation=Strict", PATCH.encode(), content_type=type, expect=422)
    assert refused["message"].endswith("strict decoding error: " + ", ".join(OF_PATCH))
    done = await api.send("PATCH", path, PATCH.encode(), content_type=type)
    assert (done.status, warnings(done)) == (200, OF_PATCH)
    done = await api.send("PATCH", path + "?fieldValidation=Ignore", PATCH.encode(), content_type=type)
    assert (done.status, warnings(done)) == (200, [])


async def test_a_patch_of_duplicates_alone_is_refused_too(api):
    path = await deployment(api)
    body = b'{"spec": {"paused": true, "paused": false}}'
    refused = await api.call("PATCH", path + "?fieldValidation=Strict", body, content_type=STRATEGIC, expect=422)
    why = 'Invalid value: "map[spec:map[paused:false]]": strict decoding error: duplicate field "spec.paused"'
    assert refused["details"]["causes"][0]["message"] == why


async def test_the_operations_of_a_json_patch_have_four_members_once_each(api):
    path = await deployment(api)
    operations = [
        '{"op": "add", "path": "/spec/x", "value": 1, "foo": 1}',
        '{"op": "test", "op": "add", "path": "/spec/paused", "value": true}',
    ]
    body = f"[{', '.join(operations)}]".encode()
    told = [
        'json patch unknown field "[0].foo"',
        'json patch duplicate field "[1].op"',
        'unknown field "spec.x"',
    ]
    query = "?fieldValidation=Strict"
    refused = await api.call("PATCH", path + query, body, content_type=JSON_PATCH, expect=422)
    assert refused["message"].endswith("strict decoding error: " + ", ".join(told))
    done = await api.send("PATCH", path, body, content_type=JSON_PATCH)
    assert (done.status, warnings(done)) == (200, told)


@pytest.mark.parametrize("exists", [False, True])
async def test_an_applied_configuration_has_each_key_once(api, exists):
    path = CM + "/x?fieldManager=m"
    if exists:
        await api.call("POST", CM, {"metadata": {"name": "x"}}, expect=201)
    body = b"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: '1'\n  a: '2'\n"
    refused = await api.call("PATCH", path + "&fieldValidation=Strict", body, content_type=APPLY, expect=400)
    line = 'line 5: key "a" already set in map'
    prefix = "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  "
    assert refused["message"] == prefix + line
    done = await api.send("PATCH", path, body, content_type=APPLY)
    assert (done.status, warnings(done)) == (200 if exists else 201, [line])
    as_json = b'{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "a": "2"}}'
    done = await api.send("PATCH", path, as_json, content_type=APPLY)
    assert (done.status, warnings(done)) == (200, ['line 1: key "a" already set in map'])
    done = await api.send("PATCH", path + "&fieldValidation=Ignore", body, content_type=APPLY)
    assert (done.status, warnings(done)) == (200, [])


@pytest.mark.parametrize("choice", ["Strict", "Warn", "Ignore"])
async def test_an_applied_configuration_never_has_unknown_fields(api, choice):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "foo": 1}
    path = f"{CM}/x?fieldManager=m&fieldValidation={choice}"
    refused = await api.call("PATCH", path, body, content_type=APPLY, expect=500)
    what = "(default/x; /v1, Kind=ConfigMap)"
    assert refused["message"] == f"failed to create typed patch object {what}: .foo: field not declared in schema"


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ({"spec": {"replicas": "3"}}, "unrecognized type: int32"),
        ({"spec": {"replicas": 1.5}}, "cannot convert float64 to int32"),
        ({"spec": {"paused": "yes"}}, "unrecognized type: bool"),
        ({"metadata": {"labels": {"a": 1}}}, "cannot convert int64 to string"),
        ({"metadata": {"labels": {"a": True}}}, "unrecognized type: string"),
    ],
)
async def test_a_strategic_patch_of_a_wrong_type_is_shown_as_it_was_sent(api, patch, why):
    path = await deployment(api)
    refused = await api.call("PATCH", path, patch, content_type=STRATEGIC, expect=422)
    message = refused["details"]["causes"][0]["message"]
    assert message.startswith('Invalid value: "map[')
    assert message.endswith(f'": {why}')


PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (PODS + "/p/eviction", {"metadata": {"name": "p"}, "deleteOptions": {"grace": 1}}, "deleteOptions.grace"),
        (PODS + "/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "node": "n"}}, "target.node"),
    ],
)
async def test_bodies_that_are_no_resources_are_checked_alike(api, path, body, field):
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.call("POST", PODS, pod, expect=201)
    refused = await api.call("POST", path + "?fieldValidation=Strict", body, expect=400)
    assert refused["message"].endswith(f'strict decoding error: unknown field "{field}"')
