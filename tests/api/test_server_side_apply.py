"""Server-side apply: conflicts, sharing, pruning, and what upstream writes down."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcore.api.codec import json
from kcore.api.patch import apply as ssa
from kcore.api.patch import fieldset
from kcore.api.schema import Schema
from kcore.errors import ApiError, BadRequest, Conflict

from .writes import DEPLOYMENT, SERVICE, Object, Server, config_map


def test_an_applier_holds_what_it_names_and_shares_what_is_equal() -> None:
    server = Server()
    server.update("creator", config_map({"a": "1"}))
    obj = server.apply("m1", config_map({"a": "1", "b": "2"}))
    assert obj["data"] == {"a": "1", "b": "2"}
    assert server.fields() == {
        "m1 Apply": {"f:data": {"f:a": {}, "f:b": {}}},
        "creator Update": {"f:data": {".": {}, "f:a": {}}},
    }


def test_what_is_no_longer_applied_goes_away_unless_somebody_else_holds_it() -> None:
    server = Server()
    server.update("creator", config_map({"a": "1"}))
    server.apply("m1", config_map({"a": "1", "b": "2", "c": "3"}))
    assert server.apply("m1", config_map({"b": "2"}))["data"] == {"a": "1", "b": "2"}
    assert server.fields()["m1 Apply"] == {"f:data": {"f:b": {}}}


def test_changing_what_another_holds_is_a_conflict() -> None:
    server = Server()
    server.apply("m1", config_map({"a": "1", "b": "1"}))
    server.change("u", data={"a": "1", "b": "2"})
    with pytest.raises(Conflict) as e:
        server.apply("m2", config_map({"a": "z"}))
    assert e.value.message == 'Apply failed with 1 conflict: conflict with "m1": .data.a'
    with pytest.raises(Conflict) as e:
        server.apply("m2", config_map({"a": "z", "b": "z"}))
    assert e.value.message == (
        'Apply failed with 2 conflicts: conflicts with "m1":\n- .data.a\nconflicts with "u" using v1:\n- .data.b'
    )
    assert e.value.details == {
        "causes": [
            {"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": ".data.a"},
            {"reason": "FieldManagerConflict", "message": 'conflict with "u" using v1', "field": ".data.b"},
        ]
    }


def test_force_takes_the_fields() -> None:
    server = Server()
    server.apply("m1", config_map({"a": "1", "b": "1"}))
    server.apply("m2", config_map({"a": "2"}), force=True)
    assert server.fields() == {"m1 Apply": {"f:data": {"f:b": {}}}, "m2 Apply": {"f:data": {"f:a": {}}}}


def test_applying_nothing_new_changes_nothing_not_even_the_time() -> None:
    server = Server()
    first = copy.deepcopy(server.apply("m", config_map({"a": "1"})))
    assert server.apply("m", config_map({"a": "1"})) == first


def test_an_applier_and_an_updater_of_one_name_are_two_managers() -> None:
    server = Server()
    server.update("m", config_map({"a": "1"}))
    server.apply("m", config_map({"b": "1"}))
    server.change("m", data={"a": "1", "b": "2"})
    assert server.fields() == {"m Update": {"f:data": {".": {}, "f:a": {}, "f:b": {}}}}
    with pytest.raises(Conflict, match=r'conflict with "m" using v1: \.data\.b'):
        server.apply("m", config_map({"b": "3"}))


def deployment(containers: list[Object], **spec: Any) -> Object:
    template = {"spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {**spec, "template": template},
    }


def test_two_managers_share_a_list_of_containers() -> None:
    server = Server(DEPLOYMENT, "apps/v1")
    first = {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]}
    server.apply("m1", deployment([first]))
    path = server.fields()["m1 Apply"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"a"}']
    assert path["f:ports"] == {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}
    env = [{"name": "Y", "value": "2"}]
    server.apply("m2", deployment([{"name": "side", "image": "s:1"}, {"name": "a", "env": env}], replicas=3))
    assert server.obj is not None
    containers = server.obj["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers] == ["side", "a"]
    assert [e["name"] for e in containers[1]["env"]] == ["X", "Y"]
    # m1 lets go of its variable and port
    server.apply("m1", deployment([{"name": "a", "image": "a:2"}]))
    (_, a) = server.obj["spec"]["template"]["spec"]["containers"]
    assert a == {"name": "a", "image": "a:2", "env": env, "resources": {}}
    # m2 of a whole container
    server.apply("m2", deployment([{"name": "a", "env": env}]))
    assert [c["name"] for c in server.obj["spec"]["template"]["spec"]["containers"]] == ["a"]
    assert "replicas" not in server.obj["spec"]


def test_sets_merge_by_value() -> None:
    server = Server()
    server.apply("m1", config_map(finalizers=["ex.com/a"]))
    assert server.apply("m2", config_map(finalizers=["ex.com/b"]))["metadata"]["finalizers"] == [
        "ex.com/a",
        "ex.com/b",
    ]
    assert server.fields()["m1 Apply"] == {"f:metadata": {"f:finalizers": {'v:"ex.com/a"': {}}}}
    assert server.apply("m1", config_map(finalizers=[]))["metadata"]["finalizers"] == ["ex.com/b"]
    obj = server.apply("m2", config_map())
    assert obj["metadata"] == {"name": "x", "uid": "1"}


def test_atomic_maps_are_held_whole() -> None:
    server = Server(SERVICE)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    server.apply("m1", {**service, "spec": {"selector": {"a": "b"}}})
    with pytest.raises(Conflict, match=r"conflict with \"m1\": .spec.selector$"):
        server.apply("m2", {**service, "spec": {"selector": {"c": "d"}}})
    obj = server.apply("m2", {**service, "spec": {"selector": {"c": "d"}}}, force=True)
    assert obj["spec"]["selector"] == {"c": "d"}
    assert server.fields() == {"m2 Apply": {"f:spec": {"f:selector": {}}}}


def test_status_can_be_applied_by_itself() -> None:
    server = Server(DEPLOYMENT, "apps/v1")
    server.apply("m", deployment([{"name": "a"}]))
    status = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "status": {"replicas": 1}}
    server.apply("st", status, subresource="status")
    assert server.fields()["st Apply"] == {"f:status": {"f:replicas": {}}}


def test_nulls_and_empty_maps_are_fields_too() -> None:
    server = Server()
    server.apply("m", config_map({}))
    assert server.fields() == {"m Apply": {"f:data": {}}}
    server.apply("m", config_map({"a": None}, labels=None))
    assert server.fields() == {"m Apply": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {}}}}


# --- custom resources ----------------------------------------------------------------------------

TEXT = Schema(type="string")
CUSTOM = Schema(
    type="object",
    properties={
        "spec": Schema(
            type="object",
            properties={
                "m": Schema(type="object", values=TEXT),
                "am": Schema(type="object", values=TEXT, map_type="atomic"),
                "l": Schema(
                    type="array",
                    list_type="map",
                    list_map_keys=("k",),
                    items=Schema(type="object", properties={"k": TEXT, "v": Schema(type="integer")}),
                ),
                "st": Schema(type="array", list_type="set", items=TEXT),
                "at": Schema(type="array", items=TEXT),
            },
        )
    },
)


def custom(**spec: Any) -> Object:
    return {"apiVersion": "ex.com/v1", "kind": "Kk", "metadata": {"name": "w"}, "spec": spec}


def test_custom_resources_merge_as_their_schema_says() -> None:
    server = Server(CUSTOM, "ex.com/v1")
    server.apply("m1", custom(am={"a": "1"}, at=["1"], l=[{"k": "a", "v": 1}], m={"a": "1"}, st=["x"]))
    server.apply("m2", custom(l=[{"k": "b", "v": 2}], m={"b": "1"}, st=["y"]))
    with pytest.raises(Conflict) as e:
        server.apply("m2", custom(am={"b": "1"}, at=["2"], l=[{"k": "a", "v": 3}]))
    assert e.value.message == (
        'Apply failed with 3 conflicts: conflicts with "m1":\n- .spec.am\n- .spec.at\n- .spec.l[k="a"].v'
    )
    obj = server.apply("m1", custom(l=[{"k": "a", "v": 1}]))
    assert obj["spec"] == {"l": [{"k": "a", "v": 1}, {"k": "b", "v": 2}], "m": {"b": "1"}, "st": ["y"]}
    assert server.fields()["m1 Apply"] == {"f:spec": {"f:l": {'k:{"k":"a"}': {".": {}, "f:k": {}, "f:v": {}}}}}


def test_the_creator_of_a_custom_resource_holds_its_spec() -> None:
    server = Server(CUSTOM, "ex.com/v1")
    server.update("m", custom(m={"a": "1"}))
    assert server.fields() == {"m Update": {"f:spec": {".": {}, "f:m": {".": {}, "f:a": {}}}}}


# --- client-side apply ---------------------------------------------------------------------------


def test_kubectl_takes_over_from_client_side_apply() -> None:
    record = json.encode(config_map({"a": "1"})).decode()
    server = Server()
    live = config_map({"a": "1"}, annotations={ssa.LAST_APPLIED: record})
    server.update("kubectl-client-side-apply", live)
    obj = server.apply("kubectl", config_map({"a": "2"}))
    assert obj["data"] == {"a": "2"}
    assert '"a":"2"' in obj["metadata"]["annotations"][ssa.LAST_APPLIED]
    assert "last-applied" not in obj["metadata"]["annotations"][ssa.LAST_APPLIED]


def test_kubectl_does_not_take_over_what_somebody_changed_since() -> None:
    record = json.encode(config_map({"a": "1"})).decode()
    server = Server()
    server.update("kubectl-client-side-apply", config_map({"a": "1"}, annotations={ssa.LAST_APPLIED: record}))
    server.change("other", data={"a": "9"})
    with pytest.raises(Conflict, match=r'conflict with "other" using v1: \.data\.a'):
        server.apply("kubectl", config_map({"a": "2"}))


# --- what cannot be applied ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"metadata": {"name": "x"}}, "invalid object type: /, Kind="),
        ({**config_map(), "apiVersion": "apps/v1"}, "invalid object type: apps/v1, Kind=ConfigMap"),
        (config_map(managedFields=[{"manager": "a"}]), "metadata.managedFields must be nil"),
    ],
)
def test_an_object_of_another_type_or_with_managers_is_refused(obj: Object, message: str) -> None:
    with pytest.raises(BadRequest) as e:
        Server().apply("m", obj)
    assert e.value.message == message


@pytest.mark.parametrize(
    ("obj", "problem"),
    [
        (deployment([], foo=1), ".spec.foo: field not declared in schema"),
        (
            deployment([{"name": "a"}, {"name": "a"}]),
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
        (deployment([], selector="x"), ".spec.selector: expected map, got string"),
        (
            deployment([{"image": "x"}]),
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits all key "
            'fields ["name"] (and doesn\'t have default values for any key fields)',
        ),
    ],
)
def test_what_cannot_be_merged_is_refused(obj: Object, problem: str) -> None:
    with pytest.raises(ApiError) as e:
        Server(DEPLOYMENT, "apps/v1").apply("m", obj)
    where = "failed to create typed patch object (/x; apps/v1, Kind=Deployment): "
    assert (e.value.code, e.value.message) == (500, where + problem)


# --- any history ---------------------------------------------------------------------------------

WORDS = st.sampled_from("xyz")
# empty lists hold nothing, so they come and go: none here
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "m": st.dictionaries(WORDS, WORDS, max_size=2),
        "am": st.dictionaries(WORDS, WORDS, max_size=2),
        "l": st.lists(
            st.fixed_dictionaries({"k": WORDS}, optional={"v": st.integers(0, 2)}),
            min_size=1,
            max_size=3,
            unique_by=lambda i: i["k"],
        ),
        "st": st.lists(WORDS, min_size=1, max_size=3, unique=True),
        "at": st.lists(WORDS, max_size=2),
    },
)
WRITES = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), SPECS, st.booleans()), min_size=1, max_size=6)


def contains(value: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(value, dict) and all(k in value and contains(value[k], v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(value, list) and all(any(contains(v, p) for v in value) for p in part)
    return bool(value == part)


@given(WRITES)
def test_after_any_history_of_writes(writes: list[tuple[str, Object, bool]]) -> None:
    """What was applied is there, all that is held exists, and applying again changes nothing."""
    server = Server(CUSTOM, "ex.com/v1")
    for manager, spec, applies in writes:
        wanted = custom(**spec)
        if not applies:
            server.update(manager, {**wanted, "metadata": {"name": "w", **((server.obj or {}).get("metadata") or {})}})
        else:
            server.apply(manager, wanted, force=True)
            assert server.obj is not None
            filled = {k: v for k, v in spec.items() if v not in ({}, [])}
            assert contains(server.obj.get("spec") or {}, filled)
            before = copy.deepcopy(server.obj)
            if server.fields():  # an object that nobody holds anything of is claimed first
                assert server.apply(manager, wanted) == before
    assert server.obj is not None
    there, _ = fieldset.compare({}, server.obj, CUSTOM)
    for fields in server.fields().values():
        spec_fields = {k: v for k, v in fields.items() if k == "f:spec"}
        leaves = {p for p in fieldset.paths(spec_fields) if p[-1][:2] in ("k:", "v:") or len(p) == 3}
        assert leaves <= set(fieldset.paths(there))
