"""What is served, and under which names."""

from __future__ import annotations

import pytest
from kcore_kinds import kcore_kinds

from kcore.api import validation

KINDS = list(kcore_kinds())


def find(resource: str, version: str = "v1"):
    return next(k for k in KINDS if k.resource == resource and k.version == version)


def test_no_resource_is_declared_twice():
    names = [(k.group, k.version, k.plural) for k in KINDS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.resource}/{k.version}")
def test_every_kind_has_a_shape_and_a_protobuf_message(kind):
    assert kind.schema.properties["metadata"].name.endswith("ObjectMeta")
    assert kind.schema.name.endswith(f".{kind.version}.{kind.kind}")
    assert kind.message.endswith(f".{kind.version}.{kind.kind}")


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.virtual], ids=lambda k: f"{k.resource}/{k.version}")
def test_every_stored_kind_has_a_table_whose_cells_survive_an_empty_object(kind):
    obj = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": "x", "creationTimestamp": "2024-01-01T00:00:00Z"},
    }
    validation.normalize(obj, kind.schema)
    kind.strategy.prepare_create(obj)
    kind.strategy.default(obj)
    assert kind.columns
    for column in kind.columns:
        column.cell(obj)


def test_discovery_facts_of_some_resources():
    deployments = find("deployments.apps")
    assert deployments.short_names == ("deploy",)
    assert deployments.categories == ("all",)
    assert deployments.storage_version_hash == "8aSe+NMegvE="
    assert list(deployments.subresources) == ["scale", "status"]
    assert deployments.subresources["scale"].group == "autoscaling"
    assert find("pods").subresources["eviction"].kind == "Eviction"
    assert "deletecollection" not in find("namespaces").verbs
    assert find("tokenreviews.authentication.k8s.io").virtual


@pytest.mark.parametrize(
    ("resource", "name", "problem"),
    [
        ("pods", "a.b", ""),
        ("pods", "A", "a lowercase RFC 1123 subdomain must consist of"),
        ("namespaces", "a.b", "must not contain dots"),
        ("namespaces", "n" * 64, "must be no more than 63 characters"),
        ("roles.rbac.authorization.k8s.io", "system:x:Y", ""),
        ("roles.rbac.authorization.k8s.io", "a/b", "may not contain '/'"),
    ],
)
def test_names_follow_the_rule_of_their_kind(resource, name, problem):
    found = find(resource).strategy.validate_name(name)
    assert found[0].startswith(problem) if problem else found == []


def test_fields_that_a_field_selector_may_name():
    pod = {"metadata": {}, "spec": {"nodeName": "n", "hostNetwork": True}, "status": {"podIPs": [{"ip": "1.2.3.4"}]}}
    read = find("pods").selectable
    assert read["spec.nodeName"](pod) == "n"
    assert read["spec.hostNetwork"](pod) == "true"
    assert read["spec.hostNetwork"]({"spec": {}}) == "false"
    assert read["status.podIPs"](pod) == "1.2.3.4"
    assert read["status.phase"](pod) == ""
    event = {"involvedObject": {"kind": "Pod"}, "source": {"component": "kubelet"}}
    assert find("events").selectable["involvedObject.kind"](event) == "Pod"
    assert find("events").selectable["source"](event) == "kubelet"


def test_events_of_both_groups_are_the_same_stored_objects():
    newer = find("events.events.k8s.io")
    event = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"kind": "Pod"}, "note": "hello"}
    stored = newer.to_storage(event)
    assert stored == {"apiVersion": "v1", "kind": "Event", "involvedObject": {"kind": "Pod"}, "message": "hello"}
    assert newer.from_storage(stored) == event
    assert newer.store_prefix == find("events").store_prefix


def test_an_autoscaler_reads_the_same_through_both_versions():
    v1 = find("horizontalpodautoscalers.autoscaling", "v1")
    assert v1.storage_version == "v2"
    obj = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "x"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "maxReplicas": 5,
            "targetCPUUtilizationPercentage": 50,
        },
    }
    validation.normalize(obj, v1.schema)
    v1.strategy.default(obj)
    stored = v1.to_storage(obj)
    assert stored["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 50}
    assert v1.from_storage(stored) == obj


def test_what_autoscaling_v1_cannot_say_comes_back_from_annotations():
    v1, v2 = (find("horizontalpodautoscalers.autoscaling", v) for v in ("v1", "v2"))
    obj = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "x", "annotations": {"mine": "1"}},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "maxReplicas": 5,
            "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1k"}},
                }
            ],
        },
        "status": {"conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": None}]},
    }
    validation.normalize(obj, v2.schema)
    v2.strategy.default(obj)
    shown = v1.from_storage(obj)
    assert "metrics" not in shown["spec"]
    assert shown["metadata"]["annotations"]["mine"] == "1"
    assert v1.to_storage(shown) == obj
