"""sig-api-machinery: unknown and duplicate fields of custom resources, in requests and with the real kubectl."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.conftest import APPLY, Place
from tests.conformance.test_custom_resources import custom, defined, definition, props, version

NUMBER = {"type": "integer"}
KNOWN = props(spec=props(foo={"type": "string"}, cronSpec={"type": "string"}, ports={
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "items": {
        "type": "object",
        "required": ["containerPort", "protocol"],
        "properties": {"containerPort": NUMBER, "hostPort": NUMBER, "protocol": {"type": "string"}},
    },
}))  # fmt: skip
PORTS = [{"containerPort": 80, "protocol": "TCP"}]


STRICT = "fieldValidation=Strict"


def applied(place: Place, path: str, body: Any, expect: int) -> str:
    """What is said to a strict apply of a body."""
    said: str = place.call("PATCH", f"{path}/a?{STRICT}&fieldManager=me", body, expect, APPLY)["message"]
    return said


@pytest.mark.conformance(
    "FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema"
)
def test_a_kind_without_schema_takes_any_field(place: Place) -> None:
    body = definition("Free", version(), group="free.example.com")
    with defined(place, body) as path:
        obj = custom(body, spec={"knownField": {"foo": "bar"}, "unknownField": "unknown"})
        made = place.call("POST", f"{path}?fieldValidation=Strict", obj)
        assert made["spec"]["unknownField"] == "unknown"
        place.call("PATCH", f"{path}/a?fieldValidation=Strict&fieldManager=me&force=true", obj, type=APPLY)
        place.kubectl("apply", "--validate=true", "-f", place.kubectl.file(obj))


@pytest.mark.conformance("FieldValidation should create/apply a valid CR for CRD with validation schema")
def test_an_object_that_fits_its_schema_is_taken(place: Place) -> None:
    body = definition("Valid", version(schema=KNOWN), group="valid.example.com")
    with defined(place, body) as path:
        obj = custom(body, spec={"foo": "foo1", "cronSpec": "* * * * */5", "ports": PORTS})
        place.call("POST", f"{path}?fieldValidation=Strict", obj)
        place.call("PATCH", f"{path}/a?fieldValidation=Strict&fieldManager=me", obj, type=APPLY)
        place.kubectl("apply", "--validate=true", "-f", place.kubectl.file(custom(body, "b", spec=obj["spec"])))


@pytest.mark.conformance(
    "FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema"
)
def test_an_object_with_more_than_its_schema_is_refused(place: Place) -> None:
    body = definition("Extra", version(schema=KNOWN), group="extra.example.com")
    with defined(place, body) as path:
        obj = custom(body, spec={"foo": "foo1", "ports": PORTS, "extraProperty": "arbitrary"})
        posted = place.call("POST", f"{path}?{STRICT}", obj, 400)["message"]
        assert 'strict decoding error: unknown field "spec.extraProperty"' in posted
        assert applied(place, path, obj, 500).endswith(": .spec.extraProperty: field not declared in schema")
        obj["unknownField"] = "unknown"
        assert ".unknownField: field not declared in schema" in applied(place, path, obj, 500)
        del obj["unknownField"]
        said = place.kubectl.error("apply", "--validate=true", "-f", place.kubectl.file(obj))
        assert 'unknown field "spec.extraProperty"' in said


@pytest.mark.conformance("FieldValidation should detect duplicates in a CR when preserving unknown fields")
def test_duplicates_are_found_where_unknown_fields_are_kept(place: Place) -> None:
    schema = props(spec={**KNOWN["properties"]["spec"], "x-kubernetes-preserve-unknown-fields": True})
    body = definition("Twice", version(schema=schema), group="twice.example.com")
    with defined(place, body) as path:
        raw = json.dumps(custom(body, spec={"foo": "bar"})).encode()
        raw = raw.replace(b'"foo": "bar"', b'"more": "a", "more": "b", "foo": "a", "foo": "b"')
        posted = place.call("POST", f"{path}?{STRICT}", raw, 400)["message"]
        assert 'strict decoding error: duplicate field "spec.more", duplicate field "spec.foo"' in posted
        text = """
apiVersion: twice.example.com/v1
kind: Twice
metadata:
  name: a
spec:
  unknown: uk1
  foo: foo1
  foo: foo2
"""
        assert applied(place, path, text.encode(), 400).endswith(
            ': error converting YAML to JSON: yaml: unmarshal errors:\n  line 9: key "foo" already set in map'
        )
        assert 'line 1: key "foo" already set in map' in applied(place, path, raw, 400)


@pytest.mark.conformance(
    "FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR"
)
def test_unknown_metadata_is_found_at_the_root_and_inside(place: Place) -> None:
    inside = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    body = definition("Meta", version(schema=props(spec=props(template=inside))), group="meta.example.com")
    with defined(place, body) as path:
        template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "unknownSubMeta": "b"}}
        obj = custom(body, spec={"template": template})
        obj["metadata"]["unknownMeta"] = "a"
        posted = place.call("POST", f"{path}?{STRICT}", obj, 400)["message"]
        assert 'unknown field "metadata.unknownMeta"' in posted
        assert 'unknown field "spec.template.metadata.unknownSubMeta"' in posted
        assert ".metadata.unknownMeta: field not declared in schema" in applied(place, path, obj, 500)
