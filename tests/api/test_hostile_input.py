"""Whatever a client sends, the answer is an object or an ApiError, never another exception."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kcore_kinds import bundle

from kcore.api import metadata, typed, validation
from kcore.api.patch import apply, json_patch, merge, strategic
from kcore.api.schema import Schema
from kcore.errors import ApiError

POD = bundle.schema("io.k8s.api.core.v1.Pod")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**40)
    | st.sampled_from([1.5, "", "x", "1Gi", "2024-01-01T00:00:00Z", "YQ==", "merge", "delete", "replace"])
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "a", "$patch", "key"]), inner, max_size=3)
    ),
    max_leaves=6,
)
DIRECTIVES = [
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/args",
    "$setElementOrder/env",
]


@st.composite
def shaped(draw: st.DrawFn, schema: Schema, depth: int = 0, directives: bool = False) -> Any:
    """Something that mostly looks as the schema says."""
    if draw(st.integers(0, 7)) == 0 or depth > 5:
        return draw(ANYTHING)
    if schema.properties:
        names = draw(st.lists(st.sampled_from(sorted(schema.properties)), max_size=3, unique=True))
        out = {n: draw(shaped(schema.properties[n], depth + 1, directives)) for n in names}
        if directives and draw(st.integers(0, 3)) == 0:
            out[draw(st.sampled_from(DIRECTIVES))] = draw(ANYTHING)
        return out
    if schema.values is not None:
        return draw(st.dictionaries(st.sampled_from("abc"), shaped(schema.values, depth + 1, directives), max_size=2))
    if schema.items is not None:
        return draw(st.lists(shaped(schema.items, depth + 1, directives), max_size=2))
    if schema.type == "integer":
        return draw(st.integers(-1, 100))
    return draw(st.booleans() if schema.type == "boolean" else st.sampled_from(["x", "y", "2024-01-01T00:00:00Z"]))


def known(error: ApiError, *codes: int) -> None:
    assert error.code in codes


some = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
PODS = shaped(POD).filter(lambda v: isinstance(v, dict))


@some
@given(PODS)
def test_an_object_is_read_or_there_is_a_reason_why_not(obj: dict[str, Any]) -> None:
    why = typed.problem(copy.deepcopy(obj), POD)
    try:
        typed.read(obj, POD)
    except typed.Unfit:
        assert why
    else:
        assert not why
        again = copy.deepcopy(obj)
        assert typed.read(again, POD) == []
        assert again == obj
        metadata.metadata(obj, True)


@some
@given(PODS, shaped(POD, directives=True))
def test_a_strategic_patch_is_merged_or_refused(obj: dict[str, Any], patch: Any) -> None:
    try:
        strategic.apply(obj, patch, POD)
    except ApiError as e:
        known(e, *(400, 422, 500))


@some
@given(PODS, ANYTHING)
def test_a_merge_or_json_patch_is_applied_or_refused(obj: dict[str, Any], patch: Any) -> None:
    merge.apply(copy.deepcopy(obj), patch)
    try:
        json_patch.apply(obj, patch)
    except ApiError as e:
        known(e, *(400, 413, 422))


@some
@given(PODS, PODS)
def test_an_object_is_applied_or_refused(live: dict[str, Any], applied: dict[str, Any]) -> None:
    live["metadata"] = live["metadata"] if isinstance(live.get("metadata"), dict) else {}
    try:
        validation.prepare(live, POD, "Pod")
    except ApiError:
        return
    applied = {**applied, "apiVersion": "v1", "kind": "Pod"}
    try:
        new = apply.apply(live, applied, POD, manager="m", api_version="v1", time="2024-01-01T00:00:00Z", force=False)
        validation.prepare(new, POD, "Pod")
    except ApiError as e:
        known(e, *(400, 409, 500))


@some
@given(PODS, PODS)
def test_managed_fields_of_any_change(old: dict[str, Any], new: dict[str, Any]) -> None:
    for obj in (old, new):
        obj["metadata"] = obj["metadata"] if isinstance(obj.get("metadata"), dict) else {}
        try:
            validation.prepare(obj, POD, "Pod")
        except ApiError:
            return
    at = {"manager": "m", "api_version": "v1", "time": "2024-01-01T00:00:00Z"}
    apply.update_managed_fields(None, old, POD, **at)
    apply.update_managed_fields(old, new, POD, **at)


@pytest.mark.parametrize("value", [{"spec": {}}, {"spec": {"containers": [[[[]]]]}}, {"metadata": []}, {"spec": 1}])
def test_wrong_types_are_refused_with_a_sentence(value: dict[str, Any]) -> None:
    why = typed.problem(value, POD)
    assert why == "" or why.startswith("json: cannot unmarshal")
