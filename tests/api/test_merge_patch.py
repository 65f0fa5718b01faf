"""RFC 7386: the examples of its appendix, and what must hold for any patch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kcore_kinds import bundle

from kcore.api import patch as patches
from kcore.api import typed
from kcore.api.patch import merge


@pytest.mark.parametrize(
    ("doc", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_rfc(doc: Any, patch: Any, result: Any) -> None:
    assert merge.apply(copy.deepcopy(doc), copy.deepcopy(patch)) == result


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, JSON)
def test_a_patch_applied_twice_changes_nothing_more(doc: Any, patch: Any) -> None:
    once = merge.apply(copy.deepcopy(doc), copy.deepcopy(patch))
    twice = merge.apply(copy.deepcopy(once), copy.deepcopy(patch))
    assert once == twice


def test_a_result_that_does_not_fit_is_shown_as_upstream_shows_it() -> None:
    schema = bundle.schema("io.k8s.api.core.v1.ConfigMap")
    managers = [{"time": "2024-01-01T00:00:00Z", "operation": "Update", "manager": "m"}]
    live = {
        "metadata": {"managedFields": managers, "uid": "1", "namespace": "ns1", "name": "x"},
        "kind": "ConfigMap",
        "data": {"a": "b"},
        "apiVersion": "v1",
    }
    for patch, patched in (
        ({"data": [1]}, merge.apply(copy.deepcopy(live), {"data": [1]})),
        ([{"op": "replace", "path": "/data", "value": [1]}], {**live, "data": [1]}),
    ):
        error = patches.invalid_result(patches.shown(patched, patch, schema), typed.problem(patched, schema))
        assert error.code == 422
        assert error.message == (
            r' "" is invalid: patch: Invalid value: "{\"apiVersion\":\"v1\",\"data\":[1],\"kind\":\"ConfigMap\",'
            r"\"metadata\":{\"name\":\"x\",\"namespace\":\"ns1\",\"uid\":\"1\","
            r"\"managedFields\":[{\"manager\":\"m\",\"operation\":\"Update\",\"time\":\"2024-01-01T00:00:00Z\"}]}}"
            '": json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string'
        )
