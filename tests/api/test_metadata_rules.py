"""The rules of metadata, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

from kcore.api import names, validation

Object = dict[str, Any]
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def errors(namespaced: bool = True, **metadata: Any) -> list[tuple[str, str]]:
    meta: Object = {"name": "x", **({"namespace": "ns1"} if namespaced else {}), **metadata}
    return [(c.field, c.message) for c in validation.metadata({"metadata": meta}, namespaced, names.dns_subdomain)]


@pytest.mark.parametrize(
    ("metadata", "field", "message"),
    [
        ({"name": "Bad"}, "metadata.name", f'Invalid value: "Bad": {SUBDOMAIN}'),
        ({"name": ""}, "metadata.name", "Required value: name or generateName is required"),
        ({"generateName": "Bad-", "name": "x"}, "metadata.generateName", f'Invalid value: "Bad-": {SUBDOMAIN}'),
        ({"namespace": ""}, "metadata.namespace", "Required value"),
        ({"labels": {"A_/b": "c"}}, "metadata.labels", f'Invalid value: "A_/b": prefix part {SUBDOMAIN}'),
        ({"labels": {"a b": "c"}}, "metadata.labels", f'Invalid value: "a b": {QUALIFIED}'),
        ({"labels": {"/b": "c"}}, "metadata.labels", 'Invalid value: "/b": prefix part must be non-empty'),
        (
            {"labels": {"a": "x" * 64}},
            "metadata.labels",
            f'Invalid value: "{"x" * 64}": must be no more than 63 bytes',
        ),
        ({"annotations": {"a": "x" * 300_000}}, "metadata.annotations", "Too long: may not be more than 262144 bytes"),
        (
            {"finalizers": ["nodomain"]},
            "metadata.finalizers[0]",
            'Invalid value: "nodomain": name is neither a standard finalizer name nor is it fully qualified',
        ),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "1"}]},
            "metadata.ownerReferences",
            'Invalid value: "/v1, Kind=Event": /v1, Kind=Event is disallowed from being an owner',
        ),
        (
            {"ownerReferences": [{"kind": "Pod", "name": "e", "uid": "1"}]},
            "metadata.ownerReferences.apiVersion",
            'Invalid value: "": version must not be empty',
        ),
        (
            {"managedFields": [{"manager": "a", "operation": "Nope", "fieldsType": "FieldsV1"}]},
            "metadata.managedFields[0].operation",
            'Invalid value: "Nope": must be `Apply` or `Update`',
        ),
    ],
)
def test_metadata_that_breaks_a_rule(metadata: Object, field: str, message: str) -> None:
    assert errors(**metadata) == [(field, message)]


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "x.y-z0"},
        {"generateName": "x-", "name": "x-abcde"},
        {"labels": {"a.b/c_D": "", "e": "F.g_h-1"}},
        {"annotations": {"Ex.Com/KEY": "any text ☃"}},
        {"finalizers": ["orphan", "ex.com/f", "kubernetes"]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1", "controller": True}]},
    ],
)
def test_metadata_that_keeps_the_rules(metadata: Object) -> None:
    assert errors(**metadata) == []


def test_a_cluster_scoped_object_has_no_namespace() -> None:
    assert errors(False, namespace="ns1") == [("metadata.namespace", "Forbidden: not allowed on this type")]
    assert errors(False) == []


def test_only_one_owner_is_the_controller() -> None:
    refs = [
        {"uid": str(i), "apiVersion": "v1", "kind": "Pod", "name": name, "controller": True}
        for i, name in ((1, "a"), (2, "b"))
    ]
    assert errors(ownerReferences=refs) == [
        (
            "metadata.ownerReferences",
            'Invalid value: [{"apiVersion":"v1","kind":"Pod","name":"a","uid":"1","controller":true},'
            '{"apiVersion":"v1","kind":"Pod","name":"b","uid":"2","controller":true}]: '
            "Only one reference can have Controller set to true. "
            'Found "true" in references for Pod/a and Pod/b',
        )
    ]


def test_every_missing_member_of_an_owner_is_named() -> None:
    assert errors(ownerReferences=[{"apiVersion": "v1", "kind": "Pod"}]) == [
        ("metadata.ownerReferences.name", 'Invalid value: "": must not be empty'),
        ("metadata.ownerReferences.uid", 'Invalid value: "": must not be empty'),
    ]


OLD: Object = {
    "name": "x",
    "namespace": "ns1",
    "uid": "1",
    "creationTimestamp": "2024-01-01T00:00:00Z",
    "resourceVersion": "5",
    "generation": 2,
}


def changes(old: Object | None = None, **changed: Any) -> list[tuple[str, str]]:
    was = {**OLD, **(old or {})}
    new = {k: v for k, v in {**was, **changed}.items() if v is not None}
    return [(c.field, c.message) for c in validation.metadata_update({"metadata": new}, {"metadata": was})]


def test_what_identifies_an_object_does_not_change() -> None:
    assert changes() == []
    assert changes(labels={"a": "b"}) == []
    assert changes(uid="2") == [("metadata.uid", 'Invalid value: "2": field is immutable')]
    assert changes(name="y") == [("metadata.name", 'Invalid value: "y": field is immutable')]
    assert changes(generation=1) == [("metadata.generation", "Invalid value: 1: must not be decremented")]
    assert changes(resourceVersion=None) == [
        ("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
    ]


def test_deletion_is_not_taken_back_and_gets_no_new_finalizers() -> None:
    deleting = {
        "deletionTimestamp": "2024-01-02T00:00:00Z",
        "deletionGracePeriodSeconds": 0,
        "finalizers": ["ex.com/a"],
    }
    assert changes(deleting, finalizers=[]) == []
    assert changes(deleting, deletionTimestamp=None) == [
        ("metadata.deletionTimestamp", "Invalid value: null: field is immutable")
    ]
    assert changes(deleting, finalizers=["ex.com/a", "ex.com/b"]) == [
        (
            "metadata.finalizers",
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            'found new finalizers []string{"ex.com/b"}',
        )
    ]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (names.qualified_name, ["a", "A.b_c-9", "ex.com/Name"], ["", "-a", "a/b/c", "ex.com/", "x" * 64]),
        (names.label_value, ["", "a", "A.b_c-9"], ["-", "a b", "x" * 64]),
        (names.dns_1035_label, ["a", "a-1"], ["1a", "A", "a.b", "x" * 64]),
        (names.config_map_key, ["a", "A_b.c-d", "...a"[2:]], ["a/b", ".", "..", "..a", "x" * 254]),
    ],
)
def test_rules_for_names(rule: Any, good: list[str], bad: list[str]) -> None:
    assert [name for name in good if rule(name)] == []
    assert [name for name in bad if not rule(name)] == []


async def test_labels_and_annotations_are_checked_on_update_and_patch_too(api):
    path = "/api/v1/namespaces/default/configmaps"
    await api.call("POST", path, {"metadata": {"name": "x"}}, expect=201)
    for meta, field in (
        ({"labels": {"a": "!!"}}, "metadata.labels"),
        ({"annotations": {"a b": "c"}}, "metadata.annotations"),
    ):
        for method, type in (("PUT", "application/json"), ("PATCH", "application/merge-patch+json")):
            body = {"metadata": {"name": "x", **meta}}
            status = await api.call(method, path + "/x", body, content_type=type, expect=422)
            assert {cause["field"] for cause in status["details"]["causes"]} == {field}
