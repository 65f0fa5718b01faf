"""The node table counts right, whatever happens in whatever order."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcore.objects import selectors
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.table import CPU, PODS, NodeTable
from kcore.scheduler.terms import PodTerm
from kcore.testing.scheduling import node, pod

WEB = PodTerm(frozenset(("default",)), selectors.parse("app=web"))
ANYWHERE = PodTerm(frozenset(), selectors.parse("app"), selectors.parse("team=blue"))
NAMES = st.integers(0, 5)


def steps() -> st.SearchStrategy[list[tuple[Any, ...]]]:
    step = st.one_of(
        st.tuples(st.just("node"), NAMES, st.sampled_from(["", "x", "y"]), st.booleans()),
        st.tuples(st.just("no node"), NAMES),
        st.tuples(st.just("pod"), NAMES, NAMES, st.sampled_from(["web", "db"]), st.sampled_from(["default", "other"])),
        st.tuples(st.just("no pod"), NAMES, st.sampled_from(["default", "other"])),
        st.tuples(st.just("team"), st.sampled_from(["blue", "red"])),
        st.tuples(st.just("ask")),
    )
    return st.lists(step, max_size=40)


def placed(name: int, app: str, namespace: str) -> PodInfo:
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}} if app == "db" else {}
    obj = pod(
        f"p{name}", cpu="100m", namespace=namespace, labels={"app": app}, affinity=affinity, requests={"x.io/y": "2"}
    )
    return PodInfo(obj)


@given(steps())
@settings(max_examples=150, deadline=None)
def test_columns_are_what_counting_anew_would_give(history: list[tuple[Any, ...]]) -> None:
    table = NodeTable(capacity=1)
    table.set_namespace("other", {"team": "red"})
    nodes: dict[str, tuple[str, bool]] = {}
    pods: dict[str, tuple[PodInfo, str]] = {}
    team = "red"
    for what, *args in history:
        if what == "node":
            name = f"n{args[0]}"
            taints = [{"key": "k", "effect": "NoSchedule"}] if args[2] else []
            table.set_node(node(name, labels={"zone": args[1]} if args[1] else {}, taints=taints))
            nodes[name] = (args[1], args[2])
        elif what == "no node":
            assert table.remove_node(f"n{args[0]}") == (nodes.pop(f"n{args[0]}", None) is not None)
        elif what == "pod":
            info = placed(args[0], args[2], args[3])
            table.add_pod(info, f"n{args[1]}")
            pods[info.key] = (info, f"n{args[1]}")
        elif what == "no pod":
            key = f"{args[1]}/p{args[0]}"
            assert (table.remove_pod(key) is None) == (pods.pop(key, None) is None)
        elif what == "team":
            team = args[0]
            table.set_namespace("other", {"team": team})
        else:
            table.count((WEB,))
            table.count((ANYWHERE,))
            table.label("zone")
    check(table, nodes, pods, team)


def check(
    table: NodeTable, nodes: dict[str, tuple[str, bool]], pods: dict[str, tuple[PodInfo, str]], team: str
) -> None:
    assert len(table) == len(nodes) == int(table.alive.sum())
    zone, web, blue = table.label("zone"), table.count((WEB,)), table.count((ANYWHERE,))
    carried = table.carried("anti-affinity", PodInfo(pod("q", labels={"app": "web"})))
    shy = sum((column for _, column in carried), np.zeros(table.size, np.int64))
    for name, (value, tainted) in nodes.items():
        row = table.rows[name]
        here = [info for info, on in pods.values() if on == name]
        assert table.names[row] == name
        assert zone.values[zone.ids[row]] == value
        assert (table.taint_sets[table.taint_ids[row]] != ()) == tainted
        assert table.requested[CPU, row] == 100 * len(here)
        assert table.requested[PODS, row] == len(here)
        assert table.allocatable[CPU, row] == 4000
        assert web[row] == sum(p.labels["app"] == "web" and p.namespace == "default" for p in here)
        assert blue[row] == sum(p.namespace == "other" and team == "blue" for p in here)
        assert shy[row] == sum(p.labels["app"] == "db" and p.namespace == "default" for p in here)
    holes = ~table.alive
    assert not table.requested[:, holes].any()
    assert not web[holes].any()


def test_columns_cannot_be_written() -> None:
    table = NodeTable()
    table.set_node(node("a"))
    for column in (table.alive, table.allocatable, table.label("zone").ids, table.count((WEB,))):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1


def test_a_heartbeat_changes_nothing() -> None:
    table = NodeTable()
    assert table.set_node(node("a")) == {"added"}
    beating = node("a")
    beating["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    assert table.set_node(beating) == frozenset()
    assert table.set_node(node("a", cpu="8", labels={"x": "y"})) == {"allocatable", "labels"}
    assert table.set_node(node("a", cpu="8", labels={"x": "y"}, unschedulable=True)) == {"unschedulable"}


def test_plugins_do_not_load_numpy_before_a_scheduler_opens() -> None:
    code = (
        "import sys, kcore_policies, kcore_scheduler, kcore.scheduler.policy\n"
        "kcore_policies.kcore_policy(); kcore_scheduler.kcore_scheduler()[0].config()\n"
        "print([m for m in ('numpy', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
