"""Strategic merge patch on the schemas of built-in kinds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from kcore_kinds import bundle

from kcore.api.patch import strategic
from kcore.errors import ApiError

POD = bundle.schema("io.k8s.api.core.v1.Pod")
DEPLOYMENT = bundle.schema("io.k8s.api.apps.v1.Deployment")


def spec(live: dict[str, Any], patch: dict[str, Any]) -> Any:
    """.spec of a pod after a patch of it."""
    doc = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": copy.deepcopy(live)}
    return strategic.apply(doc, {"spec": patch}, POD)["spec"]


def named(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": n, **more} for n in names]


@pytest.mark.parametrize(
    ("live", "patch", "result"),
    [
        # items merge by name, new ones come first
        (named("a", "b"), [{"name": "b", "image": "x"}], [{"name": "a"}, {"name": "b", "image": "x"}]),
        (named("a", "b"), named("c"), named("c", "a", "b")),
        (named("a", "b"), named("c", "b"), named("c", "a", "b")),
        (named("a", "b"), named("b", "a"), named("b", "a")),
        # directives of items
        (named("a", "b"), [{"name": "a", "$patch": "delete"}], named("b")),
        (named("a", "b"), [{"$patch": "replace"}, {"name": "c"}], named("c")),
        (named("a", "b"), [{"name": "a", "$patch": "replace", "image": "x"}], []),
        (named("a"), [{"name": "a", "$patch": "delete"}], []),
        # lists inside items
        (named("a", args=["1"]), named("a", args=["2"]), named("a", args=["2"])),
        (
            named("a", env=[{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]),
            named("a", env=[{"name": "X", "$patch": "delete"}, {"name": "Z", "value": "3"}]),
            named("a", env=[{"name": "Z", "value": "3"}, {"name": "Y", "value": "2"}]),
        ),
        (
            named("a", ports=[{"containerPort": 80}]),
            named("a", ports=[{"containerPort": 81, "name": "p"}]),
            named("a", ports=[{"containerPort": 81, "name": "p"}, {"containerPort": 80}]),
        ),
    ],
)
def test_containers_merge_by_name(live: list[Any], patch: list[Any], result: list[Any]) -> None:
    assert spec({"containers": live}, {"containers": patch}) == {"containers": result}


def test_an_order_list_orders_and_keeps_what_it_does_not_name() -> None:
    live = {"containers": named("a", "b", "c")}
    patch = {"$setElementOrder/containers": named("c", "a"), "containers": [{"name": "c", "image": "x"}]}
    assert spec(live, patch)["containers"] == [{"name": "b"}, {"name": "c", "image": "x"}, {"name": "a"}]
    assert spec(live, {"$setElementOrder/containers": named("c", "b", "a")})["containers"] == named("c", "b", "a")


def test_maps_are_replaced_or_emptied_by_directives() -> None:
    live = {"nodeSelector": {"a": "1", "b": "2"}}
    assert spec(live, {"nodeSelector": {"c": "3"}}) == {"nodeSelector": {"a": "1", "b": "2", "c": "3"}}
    assert spec(live, {"nodeSelector": {"$patch": "replace", "c": "3"}}) == {"nodeSelector": {"c": "3"}}
    assert spec(live, {"nodeSelector": {"$patch": "delete"}}) == {"nodeSelector": {}}
    assert spec(live, {"nodeSelector": {"a": None}}) == {"nodeSelector": {"b": "2"}}
    assert spec(live, {"nodeSelector": None}) == {}


def test_directives_and_nulls_are_dropped_where_there_is_nothing_to_merge_with() -> None:
    patch = {
        "nodeSelector": {"a": None, "b": "2"},
        "containers": [{"name": "x", "env": [{"$patch": "delete", "name": "y"}], "image": None}],
        "$setElementOrder/volumes": named("v"),
    }
    assert spec({}, patch) == {"nodeSelector": {"b": "2"}, "containers": [{"name": "x", "env": []}]}


def test_lists_without_a_merge_strategy_are_replaced() -> None:
    live = {"tolerations": [{"key": "t"}]}
    assert spec(live, {"tolerations": [{"key": "u"}]}) == {"tolerations": [{"key": "u"}]}


def metadata(live: dict[str, Any], patch: dict[str, Any]) -> Any:
    return strategic.apply({"metadata": copy.deepcopy(live)}, {"metadata": patch}, POD)["metadata"]


def test_lists_of_primitives_are_sets() -> None:
    live = {"finalizers": ["a", "b"]}
    assert metadata(live, {"finalizers": ["c", "a"]}) == {"finalizers": ["c", "a", "b"]}
    assert metadata(live, {"$deleteFromPrimitiveList/finalizers": ["a"]}) == {"finalizers": ["b"]}
    patch = {"$setElementOrder/finalizers": ["d", "b", "a"], "finalizers": ["d"]}
    assert metadata(live, patch) == {"finalizers": ["d", "b", "a"]}


def test_volumes_keep_only_the_keys_they_are_told_to() -> None:
    live = {"volumes": [{"name": "v", "emptyDir": {}}]}
    patch = {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "k"}}]}
    assert spec(live, patch) == {"volumes": [{"name": "v", "configMap": {"name": "k"}}]}


@pytest.mark.parametrize(
    ("patch", "code", "message"),
    [
        ({"$patch": "nope"}, 500, "unknown patch type: nope in map: map[$patch:nope]"),
        ({"$patch": "merge"}, 500, "unknown patch type: merge in map: map[$patch:merge]"),
        (
            {"containers": [{"$patch": "nope", "name": "c"}]},
            500,
            "unknown patch type: nope in map: map[$patch:nope name:c]",
        ),
        (
            {"containers": [{"$patch": "delete"}]},
            500,
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        ({"containers": [{"image": "x"}]}, 500, "map: map[image:x] does not contain declared merge key: name"),
        (
            {"$setElementOrder/containers": [{"name": "zz"}], "containers": [{"image": "y", "name": "c"}]},
            500,
            "The order in patch list:\n[map[image:y name:c]]\n doesn't match $setElementOrder list:\n[map[name:zz]]\n",
        ),
        ({"$setElementOrder/containers": "x"}, 400, "invalid patch format of setElementOrder list"),
        ({"$deleteFromPrimitiveList/x": "x"}, 400, "invalid patch format of primitive list"),
        ({"securityContext": {"$retainKeys": ["a"], "runAsUser": 1}}, 400, "invalid patch format of retainKeys"),
        ({"securityContext": {"$retainKeys": "a"}}, 400, "invalid patch format of retainKeys"),
        ({"containers": [[1]]}, 400, "lists of lists are not supported"),
        (
            {"containers": "x"},
            422,
            ' "" is invalid: patch: Invalid value: "map[spec:map[containers:x]]": cannot restore slice from string',
        ),
        (
            {"nodeSelector": ["x"]},
            422,
            ' "" is invalid: patch: Invalid value: "map[spec:map[nodeSelector:[x]]]": cannot restore map from slice',
        ),
    ],
)
def test_a_patch_that_cannot_be_merged_is_refused_as_upstream_refuses_it(
    patch: dict[str, Any], code: int, message: str
) -> None:
    with pytest.raises(ApiError) as e:
        spec({"containers": named("c"), "securityContext": {"runAsUser": 2}}, patch)
    assert (e.value.code, e.value.message) == (code, message)


def test_a_patch_must_be_an_object() -> None:
    with pytest.raises(ApiError, match="cannot unmarshal array"):
        strategic.apply({}, [], POD)


def test_status_conditions_merge_by_type() -> None:
    live = {"status": {"conditions": [{"type": "A", "status": "True"}]}}
    patch = {"status": {"conditions": [{"type": "B", "status": "False"}, {"type": "A", "reason": "r"}]}}
    assert strategic.apply(live, patch, DEPLOYMENT)["status"]["conditions"] == [
        {"type": "B", "status": "False"},
        {"type": "A", "status": "True", "reason": "r"},
    ]
