"""RFC 6902, against the jsonpatch package, and where upstream's library differs from both."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcore.api.patch import json_patch
from kcore.errors import ApiError, BadRequest, Invalid, RequestEntityTooLarge


def patched(doc: Any, *operations: dict[str, Any]) -> Any:
    return json_patch.apply(copy.deepcopy(doc), list(operations))


DOC = {"a": {"b/c": 1, "d~e": 2}, "l": [1, 2, 3], "n": None}


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/x", "value": 1}, {**DOC, "x": 1}),
        ({"op": "add", "path": "/l/-", "value": 4}, {**DOC, "l": [1, 2, 3, 4]}),
        ({"op": "add", "path": "/l/3", "value": 4}, {**DOC, "l": [1, 2, 3, 4]}),
        ({"op": "add", "path": "/l/0", "value": 0}, {**DOC, "l": [0, 1, 2, 3]}),
        ({"op": "remove", "path": "/l/1"}, {**DOC, "l": [1, 3]}),
        ({"op": "replace", "path": "/a/b~1c", "value": 9}, {**DOC, "a": {"b/c": 9, "d~e": 2}}),
        ({"op": "replace", "path": "/a/d~0e", "value": 9}, {**DOC, "a": {"b/c": 1, "d~e": 9}}),
        ({"op": "move", "from": "/l", "path": "/a/l"}, {"a": {**DOC["a"], "l": [1, 2, 3]}, "n": None}),
        ({"op": "copy", "from": "/l/0", "path": "/l/-"}, {**DOC, "l": [1, 2, 3, 1]}),
        ({"op": "test", "path": "/l", "value": [1, 2, 3]}, DOC),
        ({"op": "test", "path": "/n", "value": None}, DOC),
        ({"op": "replace", "path": "", "value": {"z": 1}}, {"z": 1}),
        # upstream's liberties
        ({"op": "replace", "path": "/new", "value": 1}, {**DOC, "new": 1}),
        ({"op": "remove", "path": "/l/-1"}, {**DOC, "l": [1, 2]}),
        ({"op": "test", "path": "/missing", "value": None}, DOC),
    ],
)
def test_an_operation_changes_the_document(operation: dict[str, Any], result: Any) -> None:
    assert patched(DOC, operation) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/l/0", "value": True},
        {"op": "test", "path": "/l/0", "value": 2},
        {"op": "test", "path": "/missing", "value": 1},
        {"op": "remove", "path": "/missing"},
        {"op": "remove", "path": "/l/5"},
        {"op": "remove", "path": "/l/-4"},
        {"op": "remove", "path": "/l/x"},
        {"op": "remove", "path": "/l/1_0"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/l/5", "value": 1},
        {"op": "add", "path": "/l/4", "value": 1},
        {"op": "add", "path": "/missing/x", "value": 1},
        {"op": "add", "path": "/l/0/x", "value": 1},
        {"op": "copy", "from": "/missing", "path": "/x"},
        {"op": "copy", "path": "/x"},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "add", "path": "no-slash", "value": 1},
        {"op": "nope", "path": "/a"},
        {"op": ["add"], "path": "/a"},
        {"path": "/a"},
        {"op": "add", "value": 1},
    ],
)
def test_an_operation_that_cannot_be_carried_out_is_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as e:
        patched(DOC, operation)
    assert e.value.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server rejected our request due to an error in our request",
        "reason": "Invalid",
        "details": {},
        "code": 422,
    }


def test_what_is_no_list_of_operations_is_a_bad_request() -> None:
    for patch in ({"op": "add"}, "x", [1]):
        with pytest.raises(BadRequest, match=r"^error decoding patch: "):
            json_patch.apply({}, patch)


def test_null_is_a_list_of_no_operations() -> None:
    assert json_patch.apply({"a": 1}, None) == {"a": 1}


def test_the_number_of_operations_is_bounded() -> None:
    with pytest.raises(RequestEntityTooLarge):
        json_patch.apply({}, [{"op": "test", "path": "", "value": {}}] * 10_001)


def test_copies_cannot_explode() -> None:
    doc = {"a": "x" * 1000, "l": []}
    double = [{"op": "copy", "from": "/l", "path": "/l/-"}, {"op": "copy", "from": "/a", "path": "/l/-"}] * 40
    with pytest.raises(Invalid):
        json_patch.apply(doc, double)


def test_values_are_not_shared_with_the_patch() -> None:
    operations = [{"op": "add", "path": "/x", "value": {}}, {"op": "add", "path": "/x/y", "value": 1}]
    assert json_patch.apply({}, operations) == {"x": {"y": 1}}
    assert operations[0]["value"] == {}


KEYS = st.sampled_from(["a", "b", "c", "a/b", "m~n"])
LEAVES = st.integers(0, 3) | st.sampled_from(["x", "y"])
DOCS = st.dictionaries(
    KEYS,
    st.recursive(LEAVES, lambda i: st.dictionaries(KEYS, i, max_size=3) | st.lists(i, max_size=3), max_leaves=8),
    max_size=4,
)
POINTERS = st.lists(st.sampled_from(["a", "b", "c", "a~1b", "m~0n", "0", "1", "2", "-"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
OPERATIONS = st.lists(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace"]), "path": POINTERS, "value": LEAVES})
    | st.fixed_dictionaries({"op": st.just("remove"), "path": POINTERS})
    | st.fixed_dictionaries({"op": st.just("test"), "path": POINTERS, "value": LEAVES})
    | st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": POINTERS, "from": POINTERS}),
    max_size=4,
)


@given(DOCS, OPERATIONS)
def test_it_agrees_with_the_jsonpatch_package(doc: Any, operations: list[dict[str, Any]]) -> None:
    try:
        expected = jsonpatch.apply_patch(doc, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
        return  # upstream accepts a little more; what it accepts is listed above
    try:
        result = json_patch.apply(copy.deepcopy(doc), operations)
    except ApiError:
        # the package reads "-" of a list and moves a value into itself
        assert any("-" in op["path"] or op["op"] == "move" or "-" in op.get("from", "") for op in operations)
        return
    assert result == expected
