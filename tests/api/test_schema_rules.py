"""Custom resources against their schema: every error, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

from kcore.api import validation
from kcore.api.schema import Schema

TEXT, INT = Schema(type="string"), Schema(type="integer")


def errors(value: Any, schema: Schema) -> list[tuple[str, str, str]]:
    found = validation.check({"spec": value}, Schema(type="object", properties={"spec": schema}))
    return [(c.field, c.reason.removeprefix("FieldValue"), c.message) for c in found]


def rule(type: str = "", **rules: Any) -> Schema:
    return Schema(type=type, rules=rules)


@pytest.mark.parametrize(
    ("schema", "value", "reason", "message"),
    [
        (INT, "1", "TypeInvalid", 'Invalid value: "string": spec in body must be of type integer: "string"'),
        (INT, 1.5, "TypeInvalid", 'Invalid value: "number": spec in body must be of type integer: "number"'),
        (INT, True, "TypeInvalid", 'Invalid value: "boolean": spec in body must be of type integer: "boolean"'),
        (TEXT, None, "TypeInvalid", 'Invalid value: "null": spec in body must be of type string: "null"'),
        (
            Schema(type="array"),
            {},
            "TypeInvalid",
            'Invalid value: "object": spec in body must be of type array: "object"',
        ),
        (Schema(enum=("a", "b")), "z", "NotSupported", 'Unsupported value: "z": supported values: "a", "b"'),
        (rule(maximum=5), 9, "Invalid", "Invalid value: 9: spec in body should be less than or equal to 5"),
        (rule(maximum=5, exclusiveMaximum=True), 5, "Invalid", "Invalid value: 5: spec in body should be less than 5"),
        (rule(minimum=1), 0, "Invalid", "Invalid value: 0: spec in body should be greater than or equal to 1"),
        (rule(multipleOf=2), 3, "Invalid", "Invalid value: 3: spec in body should be a multiple of 2"),
        (rule(maxLength=3), "yyyyy", "TooLong", "Too long: may not be more than 3 bytes"),
        (rule(minLength=2), "y", "Invalid", 'Invalid value: "y": spec in body should be at least 2 chars long'),
        (rule(pattern="^a$"), "ab", "Invalid", "Invalid value: \"ab\": spec in body should match '^a$'"),
        (rule(maxItems=1), [1, 2], "TooMany", "Too many: 2: must have at most 1 items"),
        (rule(minItems=1), [], "Invalid", "Invalid value: []: spec in body should have at least 1 items"),
        (rule(maxProperties=0), {"a": 1}, "TooMany", "Too many: 1: must have at most 0 items"),
        (
            Schema(type="string", format="date-time"),
            "nope",
            "TypeInvalid",
            'Invalid value: "nope": spec in body must be of type date-time: "nope"',
        ),
        (
            Schema(type="string", format="ipv4"),
            "::1",
            "TypeInvalid",
            'Invalid value: "::1": spec in body must be of type ipv4: "::1"',
        ),
        (
            rule(oneOf=[TEXT, INT]),
            True,
            "Invalid",
            'Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid',
        ),
        (rule(**{"not": TEXT}), "x", "Invalid", 'Invalid value: "": "spec" must not validate the schema (not)'),
    ],
)
def test_a_value_that_breaks_a_rule(schema: Schema, value: Any, reason: str, message: str) -> None:
    assert errors(value, schema)[0] == ("spec", reason, message)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (INT, 1.0),
        (Schema(type="number"), 1),
        (Schema(type="string", nullable=True), None),
        (Schema(type="int-or-string"), "a"),
        (Schema(type="int-or-string"), 1),
        (Schema(enum=(1, "a", None)), 1),
        (rule(maximum=5), "text"),
        (rule(pattern="b"), "abc"),
        (rule(pattern=r"^\pL+$"), "abc"),
        (rule(anyOf=[TEXT, INT]), 1),
        (rule(allOf=[rule(minimum=1), rule(maximum=3)]), 2),
        (Schema(type="string", format="uuid"), "123e4567-e89b-12d3-a456-426614174000"),
        (Schema(type="string", format="who-knows"), "x"),
        (Schema(), {"anything": [1]}),
    ],
)
def test_a_value_that_keeps_the_rules(schema: Schema, value: Any) -> None:
    assert errors(value, schema) == []


def test_all_errors_are_found_in_upstreams_order() -> None:
    schema = Schema(
        type="object",
        required=("n",),
        properties={
            "c": Schema(type="string", enum=("a", "b")),
            "l": Schema(
                type="array",
                list_type="map",
                list_map_keys=("k",),
                items=Schema(type="object", required=("k",), properties={"k": TEXT}),
                rules={"maxItems": 2},
            ),
            "n": Schema(type="integer", rules={"maximum": 5}),
            "p": Schema(type="string", rules={"maxLength": 3}),
        },
    )
    value = {"c": "z", "l": [{"k": "a"}, {"k": "a"}, {}], "n": 9, "p": "yyyyy"}
    assert errors(value, schema) == [
        ("spec.c", "NotSupported", 'Unsupported value: "z": supported values: "a", "b"'),
        ("spec.l[2].k", "Required", "Required value"),
        ("spec.l", "TooMany", "Too many: 3: must have at most 2 items"),
        ("spec.n", "Invalid", "Invalid value: 9: spec.n in body should be less than or equal to 5"),
        ("spec.p", "TooLong", "Too long: may not be more than 3 bytes"),
        ("spec.l[1]", "Duplicate", 'Duplicate value: {"k":"a"}'),
    ]
    assert errors({}, schema) == [("spec.n", "Required", "Required value")]


def test_sets_hold_no_value_twice() -> None:
    schema = Schema(type="array", list_type="set", items=Schema())
    assert errors([1, True, 1], schema) == [("spec[2]", "Duplicate", "Duplicate value: 1")]


def test_values_of_a_map_are_checked() -> None:
    schema = Schema(type="object", values=INT)
    assert [e[0] for e in errors({"a": 1, "b": "x"}, schema)] == ["spec.b"]


def test_a_recursive_schema_is_checked_at_any_depth() -> None:
    node = Schema(type="object", properties={"v": INT})
    node.properties["next"] = node
    assert [e[0] for e in errors({"next": {"next": {"v": "x"}}}, node)] == ["spec.next.next.v"]


def test_the_path_may_start_anywhere() -> None:
    (cause,) = validation.check("x", INT, "spec.replicas")
    assert cause.field == "spec.replicas"
