"""Kubernetes protobuf: round trips, the `protobuf` package as the oracle, and bodies from a hostile hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcore.api import shapes
from kcore.api.codec import fields as table
from kcore.api.codec import protobuf, wire
from kcore.errors import BadRequest, NotAcceptable

from . import protobuf_oracle as oracle

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    table.QUANTITY: st.sampled_from(["0", "1", "100m", "1Gi", "5k", "12e6"]),
    table.TIME: st.sampled_from(["2020-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2038-01-19T03:14:08Z"]),
    table.MICRO_TIME: st.sampled_from(["2020-01-01T00:00:00.000001Z", "2020-01-01T00:00:00.000000Z"]),
    table.INT_OR_STRING: st.integers(-(2**31), 2**31 - 1) | TEXT,
    table.RAW_EXTENSION: st.dictionaries(TEXT, st.integers() | TEXT, min_size=1, max_size=2),
    table.FIELDS: st.just({"f:data": {".": {}, "f:a": {}}}),
    "string": TEXT,
    "bytes": st.sampled_from(["", "YQ==", "AAEC/w=="]),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "double": st.sampled_from([0, 1, 1.5, -2.25, 1e300]),
}


@st.composite
def message(draw: st.DrawFn, name: str, depth: int = 0) -> Any:
    """An object of a message type, by the table; fewer members the deeper it is."""
    if name in SPECIAL:
        return draw(SPECIAL[name])
    if name.endswith("ExtraValue"):
        return draw(st.lists(TEXT, min_size=1, max_size=2))
    out: dict[str, Any] = {}
    for field in table.message(name) or ():
        if field.inline:
            out.update(draw(message(field.type, depth)))
        elif draw(st.integers(0, 3 + 3 * depth)) == 0:
            one = message(field.type, depth + 1)
            if field.repeated:
                out[field.name] = draw(st.lists(one, min_size=1, max_size=2))
            elif field.map:
                # one member: the package orders them in a way of its own
                out[field.name] = draw(st.dictionaries(TEXT, one, min_size=1, max_size=1))
            else:
                out[field.name] = draw(one)
    return out


KINDS = [
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "Node"),
    ("v1", "Secret"),
    ("v1", "Event"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ControllerRevision"),
    ("batch/v1", "CronJob"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("coordination.k8s.io/v1", "Lease"),
    ("networking.k8s.io/v1", "Ingress"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("certificates.k8s.io/v1", "CertificateSigningRequest"),
    ("resource.k8s.io/v1", "ResourceSlice"),
]
OBJECTS = st.sampled_from(KINDS).flatmap(
    lambda k: message(table.message_of(*k)).map(lambda obj: {**obj, "apiVersion": k[0], "kind": k[1]})
)
some = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@some
@given(OBJECTS)
def test_bytes_are_what_the_protobuf_package_writes(obj: dict[str, Any]) -> None:
    raw = protobuf.encode_raw(obj)
    parsed = oracle.message_class(table.message_of(obj["apiVersion"], obj["kind"])).FromString(raw)
    assert not list(_unknown(parsed))
    assert parsed.SerializeToString(deterministic=True) == raw


def _unknown(parsed: Any) -> Any:
    from google.protobuf import unknown_fields

    return unknown_fields.UnknownFieldSet(parsed)


@some
@given(OBJECTS)
def test_decoding_gives_what_go_would_make_of_the_object(obj: dict[str, Any]) -> None:
    decoded = protobuf.decode(protobuf.encode(obj))
    assert decoded == protobuf.decode(protobuf.encode(decoded))
    assert decoded == {**_as_go(obj, table.message_of(obj["apiVersion"], obj["kind"])), **_type(obj)}


def _type(obj: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}


def _as_go(obj: dict[str, Any], name: str) -> dict[str, Any]:
    from kcore.api.schema import Schema
    from kcore.api.typed import read

    obj = copy.deepcopy(obj)
    definition = "io.k8s." + name.removeprefix("k8s.io.").replace("_", "-")
    text = Schema(type="string")
    read(obj, Schema(type="object", name=definition, properties={"apiVersion": text, "kind": text}))
    return obj


@some
@given(OBJECTS, st.data())
def test_a_truncated_or_damaged_body_is_refused_or_read_but_never_breaks(
    obj: dict[str, Any], data: st.DataObject
) -> None:
    body = bytearray(protobuf.encode(obj))
    body = body[: data.draw(st.integers(0, len(body)))]
    for _ in range(data.draw(st.integers(0, 3))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        protobuf.decode(bytes(body))
    except BadRequest:
        pass


@given(st.binary(max_size=60))
def test_garbage_is_refused(body: bytes) -> None:
    try:
        protobuf.decode(b"k8s\0" + body)
    except BadRequest:
        pass


def envelope(raw: bytes, api_version: str = "v1", kind: str = "ConfigMap") -> bytes:
    return protobuf.wrap(api_version, kind, raw)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (b"abc", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (bytes.fromhex("6b3873000aff"), "unexpected EOF"),
        (envelope(b"\x0a\xff\xff\xff\xff\x0f"), "unexpected EOF"),
        (envelope(b"\x0a" + b"\xff" * 11), "proto: integer overflow"),
        (envelope(b"\x0b"), "proto: illegal wireType 3"),
        (envelope(b"\x0a\x05ab"), "unexpected EOF"),
        (envelope(b"", kind="Nope"), 'no kind "Nope" is registered for version "v1"'),
    ],
)
def test_a_malformed_body_is_refused_in_the_words_of_go(body: bytes, problem: str) -> None:
    with pytest.raises(BadRequest) as e:
        protobuf.decode(body)
    assert e.value.message == problem


def wrapped(name: str, member: str, raw: bytes) -> bytes:
    """`raw` as one member of a message of apiextensions/v1."""
    field = next(f for f in table.message(table.EXTENSIONS + name) or () if f.name == member)
    return wire.tag(field.number, 2) + wire.length(len(raw)) + raw


def test_deep_nesting_is_refused() -> None:
    raw = b""
    for _ in range(5000):
        raw = wrapped("JSONSchemaProps", "not", raw)
    raw = wrapped(
        "CustomResourceDefinitionVersion", "schema", wrapped("CustomResourceValidation", "openAPIV3Schema", raw)
    )
    raw = wrapped("CustomResourceDefinition", "spec", wrapped("CustomResourceDefinitionSpec", "versions", raw))
    with pytest.raises(BadRequest, match="exceeded max depth"):
        protobuf.decode(envelope(raw, "apiextensions.k8s.io/v1", "CustomResourceDefinition"))


def test_members_that_nobody_knows_are_skipped() -> None:
    raw = protobuf.encode_raw({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}})
    extra = b"\xf8\x3f\x01" + b"\xf9\x3f" + bytes(8) + b"\xfa\x3f\x02hi" + b"\xfd\x3f" + bytes(4)
    decoded = protobuf.decode(envelope(extra + raw + extra))
    assert decoded == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"a": "b"}}


def test_packed_numbers_are_read() -> None:
    # PodSecurityContext.supplementalGroups is field 4 of spec.securityContext (14)
    context = b"\x22\x03\x01\xac\x02"
    spec = b"\x72" + bytes((len(context),)) + context
    decoded = protobuf.decode(envelope(b"\x12" + bytes((len(spec),)) + spec, kind="Pod"))
    assert decoded["spec"]["securityContext"] == {"supplementalGroups": [1, 300]}


def test_members_of_maps_are_written_in_order() -> None:
    one = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"b": "1", "": "2", "a": "3"}}
    other = {**one, "data": dict(sorted(one["data"].items()))}
    assert protobuf.encode(one) == protobuf.encode(other)


def test_an_envelope_may_hold_json() -> None:
    text = b'{"apiVersion":"v1","kind":"ConfigMap"}'
    body = b"k8s\0\x12" + bytes((len(text),)) + text + b"\x22\x10application/json"
    assert protobuf.decode(body) == {"apiVersion": "v1", "kind": "ConfigMap"}


def test_zero_values_of_fields_that_are_no_pointers_are_written() -> None:
    raw = protobuf.encode_raw({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {}})
    parsed = oracle.message_class("k8s.io.api.apps.v1.Deployment").FromString(raw)
    spec = parsed.f2
    assert not spec.HasField("f1")  # replicas is a pointer
    assert spec.HasField("f5")  # minReadySeconds is none
    assert parsed.HasField("f3")  # nor is status


def test_a_list_holds_objects_or_their_messages() -> None:
    pods = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": n}} for n in "ab"]
    body = protobuf.encode_list("v1", "PodList", {"resourceVersion": "7"}, [pods[0], protobuf.encode_raw(pods[1])])
    decoded = protobuf.decode(body)
    assert decoded["metadata"] == {"resourceVersion": "7"}
    assert [p["metadata"]["name"] for p in decoded["items"]] == ["a", "b"]
    assert body == protobuf.encode(
        {"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": pods}
    )
    assert protobuf.decode(protobuf.encode_list("v1", "PodList", {}, []))["items"] == []


def test_a_watch_event_is_a_frame_around_an_envelope() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    frame = protobuf.encode_watch_event("ADDED", pod)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    event = oracle.message_class("k8s.io.apimachinery.pkg.apis.meta.v1.WatchEvent").FromString(frame[4:])
    assert event.f1 == "ADDED"
    assert event.f2.raw == protobuf.encode(pod)
    assert frame == protobuf.encode_watch_event("ADDED", protobuf.encode(pod))


def test_kinds_of_meta_have_a_protobuf_form_and_tables_have_none() -> None:
    assert protobuf.supports("v1", "Status")
    assert protobuf.supports("meta.k8s.io/v1", "PartialObjectMetadataList")
    assert protobuf.supports("v1", "APIGroupList")
    assert not protobuf.supports("meta.k8s.io/v1", "Table")
    assert not protobuf.supports("ex.com/v1", "Custom")
    with pytest.raises(NotAcceptable):
        protobuf.encode({"apiVersion": "ex.com/v1", "kind": "Custom"})


def test_a_status_makes_the_round_trip() -> None:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'pods "x" not found',
        "reason": "NotFound",
        "details": {"name": "x", "kind": "pods", "causes": [{"reason": "a", "message": "b", "field": "c"}]},
        "code": 404,
    }
    assert protobuf.decode(protobuf.encode(status)) == status


def test_the_odd_json_forms_of_a_crd_make_the_round_trip() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
            "b": {"additionalProperties": False, "enum": [1, "two", None]},
            "c": {"additionalProperties": {"type": "integer"}, "items": [{"type": "string"}, {"type": "integer"}]},
            "d": {"dependencies": {"x": ["y"], "z": {"type": "object"}}, "minimum": 0, "maximum": 1.5},
        },
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "x"},
        "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]},
    }
    decoded = protobuf.decode(protobuf.encode(crd))
    assert decoded["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == schema


def test_every_message_compiles() -> None:
    package = "k8s.io.api.core.v1."
    for name in ("Pod", "Node", "PersistentVolume", "Service"):
        assert shapes.struct(package + name) is not None
    assert protobuf.decode(protobuf.encode({"apiVersion": "v1", "kind": "PersistentVolume"}))["spec"] == {}


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1500, "1.5µs"),
        (2_000_000, "2ms"),
        (3_723_500_000_000, "1h2m3.5s"),
        (-60 * 10**9, "-1m0s"),
    ],
)
def test_durations_are_written_as_go_writes_them(nanos: int, text: str) -> None:
    from kcore.api.codec.protobuf_decode import go_duration
    from kcore.api.codec.protobuf_encode import encoder

    assert go_duration(nanos) == text
    assert encoder(table.DURATION)(text) == b"\x08" + wire.varint(nanos)
