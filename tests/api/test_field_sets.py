"""Sets of fields behave as sets of paths do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcore.api.patch import fieldset
from kcore.api.schema import Schema

Path = tuple[str, ...]
PATHS = st.sets(
    st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":"x"}']), min_size=1, max_size=3).map(tuple), max_size=8
)


def build(paths: set[Path]) -> dict[str, Any]:
    """The set of those paths, in the form of managedFields."""
    root: dict[str, Any] = {}
    for path in paths:
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _tidy(root)


def _tidy(node: dict[str, Any]) -> dict[str, Any]:
    return {k: {} if v.keys() <= {"."} else _tidy(v) for k, v in node.items()}


def members(fields: dict[str, Any]) -> set[Path]:
    found = fieldset.paths(fields)
    assert len(found) == len(set(found))
    return set(found)


@given(PATHS, PATHS)
def test_union_difference_and_intersection(a: set[Path], b: set[Path]) -> None:
    left, right = build(a), build(b)
    before = copy.deepcopy((left, right))
    assert members(fieldset.union(left, right)) == a | b
    assert members(fieldset.difference(left, right)) == a - b
    assert members(fieldset.intersection(left, right)) == a & b
    assert fieldset.union(left, right) == build(a | b)
    assert fieldset.difference(left, right) == build(a - b)
    assert fieldset.intersection(left, right) == build(a & b)
    assert (left, right) == before


@given(PATHS, st.lists(st.sampled_from(["f:a", "f:b"]), min_size=1, max_size=2).map(tuple))
def test_taking_out_a_path(a: set[Path], path: Path) -> None:
    assert fieldset.without(build(a), path) == build(a - {path})
    assert fieldset.without(build(a), path, deep=True) == build({p for p in a if p[: len(path)] != path})


TEXT = Schema(type="string")
ITEM = Schema(type="object", properties={"n": TEXT, "v": TEXT})
SCHEMA = Schema(
    type="object",
    properties={
        "m": Schema(type="object", values=TEXT),
        "l": Schema(type="array", list_type="map", list_map_keys=("n",), items=ITEM),
        "s": Schema(type="array", list_type="set", items=TEXT),
        "a": Schema(type="array", items=TEXT),
        "t": TEXT,
    },
)
WORDS = st.sampled_from("xyz")
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "m": st.dictionaries(WORDS, WORDS, max_size=2),
        "l": st.lists(
            st.fixed_dictionaries({"n": WORDS}, optional={"v": WORDS}), max_size=3, unique_by=lambda i: i["n"]
        ),
        "s": st.lists(WORDS, max_size=3, unique=True),
        "a": st.lists(WORDS, max_size=2),
        "t": WORDS,
    },
)


@given(OBJECTS)
def test_an_object_does_not_differ_from_itself(obj: dict[str, Any]) -> None:
    assert fieldset.compare(obj, copy.deepcopy(obj), SCHEMA) == ({}, {})


@given(OBJECTS, OBJECTS)
def test_what_one_comparison_adds_the_opposite_one_removes(old: dict[str, Any], new: dict[str, Any]) -> None:
    changed, removed = fieldset.compare(old, new, SCHEMA)
    opposite, gone = fieldset.compare(new, old, SCHEMA)
    assert members(removed) == members(opposite) - members(changed) or members(removed) <= members(opposite)
    assert members(gone) <= members(changed)
    assert not members(changed) & members(removed)


@given(OBJECTS)
def test_creating_an_object_adds_all_its_leaves(obj: dict[str, Any]) -> None:
    changed, removed = fieldset.compare({}, obj, SCHEMA)
    assert not removed
    assert members(fieldset.of_object(obj, SCHEMA)) <= members(changed)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:c", 'k:{"name":"a"}', "f:image"), '.c[name="a"].image'),
        (("f:p", 'k:{"containerPort":80,"protocol":"TCP"}'), '.p[containerPort=80,protocol="TCP"]'),
        (("f:s", 'v:"x"'), '.s[="x"]'),
        (("f:s", "i:3"), ".s[3]"),
    ],
)
def test_paths_are_shown_as_upstream_shows_them(path: Path, text: str) -> None:
    assert fieldset.path_text(path) == text
