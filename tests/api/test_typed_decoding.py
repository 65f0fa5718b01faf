"""What becomes of an object on its way through Go's types, and what is said of one that does not fit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from kcore_kinds import bundle

from kcore.api import typed, validation
from kcore.api.schema import ANY, Schema
from kcore.errors import BadRequest

Object = dict[str, Any]
DEFINITIONS = {
    "Pod": "io.k8s.api.core.v1.Pod",
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "Secret": "io.k8s.api.core.v1.Secret",
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "Lease": "io.k8s.api.coordination.v1.Lease",
    "Event": "io.k8s.api.core.v1.Event",
    "Role": "io.k8s.api.rbac.v1.Role",
    "Service": "io.k8s.api.core.v1.Service",
    "ResourceQuota": "io.k8s.api.core.v1.ResourceQuota",
    "Job": "io.k8s.api.batch.v1.Job",
}


def read(kind: str, **members: Any) -> Object:
    """The object after its round trip, without type and empty metadata and status."""
    obj = {"apiVersion": "v1", "kind": kind, **copy.deepcopy(members)}
    validation.prepare(obj, bundle.schema(DEFINITIONS[kind]), kind)
    again = copy.deepcopy(obj)
    validation.normalize(again, bundle.schema(DEFINITIONS[kind]))
    assert again == obj, "a second round trip changes nothing"
    return {k: v for k, v in obj.items() if v != {} and k not in ("apiVersion", "kind")}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        # nulls and empty values are left out where Go leaves them out
        ({"metadata": {"labels": {}, "annotations": None, "finalizers": [], "name": ""}}, {}),
        ({"spec": {"hostNetwork": False, "nodeName": "", "priority": 0}}, {"priority": 0}),
        (
            {"spec": {"activeDeadlineSeconds": None, "automountServiceAccountToken": False}},
            {"automountServiceAccountToken": False},
        ),
        # what Go always writes is added
        ({"spec": {"containers": [{}]}}, {"containers": [{"name": "", "resources": {}}]}),
        ({"spec": {"containers": None}}, {}),
        ({"spec": {"securityContext": {}}}, {"securityContext": {}}),
        # nulls in lists and maps are zero values
        ({"spec": {"containers": [None]}}, {"containers": [{"name": "", "resources": {}}]}),
        ({"spec": {"nodeSelector": {"a": None}}}, {"nodeSelector": {"a": ""}}),
    ],
)
def test_empty_values_of_a_pod(given: Object, made: Object) -> None:
    spec = read("Pod", **given).get("spec", {})
    assert {k: v for k, v in spec.items() if v is not None} == made


def test_a_list_that_is_always_written_is_null_when_missing_or_empty() -> None:
    assert read("Pod", spec={}) == {"spec": {"containers": None}}
    assert read("Role") == {"rules": None}
    assert read("Role", rules=[]) == {"rules": None}


def test_empty_bytes_are_not_null() -> None:
    schema = bundle.schema("io.k8s.api.certificates.v1.CertificateSigningRequest")
    obj: Object = {"spec": {"request": "", "signerName": "a"}}
    validation.prepare(obj, schema, "CertificateSigningRequest")
    assert obj["spec"]["request"] == ""


def test_times_take_their_canonical_form() -> None:
    meta = read("ConfigMap", metadata={"creationTimestamp": "2024-01-01T02:00:00.5+02:00", "deletionTimestamp": None})
    assert meta == {"metadata": {"creationTimestamp": "2024-01-01T00:00:00Z"}}
    assert read("Lease", spec={"renewTime": "2024-01-01T02:00:00.123456+02:00"}) == {
        "spec": {"renewTime": "2024-01-01T00:00:00.123456Z"}
    }
    assert read("Event", message="m")["eventTime"] is None


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        (1, "1"),
        (0.5, "500m"),
        ("1024Mi", "1Gi"),
        ("1Gi", "1Gi"),
        ("1e3", "1e3"),
        (" 1 ", "1"),
        ("100E", "9223372036854775807"),
        ("-1e99", "-9223372036854775807"),
        ("1e999999999999999999", "9223372036854775807"),
        ("1e-999999999999999999", "0"),
    ],
)
def test_quantities_take_their_canonical_form(given: Any, made: str) -> None:
    assert read("ResourceQuota", spec={"hard": {"cpu": given}}) == {"spec": {"hard": {"cpu": made}}}


def test_free_form_values_stay_as_they_are() -> None:
    quota = {"raw": {"a": None, "b": [], "c": {"d": 0}}}
    revision = bundle.schema("io.k8s.api.apps.v1.ControllerRevision")
    obj = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {}, "data": quota, "revision": 0}
    typed.read(obj, revision)
    assert obj["data"] == quota
    assert obj["revision"] == 0


def test_an_empty_list_of_managers_is_kept_visible() -> None:
    assert read("ConfigMap", metadata={"managedFields": []}) == {"metadata": {"managedFields": [{}]}}


def test_members_that_no_type_has_are_dropped_and_named() -> None:
    pod = {
        "apiVersion": "v1",
        "baz": 3,
        "kind": "Pod",
        "metadata": {"labels": {"any": "label"}},
        "spec": {"containers": [{"bar": 2, "name": "c"}], "foo": 1},
    }
    schema = bundle.schema(DEFINITIONS["Pod"])
    messages = [
        'unknown field "spec.containers[0].bar"',
        'unknown field "spec.foo"',
        'unknown field "baz"',
    ]
    assert validation.unknown_fields(pod, schema) == messages
    assert validation.prepare(pod, schema, "Pod") == messages
    assert pod["metadata"]["labels"] == {"any": "label"}
    assert pod["spec"] == {"containers": [{"name": "c", "resources": {}}]}
    assert "baz" not in pod
    assert validation.prepare(pod, schema, "Pod") == []


FIELD = "Go struct field"
POD_SPEC = "Go struct field PodSpec.spec"
UNMARSHAL = "json: cannot unmarshal"


@pytest.mark.parametrize(
    ("kind", "members", "why"),
    [
        (
            "Deployment",
            {"spec": {"replicas": "3"}},
            f"{UNMARSHAL} string into {FIELD} DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "Deployment",
            {"spec": {"replicas": 1.5}},
            f"{UNMARSHAL} number 1.5 into {FIELD} DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "Deployment",
            {"spec": {"replicas": True}},
            f"{UNMARSHAL} bool into {FIELD} DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "Pod",
            {"spec": {"containers": {"a": 1}}},
            f"{UNMARSHAL} object into {POD_SPEC}.containers of type []v1.Container",
        ),
        (
            "Pod",
            {"spec": {"hostNetwork": "yes"}},
            f"{UNMARSHAL} string into {POD_SPEC}.hostNetwork of type bool",
        ),
        ("Pod", {"spec": []}, f"{UNMARSHAL} array into {FIELD} Pod.spec of type v1.PodSpec"),
        (
            "Pod",
            {"spec": {"containers": [{"ports": [{"hostPort": 99999999999}]}]}},
            f"{UNMARSHAL} number 99999999999 into {FIELD} ContainerPort.spec.containers.ports.hostPort of type int32",
        ),
        (
            "ConfigMap",
            {"metadata": {"labels": {"a": 1}}},
            f"{UNMARSHAL} number into {FIELD} ObjectMeta.metadata.labels of type string",
        ),
        (
            "ConfigMap",
            {"data": [1]},
            f"{UNMARSHAL} array into {FIELD} ConfigMap.data of type map[string]string",
        ),
        ("Secret", {"data": {"a": "!!"}}, "illegal base64 data at input byte 0"),
        ("Secret", {"data": {"a": "YWI"}}, "illegal base64 data at input byte 0"),
        ("Secret", {"data": {"a": 1}}, f"{UNMARSHAL} number into {FIELD} Secret.data of type []uint8"),
        (
            "ResourceQuota",
            {"spec": {"hard": {"cpu": "1Gx"}}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("ResourceQuota", {"spec": {"hard": {"cpu": "1.1.1"}}}, "unable to parse numeric part of quantity"),
        ("ResourceQuota", {"spec": {"hard": {"cpu": "1ii"}}}, "unable to parse quantity's suffix"),
        (
            "Pod",
            {"metadata": {"creationTimestamp": "yesterday"}},
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
        (
            "Pod",
            {"metadata": {"creationTimestamp": "2024-13-01T00:00:00Z"}},
            'parsing time "2024-13-01T00:00:00Z": month out of range',
        ),
        (
            "Pod",
            {"metadata": {"creationTimestamp": "2024-02-30T00:00:00Z"}},
            'parsing time "2024-02-30T00:00:00Z": day out of range',
        ),
        (
            "Pod",
            {"metadata": {"creationTimestamp": "2024-02-01T00:00:00"}},
            'parsing time "2024-02-01T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"',
        ),
        (
            "Lease",
            {"spec": {"renewTime": "2024-01-01T00:00:00Z"}},
            'parsing time "2024-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"',
        ),
        (
            "Lease",
            {"spec": {"renewTime": 5}},
            f"{UNMARSHAL} number into {FIELD} LeaseSpec.spec.renewTime of type string",
        ),
        (
            "Service",
            {"spec": {"ports": [{"targetPort": 1.5}]}},
            f"{UNMARSHAL} number 1.5 into {FIELD} ServicePort.spec.ports.targetPort of type int32",
        ),
        # a type with a decoder of its own ends decoding: its error wins over an earlier one
        (
            "Pod",
            {"spec": {"nodeName": 1}, "metadata": {"creationTimestamp": "x"}},
            'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"',
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_the_words_of_go(kind: str, members: Object, why: str) -> None:
    obj = {"apiVersion": "apps/v1", "kind": kind, **members}
    schema = bundle.schema(DEFINITIONS[kind])
    message = f'{kind} in version "v1" cannot be handled as a {kind}: {why}'
    with pytest.raises(BadRequest) as e:
        validation.decode_check(obj, schema, kind)
    assert e.value.message == message
    with pytest.raises(BadRequest) as e:
        validation.prepare(obj, schema, kind)
    assert e.value.message == message


def test_every_built_in_definition_can_be_read() -> None:
    for name in bundle.definitions():
        if bundle.gvk(name) is not None:
            schema = bundle.schema(name)
            typed.read({"metadata": {}}, schema)
            typed.empty(schema)


# --- custom resources ----------------------------------------------------------------------------

CUSTOM = Schema(
    type="object",
    properties={
        "spec": Schema(
            type="object",
            properties={
                "n": Schema(type="integer"),
                "free": Schema(type="object", preserve_unknown=True, properties={"o": Schema(type="object")}),
                "list": Schema(type="array", items=Schema(type="object", properties={"a": Schema()})),
                "map": Schema(type="object", values=Schema(type="object", properties={"b": Schema()})),
                "embedded": Schema(type="object", embedded=True, preserve_unknown=True),
            },
        )
    },
)


def test_a_custom_resource_is_pruned_and_otherwise_left_alone() -> None:
    obj = {
        "apiVersion": "ex.com/v1",
        "kind": "W",
        "metadata": {"name": "w", "labels": {}, "nope": 1},
        "top": 1,
        "spec": {
            "n": "a string is for validation to refuse",
            "zzz": 1,
            "free": {"x": {"y": None}, "o": {"gone": 1}},
            "list": [{"a": None, "b": 1}],
            "map": {"k": {"a": 1, "b": []}},
            "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "no": 1}, "any": 1},
        },
    }
    assert validation.prepare(obj, CUSTOM, "W") == [
        f'unknown field "{path}"'
        for path in (
            "metadata.nope",
            "spec.free.o.gone",
            "spec.list[0].b",
            "spec.map.k.a",
            "spec.embedded.metadata.no",
            "spec.zzz",
            "top",
        )
    ]
    assert obj == {
        "apiVersion": "ex.com/v1",
        "kind": "W",
        "metadata": {"name": "w"},
        "spec": {
            "n": "a string is for validation to refuse",
            "free": {"x": {"y": None}, "o": {}},
            "list": [{"a": None}],
            "map": {"k": {"b": []}},
            "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "any": 1},
        },
    }


def test_the_metadata_of_a_custom_resource_is_typed() -> None:
    obj = {"apiVersion": "ex.com/v1", "kind": "W", "metadata": {"labels": {"a": 1}}}
    with pytest.raises(BadRequest) as e:
        validation.prepare(obj, CUSTOM, "W")
    assert e.value.message == (
        'W in version "v1" cannot be handled as a W: json: cannot unmarshal number into Go struct field '
        "ObjectMeta.metadata.labels of type string"
    )


def test_a_recursive_schema_prunes_at_any_depth() -> None:
    node = Schema(type="object", properties={"v": Schema(type="integer")})
    node.properties["next"] = node
    schema = Schema(type="object", properties={"spec": node})
    obj = {"apiVersion": "ex.com/v1", "kind": "W", "spec": {"next": {"next": {"x": 1}}}}
    assert validation.prepare(obj, schema, "W") == ['unknown field "spec.next.next.x"']


def test_a_kind_without_a_schema_keeps_what_it_is_given() -> None:
    obj = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"sizes": [1, None]}}
    given = copy.deepcopy(obj)
    assert validation.prepare(obj, ANY, "Widget") == []
    assert obj == given
