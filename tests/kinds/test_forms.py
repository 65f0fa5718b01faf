"""Objects come back in the form that Go gives them."""

from __future__ import annotations

import pytest
from kcore_kinds import bundle

from kcore.api import validation
from kcore.objects import quantity


def normalised(definition: str, obj: dict) -> dict:
    validation.normalize(obj, bundle.schema(f"io.k8s.api.{definition}"))
    return obj


def test_null_and_what_is_empty_is_lost_unless_it_is_a_pointer_or_always_written():
    spec = normalised(
        "core.v1.PodSpec",
        {
            "containers": [],
            "hostNetwork": False,
            "automountServiceAccountToken": False,
            "nodeSelector": {},
            "volumes": None,
            "activeDeadlineSeconds": 0,
        },
    )
    assert spec == {"containers": None, "automountServiceAccountToken": False, "activeDeadlineSeconds": 0}


def test_structs_are_always_written_and_missing_lists_are_null():
    assert normalised("apps.v1.Deployment", {"metadata": {"name": "x", "labels": {}}}) == {
        "metadata": {"name": "x"},
        "spec": {
            "selector": None,
            "strategy": {},
            "template": {"metadata": {}, "spec": {"containers": None}},
        },
        "status": {},
    }


def test_numbers_that_are_no_pointers_are_written_as_zero():
    status = normalised("apps.v1.DaemonSet", {"metadata": {"name": "x"}})["status"]
    assert status == {
        "currentNumberScheduled": 0,
        "desiredNumberScheduled": 0,
        "numberMisscheduled": 0,
        "numberReady": 0,
    }


def test_times_are_utc_in_whole_seconds_or_microseconds():
    lease = normalised(
        "coordination.v1.Lease",
        {
            "metadata": {"name": "x", "creationTimestamp": "2024-01-01T02:00:00+02:00"},
            "spec": {"renewTime": "2024-01-01T02:00:00.000000+02:00"},
        },
    )
    assert lease["metadata"]["creationTimestamp"] == "2024-01-01T00:00:00Z"
    assert lease["spec"]["renewTime"] == "2024-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1e3", "1e3"),
        ("1.5Gi", "1536Mi"),
        ("0.1Mi", "104858"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("0", "0"),
        (2, "2"),
    ],
)
def test_quantities_are_written_as_servers_write_them(text, canonical):
    assert quantity.canonical(text) == canonical
