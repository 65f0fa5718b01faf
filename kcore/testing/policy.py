"""The conformance suite for scheduling policies.

    from kcore.testing.policy import PolicySuite

    class TestCheapest(PolicySuite):
        def policy(self):
            return Cheapest()

Give `nodes` and `pods` that make the policy say yes to some, no to others, and score differently: the suite asks it
about every one of them. Set `independent = False` if its answer for a node depends on other nodes (spreading).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kcore.objects import Object
from kcore.objects.resources import GVR, NODES, PODS
from kcore.scheduler.arrays import Bools, Floats
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Policy
from kcore.scheduler.table import NodeTable
from kcore.testing.scheduling import StillHandle, node, node_table, pod


class PolicySuite:
    """Derive a test class from it and define `policy`."""

    independent = True
    """The filter's answer for a node depends on that node alone."""

    def policy(self) -> Policy:
        """A new policy, as its provider would open it."""
        raise NotImplementedError("define policy() in the test class")

    def nodes(self) -> list[Object]:
        """The nodes of the cluster in which the policy is tested; at least four."""
        zones = ("a", "a", "b", "b", "c", "")
        return [
            node(f"node-{i}", cpu=f"{1 + i}", labels={"topology.kubernetes.io/zone": zone} if zone else {})
            for i, zone in enumerate(zones)
        ]

    def placed(self) -> Mapping[str, Sequence[Object]]:
        """Pods that are there already, by the name of their node."""
        return {"node-0": [pod("old-0", cpu="500m")], "node-1": [pod("old-1", cpu="2")]}

    def pods(self) -> list[Object]:
        """Pods that the policy is asked about."""
        return [pod("small", cpu="100m", memory="64Mi"), pod("big", cpu="4"), pod("plain")]

    def objects(self) -> Mapping[GVR, Sequence[Object]]:
        """What else there is in the cluster, by resource: for policies that use `Handle.informer`."""
        return {}

    # --- the tests --------------------------------------------------------------------------------------------------

    def test_it_has_a_name(self) -> None:
        name = self.policy().name
        assert isinstance(name, str)
        assert name, "a policy needs a name: events, metrics and configs call it by that"

    def test_the_filter_answers_one_bool_for_each_row(self) -> None:
        policy, table = self._attached()
        for info in self._infos():
            mask = policy.filter(info, table)
            if mask is not None:
                assert mask.dtype == np.bool_, f"filter must answer bool, not {mask.dtype}"
                assert mask.shape == (table.size,)

    def test_scores_are_numbers_from_0_to_100(self) -> None:
        policy, table = self._attached()
        rows = np.flatnonzero(table.alive)
        for info in self._infos():
            scores = policy.score(info, table)
            if scores is None:
                continue
            assert scores.dtype == np.float64, f"score must answer float64, not {scores.dtype}"
            assert scores.shape == (table.size,)
            for some in (rows, rows[:1], rows[-2:], rows[::2]):
                final = policy.normalize(scores[some])
                assert final.shape == some.shape
                assert np.isfinite(final).all(), "a score must be a finite number"
                assert (final >= 0).all()
                assert (final <= 100).all(), "scores must lie in 0..100: give a `normalize` if yours do not"

    def test_the_same_question_gets_the_same_answer(self) -> None:
        policy, table = self._attached()
        for info in self._infos():
            first = _answers(policy, info, table)
            assert _alike(first, _answers(policy, info, table))
            other, _ = self._attached()
            assert _alike(first, _answers(other, info, table)), "the answer depends on what was asked before"

    def test_nothing_is_written(self) -> None:
        policy, table = self._attached()
        for info in self._infos():
            table.vector(info)  # the columns of resources that nobody has asked for before are made when asked for
            before = copy.deepcopy((info.obj, table.objects)), _columns(table)
            _answers(policy, info, table)
            assert (info.obj, table.objects) == before[0], "the policy changed an object"
            assert all(np.array_equal(a, b) for a, b in zip(_columns(table), before[1], strict=True))

    def test_holes_and_new_nodes_change_nothing_for_the_others(self) -> None:
        policy, table = self._attached()
        nodes = self.nodes()
        gone = nodes[1]["metadata"]["name"]
        table.remove_node(gone)
        assert self._by_name(policy, table) == self._fresh(gone)
        table.set_node(nodes[1])
        assert self._by_name(policy, table) == self._fresh("")
        table.remove_node(gone)
        table.set_node(node("node-new", cpu="3"))
        for info in self._infos():
            _answers(policy, info, table)

    def test_one_node_alone_is_judged_as_among_others(self) -> None:
        if not self.independent:
            return
        policy, table = self._attached()
        for info in self._infos():
            mask = policy.filter(info, table)
            for obj in self.nodes():
                name = obj["metadata"]["name"]
                placed = {k: v for k, v in self.placed().items() if k == name}
                alone = node_table([obj], placed)
                single = self.policy()
                single.attach(StillHandle(alone, self.objects()))
                own = single.filter(info, alone)
                among = True if mask is None else bool(mask[table.rows[name]])
                assert among == (True if own is None else bool(own[0])), f"{info.key} on {name}"

    def test_every_refused_node_has_a_reason(self) -> None:
        policy, table = self._attached()
        for info in self._infos():
            mask = policy.filter(info, table)
            if mask is None:
                continue
            refused = table.alive & ~mask
            if not refused.any():
                continue
            named: Bools = np.zeros(table.size, np.bool_)
            for refusal in policy.refusals(info, table, refused):
                assert refusal.reason, "a refusal must say why"
                assert not (refusal.nodes & ~refused).any(), "a reason for a node that was not refused"
                named |= refusal.nodes
            assert (named == refused).all(), "some refused nodes have no reason"

    def test_an_empty_cluster_is_no_problem(self) -> None:
        table = node_table([])
        policy = self.policy()
        policy.attach(StillHandle(table, self.objects()))
        for info in self._infos():
            mask, scores = _answers(policy, info, table)
            assert mask is None or mask.shape == (0,)
            assert scores is None or scores.shape == (0,)

    def test_hints_and_undoing_work_at_any_time(self) -> None:
        policy, _ = self._attached()
        obj = self.nodes()[0]
        for info in self._infos():
            policy.unreserve(info, obj["metadata"]["name"])
            for change in (
                Change(NODES, None, obj, frozenset(("added",))),
                Change(NODES, obj, None, frozenset(("removed",))),
                Change(PODS, info.obj, None, frozenset(("removed",)), info),
            ):
                wanted = policy.watches.get(change.resource)
                if wanted is not None and (not wanted or wanted & change.what):
                    assert isinstance(policy.may_help(info, change), bool)

    # --- within -----------------------------------------------------------------------------------------------------

    def _attached(self) -> tuple[Policy, NodeTable]:
        table = node_table(self.nodes(), self.placed())
        policy = self.policy()
        policy.attach(StillHandle(table, self.objects()))
        return policy, table

    def _infos(self) -> list[PodInfo]:
        return [PodInfo(obj) for obj in self.pods()]

    def _fresh(self, without: str) -> Any:
        """The answers by name on a table that never had the node."""
        table = node_table([n for n in self.nodes() if n["metadata"]["name"] != without], self.placed())
        policy = self.policy()
        policy.attach(StillHandle(table, self.objects()))
        return self._by_name(policy, table)

    def _by_name(self, policy: Policy, table: NodeTable) -> Any:
        out = []
        names = sorted(table.rows)
        rows = [table.rows[name] for name in names]
        for info in self._infos():
            mask, scores = _answers(policy, info, table)
            fits = [True] * len(rows) if mask is None else [bool(mask[row]) for row in rows]
            final = None if scores is None else [round(float(s), 6) for s in policy.normalize(scores[rows])]
            out.append((info.key, dict(zip(names, fits, strict=True)), final))
        return out


def _answers(policy: Policy, info: PodInfo, table: NodeTable) -> tuple[Bools | None, Floats | None]:
    return policy.filter(info, table), policy.score(info, table)


def _alike(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    for a, b in zip(one, other, strict=True):
        if (a is None) != (b is None):
            return False
        if a is not None and not np.array_equal(a, b, equal_nan=a.dtype == np.float64):
            return False
    return True


def _columns(table: NodeTable) -> list[Any]:
    columns = (table.alive, table.unschedulable, table.taint_ids, table.allocatable, table.requested, table.assumed)
    return [column.copy() for column in columns]
