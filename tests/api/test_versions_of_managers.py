"""Managers that write one object in different versions."""

from __future__ import annotations

from typing import Any

import pytest

GROUP = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
V1, V2 = GROUP.format("v1"), GROUP.format("v2")
APPLY = "application/apply-patch+yaml"
Object = dict[str, Any]


def scaler(version: str, percent: int | None = None, **spec: Any) -> Object:
    spec = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, **spec}
    if percent is not None and version == "v1":
        spec["targetCPUUtilizationPercentage"] = percent
    elif percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    meta = {"name": "h"}
    return {"apiVersion": f"autoscaling/{version}", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": spec}


@pytest.fixture
def apply(api):
    async def applied(manager: str, obj: Object, expect: int = 200, **query: str) -> Any:
        path = V1 if obj["apiVersion"].endswith("v1") else V2
        text = "".join(f"&{k}={v}" for k, v in query.items())
        return await api.call(
            "PATCH", f"{path}/h?fieldManager={manager}{text}", obj, expect=expect, content_type=APPLY
        )

    return applied


def held(obj: Object, manager: str) -> Object:
    return next((e["fieldsV1"]["f:spec"] for e in obj["metadata"]["managedFields"] if e["manager"] == manager), {})


def percent(obj: Object) -> int:
    (metric,) = obj["spec"]["metrics"]
    return metric["resource"]["target"]["averageUtilization"]


async def test_a_change_in_one_version_conflicts_with_who_wrote_the_same_in_another(apply):
    await apply("b", scaler("v2", 60), expect=201)
    said = await apply("a", scaler("v1", 50), expect=409)
    assert said["message"] == 'Apply failed with 1 conflict: conflict with "b": .spec.metrics'
    got = await apply("a", scaler("v1", 50), force="true")
    assert "f:targetCPUUtilizationPercentage" in held(got, "a")
    assert held(got, "b").keys() == {"f:maxReplicas", "f:scaleTargetRef"}


async def test_an_update_in_one_version_takes_the_field_from_who_wrote_another(api, apply):
    await apply("b", scaler("v2", 60), expect=201)
    got = await api.call("PUT", f"{V1}/h?fieldManager=u", scaler("v1", 70), expect=200)
    assert "f:metrics" not in held(got, "b")
    assert held(got, "u") == {"f:targetCPUUtilizationPercentage": {}}


async def test_what_an_applier_named_in_another_version_goes_when_it_is_no_longer_applied(api, apply):
    await apply("a", scaler("v1", 50), expect=201)
    got = await apply("a", scaler("v2"))
    assert percent(got) == 80  # the default again
    assert held(got, "a").keys() == {"f:maxReplicas", "f:scaleTargetRef"}


async def test_what_another_holds_in_another_version_stays(api, apply):
    await apply("a", scaler("v1", 50, minReplicas=2), expect=201)
    await apply("b", scaler("v2", 50))
    await apply("a", scaler("v1"))
    got = await api.call("GET", f"{V2}/h", expect=200)
    assert percent(got) == 50
    assert got["spec"]["minReplicas"] == 1


async def test_a_patch_that_is_no_object_is_refused_as_go_reads_it(api):
    path = "/api/v1/namespaces/default/configmaps"
    await api.call("POST", path, {"metadata": {"name": "x"}}, expect=201)
    no = "json: cannot unmarshal {} into Go value of type map[string]interface {{}}"
    for body, sort in ((b"[1]", "array"), (b'"x"', "string"), (b"7", "number"), (b"true", "bool")):
        for kind, before in (("merge-patch", "error decoding patch: "), ("strategic-merge-patch", "")):
            said = await api.call("PATCH", f"{path}/x", body, expect=400, content_type=f"application/{kind}+json")
            assert said["message"] == before + no.format(sort)
