"""Managed fields: who has set what, after all writes but apply."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from .writes import POD, Server, config_map


def test_a_creator_holds_what_it_set_and_what_was_defaulted() -> None:
    server = Server()
    server.update("creator", config_map({"a": "1"}, labels={"l": "1"}))
    assert server.obj is not None
    assert server.obj["metadata"]["managedFields"] == [
        {
            "manager": "creator",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2024-01-01T00:00:01Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}},
        }
    ]


def test_members_that_are_always_there_are_held_by_nobody() -> None:
    server = Server(POD)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    server.update("m", {**pod, "status": {"phase": "Running"}})
    assert server.fields() == {
        "m Update": {"f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}, "f:resources": {}}}}}
    }


def test_time_moves_only_when_fields_do() -> None:
    server = Server()
    server.update("m", config_map({"a": "1"}))
    first = copy.deepcopy(server.obj)
    assert server.change("m") == first
    assert server.change("m", data={"a": "2"})["metadata"]["managedFields"][0]["time"] == "2024-01-01T00:00:03Z"


def test_a_change_takes_the_field_from_others_and_a_removal_from_all() -> None:
    server = Server()
    server.update("one", config_map({"a": "1", "b": "1"}))
    server.change("two", data={"a": "2", "b": "1"})
    assert server.fields() == {
        "one Update": {"f:data": {".": {}, "f:b": {}}},
        "two Update": {"f:data": {"f:a": {}}},
    }
    server.change("three", data={"b": "1"})
    assert server.fields() == {"one Update": {"f:data": {".": {}, "f:b": {}}}}


def test_an_object_without_managers_stays_so_until_it_is_applied() -> None:
    server = Server()
    server.update("creator", config_map())
    server.change("m", data={"a": "1"})
    assert server.fields() == {}
    server.apply("m2", config_map({"b": "1"}))
    assert server.fields() == {
        "m2 Apply": {"f:data": {"f:b": {}}},
        "before-first-apply Update": {"f:data": {".": {}, "f:a": {}}},
    }


@pytest.mark.parametrize("wiped", [[], [{}]])
def test_an_empty_list_or_entry_wipes_all_managers(wiped: list[Any]) -> None:
    server = Server()
    server.update("m", config_map({"a": "1"}))
    assert server.obj is not None
    server.change("m", metadata={**server.obj["metadata"], "managedFields": wiped})
    assert server.fields() == {}


def test_a_client_that_does_not_know_managed_fields_loses_none() -> None:
    server = Server()
    server.update("m", config_map({"a": "1"}))
    server.update("n", {**config_map({"a": "1", "b": "1"}), "metadata": {"name": "x", "uid": "1"}})
    assert server.fields() == {
        "m Update": {"f:data": {".": {}, "f:a": {}}},
        "n Update": {"f:data": {"f:b": {}}},
    }


@pytest.mark.parametrize(
    "fields", [None, {"x:data": {}}, {"f:data": 1}, {"f:data": {"k:x": {}}}, {"f:data": {"i:a": {}}}]
)
def test_nonsense_for_managed_fields_is_ignored(fields: Any) -> None:
    entry = {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields}
    server = Server()
    server.update("m", config_map({"a": "1"}))
    assert server.obj is not None
    given = [entry if fields else {"manager": "x"}]
    server.change("m", metadata={**server.obj["metadata"], "managedFields": given})
    assert server.fields() == {"m Update": {"f:data": {".": {}, "f:a": {}}}}


def test_status_is_tracked_only_where_it_is_written() -> None:
    server = Server(POD)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n"}}
    server.update("m", pod)
    server.change("m", status={"phase": "Pending"})
    assert "f:status" not in server.fields()["m Update"]
    assert server.obj is not None
    changed = {**server.obj, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    server.update("kubelet", changed, "status")
    assert server.fields()["kubelet Update"] == {
        "f:status": {
            "f:conditions": {
                ".": {},
                'k:{"type":"Ready"}': {
                    ".": {},
                    "f:lastProbeTime": {},
                    "f:lastTransitionTime": {},
                    "f:status": {},
                    "f:type": {},
                },
            },
            "f:phase": {},
        }
    }
    assert server.obj["metadata"]["managedFields"][1]["subresource"] == "status"


def test_many_updaters_are_merged_into_one() -> None:
    server = Server()
    server.update("m0", config_map({"k0": "v"}))
    data = {"k0": "v"}
    for i in range(1, 14):
        data = {**data, f"k{i}": "v"}
        server.change(f"m{i}", data=data)
    assert len(server.fields()) == 10
    assert server.fields()["ancient-changes Update"] == {
        "f:data": {".": {}, "f:k0": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}, "f:k4": {}}
    }
