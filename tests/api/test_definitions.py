"""What a CustomResourceDefinition must be like: its schemas above all."""

from __future__ import annotations

import pytest

from .custom import DEFINITIONS, MERGE, definition, props, version

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
AT = "spec.validation.openAPIV3Schema.properties[spec]"


async def causes(api, body):
    status = await api.call("POST", DEFINITIONS, body, expect=422)
    return [(cause["field"], cause["message"]) for cause in status["details"]["causes"]]


def spec(**members):
    return definition(version(spec={"type": "object", **members}))


async def of_field(api, **field):
    """The only error of a definition with one field of this schema, its path without what is the same for all."""
    ((where, message),) = await causes(api, definition(version(spec=props(f=field))))
    return where.removeprefix(f"{AT}.properties[f]").lstrip("."), message


@pytest.mark.parametrize(
    ("field", "where", "message"),
    [
        ({}, "type", "Required value: must not be empty for specified object fields"),
        ({"type": "array"}, "items", "Required value: must be specified"),
        ({"type": "array", "items": {}}, "items.type", "Required value: must not be empty for specified array items"),
        ({"type": "null"}, "type", "Forbidden: type cannot be set to null, use nullable as an alternative"),
        ({"type": "string", "$ref": "#/x"}, "$ref", "Forbidden: $ref is not supported"),
        (
            {"type": "array", "items": TEXT, "uniqueItems": True},
            "uniqueItems",
            "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            {"type": "object", "properties": {"a": TEXT}, "additionalProperties": TEXT},
            "additionalProperties",
            "Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            {"type": "string", "anyOf": [{"type": "string"}]},
            "anyOf[0].type",
            "Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True},
            "properties",
            "Required value: must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields",
        ),
        (
            {"type": "string", "pattern": "("},
            "pattern",
            'Invalid value: "(": must be a valid regular expression, but isn\'t: error parsing regexp: '
            "missing closing ): `(`",
        ),
        ({"type": "integer", "default": "x"}, "default", None),
        ({"type": "object", "properties": {"a": TEXT}, "default": {"b": 1}}, "default", None),
        (
            {"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}, "x-kubernetes-list-type": "set"},
            "items.x-kubernetes-map-type",
            "Required value: must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        (
            {"type": "object", "x-kubernetes-map-type": "sparse"},
            "x-kubernetes-map-type",
            'Unsupported value: "sparse": supported values: "atomic", "granular"',
        ),
    ],
)
async def test_a_schema_keeps_to_the_structural_rules(api, field, where, message):
    found = await of_field(api, **field)
    assert found[0] == where
    if message:
        assert found[1] == message


async def test_int_or_string_has_its_own_form_of_branches(api):
    branches = [{"type": "integer"}, {"type": "string"}]
    either = {"x-kubernetes-int-or-string": True}
    fields = {"a": {**either, "anyOf": branches}, "b": {**either, "allOf": [{"anyOf": branches}, {"pattern": "^x"}]}}
    await api.call("POST", DEFINITIONS, definition(version(spec=props(**fields))), expect=201)


async def test_keys_of_a_list_map_are_required_or_have_a_default(api):
    items = props(k=TEXT)
    keyed = {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    assert await of_field(api, **keyed) == (
        "items.properties[k].default",
        "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required "
        "property",
    )


async def test_rules_must_compile_and_compare_only_what_can_be_compared(api):
    where, message = await of_field(api, **NUMBER, **{"x-kubernetes-validations": [{"rule": "self.nope > 1"}]})
    assert where == "x-kubernetes-validations[0].rule"
    assert "compilation failed: ERROR: <input>:1:5" in message
    items = {**TEXT, "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    where, message = await of_field(api, type="array", maxItems=5, items=items)
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within" in message


async def test_all_mistakes_of_the_rest_are_told(api):
    body = definition(
        version(subresources={"scale": {"specReplicasPath": "x", "statusReplicasPath": ".spec.n"}},
                selectableFields=[{"jsonPath": ".spec.no"}], deprecationWarning="old"),
        kind="w_", shortNames=["X"])  # fmt: skip
    body["spec"]["conversion"] = {"strategy": "Webhook"}
    found = dict(await causes(api, body))
    assert found["spec.subresources.scale.specReplicasPath"].endswith("must be a simple json path starting with .")
    assert found["spec.subresources.scale.statusReplicasPath"].endswith("should be a json path under .status")
    assert found["spec.versions[0].deprecationWarning"].endswith("can only be set for deprecated versions")
    assert found["spec.selectableFields[0].jsonPath"].endswith("is an invalid path: does not refer to a valid field")
    assert found["spec.conversion.webhookClientConfig"] == "Required value: required when strategy is set to Webhook"
    assert "may have mixed case, but should otherwise match" in found["spec.names.kind"]
    assert "spec.names.shortNames[0]" in found


async def test_a_version_in_which_objects_may_be_stored_stays(api):
    first, second = version(), version("v2", storage=False)
    await api.call("POST", DEFINITIONS, definition(first, second), expect=201)
    path = f"{DEFINITIONS}/ws.ex.com"
    moved = [{**first, "storage": False, "served": False}, {**second, "storage": True}]
    await api.call("PATCH", path, {"spec": {"versions": moved}}, expect=200, **MERGE)
    refused = await api.call("PATCH", path, {"spec": {"versions": moved[1:]}}, expect=422, **MERGE)
    assert [(c["field"], c["message"]) for c in refused["details"]["causes"]] == [
        ("status.storedVersions[0]", 'Invalid value: "v1": must appear in spec.versions')
    ]
    await api.call("PATCH", f"{path}/status", {"status": {"storedVersions": ["v2"]}}, expect=200, **MERGE)
    await api.call("PATCH", path, {"spec": {"versions": moved[1:]}}, expect=200, **MERGE)


async def test_the_plural_name_never_changes(api):
    await api.call("POST", DEFINITIONS, spec(), expect=201)
    refused = await api.call(
        "PATCH", f"{DEFINITIONS}/ws.ex.com", {"spec": {"names": {"plural": "vs"}}}, expect=422, **MERGE
    )
    assert "spec.names.plural" in {c["field"] for c in refused["details"]["causes"]}


async def test_a_rule_may_not_cost_more_than_its_estimate_allows(api):
    rule = {"rule": "self.all(a, self.all(b, a == b))"}
    field = {"type": "array", "items": TEXT, "x-kubernetes-validations": [rule]}
    (where, message), (_, contributed), (whole, _) = await causes(api, definition(version(spec=props(f=field))))
    assert where == f"{AT}.properties[f].x-kubernetes-validations[0].rule"
    assert message.startswith("Forbidden: estimated rule cost exceeds budget by factor of more than 100x")
    assert contributed.startswith("Forbidden: contributed to estimated rule & messageExpression cost total")
    assert whole == "spec.validation.openAPIV3Schema"
