"""Less important pods make room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kcore_policies.config import PreemptionConfig
from kcore_policies.fit import FitConfig, NodeResourcesFit
from kcore_policies.preemption import DefaultPreemption
from trio.abc import Clock

from kcore.objects import Object, meta
from kcore.objects.resources import EVENTS, NODES, PODDISRUPTIONBUDGETS, PODS
from kcore.scheduler.cycle import Attempt
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Nomination
from kcore.scheduler.profile import Profile, Weighted
from kcore.testing.client import MemoryClient
from kcore.testing.scheduling import StillHandle, node, node_table, pod, running_scheduler

from .conftest import condition, node_of, settle


def preempt(
    wanting: Object, nodes: Sequence[Object], pods: Mapping[str, Sequence[Object]], budgets: Sequence[Object] = ()
) -> Nomination | str:
    """What DefaultPreemption proposes when only resources count."""
    from kcore_policies.basics import DefaultBinder, PrioritySort

    table = node_table(nodes, pods)
    policy = DefaultPreemption(PreemptionConfig())
    policy.attach(StillHandle(table, {PODDISRUPTIONBUDGETS: budgets}))
    all_of_them = (PrioritySort(), NodeResourcesFit(FitConfig()), policy, DefaultBinder())
    profile = Profile("default-scheduler", [Weighted(p) for p in all_of_them])
    info = PodInfo(wanting)
    attempt = Attempt(profile, info, table, {})
    assert not attempt.feasible().any()
    attempt.diagnose()
    before = table.requested.copy()
    answer = policy.post_filter(info, table, attempt)
    assert (table.requested == before).all()
    return answer


def chosen(answer: Nomination | str) -> tuple[str, list[str]]:
    assert isinstance(answer, Nomination)
    return answer.node, sorted(v.name for v in answer.victims)


def started(obj: Object, at: str) -> Object:
    obj["status"]["startTime"] = f"2026-01-01T00:00:{at}Z"
    return obj


def budget(app: str, allowed: int) -> Object:
    return {
        "metadata": {"name": app, "namespace": "default", "uid": app, "resourceVersion": "1"},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed},
    }


def test_only_as_many_go_as_must() -> None:
    low = [pod(f"low-{i}", cpu="1", priority=i) for i in range(3)]
    assert chosen(preempt(pod("q", cpu="2", priority=9), [node("a", cpu="3")], {"a": low})) == (
        "a",
        ["low-0", "low-1"],
    )


def test_the_node_with_the_least_important_victims_is_taken() -> None:
    pods = {"a": [pod("x", cpu="2", priority=5)], "b": [pod("y", cpu="2", priority=3)]}
    nodes = [node("a", cpu="2"), node("b", cpu="2")]
    assert chosen(preempt(pod("q", cpu="2", priority=9), nodes, pods)) == ("b", ["y"])


def test_fewer_victims_are_better_than_many_of_the_same_importance() -> None:
    pods = {"a": [pod("x", cpu="1"), pod("z", cpu="1")], "b": [pod("y", cpu="2")]}
    nodes = [node("a", cpu="2"), node("b", cpu="2")]
    assert chosen(preempt(pod("q", cpu="2", priority=9), nodes, pods)) == ("b", ["y"])


def test_the_youngest_goes_when_all_else_is_equal() -> None:
    pods = {"a": [started(pod("x", cpu="2"), "10")], "b": [started(pod("y", cpu="2"), "20")]}
    nodes = [node("a", cpu="2"), node("b", cpu="2")]
    assert chosen(preempt(pod("q", cpu="2", priority=9), nodes, pods)) == ("b", ["y"])


def test_disruption_budgets_are_kept_where_possible() -> None:
    guarded = pod("guarded", cpu="2", labels={"app": "db"})
    pods = {"a": [guarded], "b": [pod("important", cpu="2", priority=5)]}
    nodes = [node("a", cpu="2"), node("b", cpu="2")]
    wanting = pod("q", cpu="2", priority=9)
    assert chosen(preempt(wanting, nodes, pods, [budget("db", 0)])) == ("b", ["important"])
    assert chosen(preempt(wanting, nodes, pods, [budget("db", 1)])) == ("a", ["guarded"])
    assert chosen(preempt(wanting, nodes[:1], {"a": [guarded]}, [budget("db", 0)])) == ("a", ["guarded"])


def test_equals_are_not_preempted_and_the_message_says_so() -> None:
    answer = preempt(pod("q", cpu="2"), [node("a", cpu="2"), node("b", cpu="1")], {"a": [pod("x", cpu="2")]})
    assert answer == (
        "no new claims to deallocate, preemption: 0/2 nodes are available: "
        "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    )


def test_a_pod_may_waive_it() -> None:
    wanting = pod("q", cpu="2", priority=9, preemptionPolicy="Never")
    answer = preempt(wanting, [node("a", cpu="2")], {"a": [pod("x", cpu="2")]})
    assert answer == "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."


async def test_victims_are_told_why_and_the_pod_takes_their_place(
    autojump_clock: Clock, client: MemoryClient, default_policies: list[Weighted]
) -> None:
    await client.create(NODES, node("a", cpu="2"))
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("low", cpu="2"))
        await settle()
        await client.create(PODS, pod("high", cpu="1500m", priority=1000))
        await settle()
        high, low = await client.get(PODS, "high", "default"), await client.get(PODS, "low", "default")
        assert high["status"]["nominatedNodeName"] == "a"
        assert (await condition(client, "high"))["message"] == "0/1 nodes are available: 1 Insufficient cpu."
        found = meta.condition(low, "DisruptionTarget")
        assert found is not None
        assert (found["reason"], found["message"]) == (
            "PreemptionByScheduler",
            "default-scheduler: preempting to accommodate a higher priority pod",
        )
        assert low["metadata"]["deletionTimestamp"]
        reasons = [e["reason"] for e in (await client.list(EVENTS)).items if e["involvedObject"]["name"] == "low"]
        assert "Preempted" in reasons
        await client.delete(PODS, "low", "default", grace_seconds=0)
        await settle(2)
        assert await node_of(client, "high") == "a"


async def test_what_was_promised_is_not_given_to_somebody_else(
    autojump_clock: Clock, client: MemoryClient, default_policies: list[Weighted], open_policy: Any
) -> None:
    await client.create(NODES, node("a", cpu="2"))
    async with running_scheduler(client, default_policies) as scheduler:
        await client.create(PODS, pod("low", cpu="2", terminationGracePeriodSeconds=30))
        await settle()
        await client.create(PODS, pod("high", cpu="2", priority=1000))
        await settle()
        await client.create(PODS, pod("thief", cpu="1"))
        await settle()
        scheduler._cache.pod_gone("default/low")
        scheduler._queue.activate("default/thief")
        await settle(5)
        assert await node_of(client, "thief") == ""
