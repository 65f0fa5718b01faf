"""``/scale``: the count of a deployment, read and written as a Scale."""

from __future__ import annotations

from typing import Any

import pytest

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = {"content_type": "application/merge-patch+json"}


def deployment() -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}


async def test_the_scale_of_a_deployment_is_its_replicas(api):
    await api.call("POST", DEPLOYMENTS, deployment(), expect=201)
    scale = await api.call("PATCH", DEPLOYMENTS + "/d/scale", {"spec": {"replicas": 5}}, expect=200, **MERGE)
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 5},
        {"replicas": 0, "selector": "a=b"},
    )
    scaled = await api.call("GET", DEPLOYMENTS + "/d", expect=200)
    assert scaled["spec"]["replicas"] == 5
    assert scaled["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("scale", "why"),
    [
        ({"spec": {"replicas": 2}}, "the name of the object () does not match the name on the URL (d)"),
        ({"metadata": {"name": "e"}, "spec": {"replicas": 2}}, "the name of the object (e) does not match"),
        ({"metadata": {"name": "d", "namespace": "e"}}, "the namespace of the provided object does not match"),
        ({"metadata": {"name": "d"}, "spec": {"replicas": "2"}}, "json: cannot unmarshal string into Go struct field"),
        ({"metadata": {"name": "d"}, "spec": {"copies": 2}}, 'strict decoding error: unknown field "spec.copies"'),
    ],
)
async def test_a_scale_that_is_not_the_deployments_is_refused(api, scale, why):
    await api.call("POST", DEPLOYMENTS, deployment(), expect=201)
    refused = await api.call("PUT", DEPLOYMENTS + "/d/scale?fieldValidation=Strict", scale, expect=400)
    assert why in refused["message"]
    whole = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "d"}, "spec": {"replicas": 2}}
    await api.call("PUT", DEPLOYMENTS + "/d/scale?fieldValidation=Strict", whole, expect=200)


@pytest.mark.parametrize(
    ("type", "patch", "code", "why"),
    [
        ("merge-patch", {"metadata": {"name": "e"}}, 400, "the name of the object (e) does not match"),
        ("merge-patch", {"spec": {"copies": 1}}, 422, 'strict decoding error: unknown field "spec.copies"'),
        (
            "strategic-merge-patch",
            {"spec": {"replicas": "1"}},
            422,
            '"map[spec:map[replicas:1]]": unrecognized type: int32',
        ),
        ("merge-patch", b'{"spec": {"replicas": 1, "replicas": 2}}', 422, 'duplicate field "spec.replicas"'),
    ],
)
async def test_a_patched_scale_is_still_a_scale_of_the_deployment(api, type, patch, code, why):
    await api.call("POST", DEPLOYMENTS, deployment(), expect=201)
    content = f"application/{type}+json"
    path = DEPLOYMENTS + "/d/scale?fieldValidation=Strict"
    refused = await api.call("PATCH", path, patch, content_type=content, expect=code)
    assert why in refused["message"]


async def test_an_applied_scale_has_the_fields_of_a_scale(api):
    await api.call("POST", DEPLOYMENTS, deployment(), expect=201)
    scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 3}}
    path, apply = DEPLOYMENTS + "/d/scale?fieldManager=m&force=true", "application/apply-patch+yaml"
    assert (await api.call("PATCH", path, scale, content_type=apply, expect=200))["spec"] == {"replicas": 3}
    unknown = {**scale, "spec": {"copies": 3}}
    refused = await api.call("PATCH", path, unknown, content_type=apply, expect=500)
    assert ".spec.copies: field not declared in schema" in refused["message"]
    other = {**scale, "metadata": {"name": "e"}}
    await api.call("PATCH", path, other, content_type=apply, expect=400)
    await api.call("PATCH", path.replace("=m&", "=&"), scale, content_type=apply, expect=422)


async def test_a_scale_has_a_table_and_metadata_alone(api):
    await api.call("POST", DEPLOYMENTS, deployment(), expect=201)
    asked = "application/json;as={};v=v1;g=meta.k8s.io"
    table = await api.call("GET", DEPLOYMENTS + "/d/scale", accept=asked.format("Table"), expect=200)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["d", 1, 0]
    bare = await api.call("GET", DEPLOYMENTS + "/d/scale", accept=asked.format("PartialObjectMetadata"), expect=200)
    assert (bare["kind"], bare["metadata"]["name"], bare.get("spec")) == ("PartialObjectMetadata", "d", None)


async def test_the_count_set_through_scale_has_its_own_manager(api):
    path = "/apis/apps/v1/namespaces/default/deployments/d"
    apply = {"content_type": "application/apply-patch+yaml"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    await api.call("PATCH", path + "?fieldManager=me", body, expect=201, **apply)
    await api.call("PATCH", path + "/scale?fieldManager=hpa", {"spec": {"replicas": 4}}, expect=200, **MERGE)
    mine, hpas = (await api.call("GET", path))["metadata"]["managedFields"]
    assert "f:replicas" not in mine["fieldsV1"]["f:spec"]
    assert hpas == {
        "manager": "hpa",
        "operation": "Update",
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
        "subresource": "scale",
    }
    status = await api.call("PATCH", path + "?fieldManager=me", body, expect=409, **apply)
    assert 'conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas' in status["message"]
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 3}}
    status = await api.call("PATCH", path + "/scale?fieldManager=ap", scale, expect=409, **apply)
    assert 'conflict with "hpa" with subresource "scale" using autoscaling/v1: .spec.replicas' in status["message"]
    forced = await api.call("PATCH", path + "/scale?fieldManager=ap&force=true", scale, expect=200, **apply)
    assert forced["spec"] == {"replicas": 3}
    managers = (await api.call("GET", path))["metadata"]["managedFields"]
    assert [(m["manager"], m["operation"], m.get("subresource", "")) for m in managers] == [
        ("ap", "Apply", "scale"),
        ("me", "Apply", ""),
    ]
