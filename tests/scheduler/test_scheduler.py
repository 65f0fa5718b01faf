"""The whole scheduler against an in-memory cluster, on the virtual clock."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kcore_scheduler import Config, kcore_scheduler
from kcore_scheduler.lists import WEIGHTS, entries
from trio.abc import Clock

from kcore.errors import ConfigError
from kcore.metrics import Metrics
from kcore.objects.resources import EVENTS, LEASES, NODES, PODS
from kcore.registry import Choice
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Policy
from kcore.scheduler.profile import Profile, Weighted
from kcore.scheduler.scheduler import Settings
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient
from kcore.testing.scheduling import node, pod, running_scheduler

from .conftest import PROVIDERS, condition, events, get, node_of, settle

Policies = list[Weighted]


async def test_a_pod_gets_a_node_and_an_event(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(NODES, node("a"))
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("p", cpu="1"))
        await settle()
    assert await node_of(client, "p") == "a"
    assert await events(client, "p") == [("Normal", "Scheduled", "Successfully assigned default/p to a")]
    event = (await client.list(EVENTS)).items[0]
    assert (event["action"], event["reportingComponent"], event["source"]) == ("Binding", "default-scheduler", {})


async def test_pods_of_other_schedulers_are_left_alone(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(NODES, node("a"))
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("p", schedulerName="other"))
        await settle(1000)
    assert (await get(client, "p"))["status"] == {"phase": "Pending"}


async def test_without_nodes_it_says_so(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("p"))
        await settle()
        assert (await condition(client, "p"))["message"] == "no nodes available to schedule pods"
        assert await events(client, "p") == [("Warning", "FailedScheduling", "no nodes available to schedule pods")]
        await client.create(NODES, node("a"))
        await settle(2)
    assert await node_of(client, "p") == "a"


async def test_reasons_are_counted_in_upstreams_words(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(NODES, node("small", cpu="2", labels={"disk": "ssd"}))
    await client.create(NODES, node("other", cpu="2"))
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("p", cpu="9", nodeSelector={"disk": "ssd"}))
        await settle()
    found = await condition(client, "p")
    assert (found["status"], found["reason"], found["observedGeneration"]) == ("False", "Unschedulable", 1)
    assert found["message"] == (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector. "
        "no new claims to deallocate, preemption: 0/2 nodes are available: "
        "2 Preemption is not helpful for scheduling."
    )


async def test_a_missing_claim_stops_a_pod_before_any_node(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(NODES, node("a"))
    async with running_scheduler(client, default_policies):
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": "nope"}}
        await client.create(PODS, pod("p", volumes=[volume]))
        await settle()
    message = (await condition(client, "p"))["message"]
    assert message == '0/1 nodes are available: persistentvolumeclaim "nope" not found. not found'


async def test_gated_pods_wait_until_their_gates_are_gone(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(NODES, node("a"))
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("p", schedulingGates=[{"name": "example.com/g"}]))
        await settle(1000)
        found = await condition(client, "p")
        assert (found["reason"], found["message"]) == (
            "SchedulingGated",
            "Scheduling is blocked due to non-empty scheduling gates",
        )
        assert await events(client, "p") == []
        await client.patch(PODS, "p", {"spec": {"schedulingGates": None}}, "default")
        await settle()
    assert await node_of(client, "p") == "a"


async def test_important_pods_come_first_then_the_oldest(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(PODS, pod("first", cpu="1"))
    await client.create(PODS, pod("second", cpu="1"))
    await client.create(PODS, pod("important", cpu="1", priority=5))
    await client.create(NODES, node("a", cpu="2"))
    async with running_scheduler(client, default_policies):
        await settle()
    assert await node_of(client, "important") == "a"
    assert await node_of(client, "first") == "a"
    assert await node_of(client, "second") == ""


async def test_a_pod_is_tried_again_when_another_leaves(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(NODES, node("a", cpu="1"))
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("old", cpu="1"))
        await settle()
        await client.create(PODS, pod("new", cpu="1"))
        await settle(20)
        assert await node_of(client, "new") == ""
        await client.delete(PODS, "old", "default", grace_seconds=0)
        await settle(2)
    assert await node_of(client, "new") == "a"


async def test_finished_pods_free_their_node(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(NODES, node("a", cpu="1"))
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("job", cpu="1"))
        await client.create(PODS, pod("next", cpu="1"))
        await settle(20)
        await client.patch(PODS, "job", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        await settle(2)
    assert await node_of(client, "next") == "a"


async def test_heartbeats_wake_nobody_but_the_flush_does(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    await client.create(NODES, node("a", cpu="1"))
    async with running_scheduler(client, default_policies) as scheduler:
        await client.create(PODS, pod("p", cpu="2"))
        await settle()
        queued = scheduler._queue.get("default/p")
        assert queued is not None
        for i in range(5):
            beat = {"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": str(i)}]}}
            await client.patch(NODES, "a", beat, subresource="status")
            await settle(10)
        assert queued.attempts == 1
        await settle(260)
        assert queued.attempts == 2


async def test_the_same_seed_gives_the_same_history(
    autojump_clock: Clock, client: MemoryClient, open_policy: Any
) -> None:
    async def history(seed: int) -> list[str]:
        cluster = MemoryClient()
        policies = [Weighted(await open_policy(name), weight) for name, weight in WEIGHTS.items()]
        for i in range(20):
            await cluster.create(NODES, node(f"n{i}"))
        for i in range(60):
            await cluster.create(PODS, pod(f"p{i:02}", cpu="100m"))
        async with running_scheduler(cluster, policies, settings=Settings(seed=seed)):
            await settle(2)
        return [p["spec"]["nodeName"] for p in (await cluster.list(PODS)).items]

    first = await history(1)
    assert await history(1) == first
    assert await history(2) != first


async def test_a_thousand_nodes_fill_evenly(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    for i in range(1000):
        await client.create(NODES, node(f"n{i}", labels={"topology.kubernetes.io/zone": f"z{i % 3}"}))
    async with running_scheduler(client, default_policies):
        for i in range(2000):
            await client.create(PODS, pod(f"p{i}", cpu="500m", memory="256Mi", labels={"app": "web"}))
        await settle(5)
    nodes = Counter(p["spec"].get("nodeName") for p in (await client.list(PODS)).items)
    assert set(nodes.values()) == {2}


async def test_metrics_have_upstreams_names(autojump_clock: Clock, client: MemoryClient, tmp_path: Path) -> None:
    context = TestContext(
        tmp_path, api=client, choices={("policy", n): Choice(p, p.config()) for n, p in PROVIDERS.items()}
    )
    context.metrics = Metrics("scheduler")
    await client.create(NODES, node("a", cpu="1"))
    provider = kcore_scheduler()[0]
    async with provider.open(context, provider.config()):
        await client.create(PODS, pod("p", cpu="1"))
        await client.create(PODS, pod("q", cpu="1"))
        await settle()
        text = context.metrics.expose().decode()
    for line in (
        'scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 1.0',
        'scheduler_schedule_attempts_total{profile="default-scheduler",result="unschedulable"} 1.0',
        'scheduler_pending_pods{queue="unschedulable"} 1.0',
        'scheduler_pod_scheduling_sli_duration_seconds_count{attempts="1"} 1.0',
        'scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"} 1.0',
        'scheduler_cache_size{type="nodes"} 1.0',
        "scheduler_scheduling_algorithm_duration_seconds_count 2.0",
    ):
        assert line in text


async def test_of_two_schedulers_one_leads_and_the_other_takes_over(
    autojump_clock: Clock, client: MemoryClient, tmp_path: Path
) -> None:
    provider = kcore_scheduler()[0]

    def context() -> TestContext:
        choices = {("policy", n): Choice(p, p.config()) for n, p in PROVIDERS.items()}
        return TestContext(tmp_path, api=client, choices=choices, metrics=Metrics("scheduler"))

    await client.create(NODES, node("a"))
    config = provider.config(leader_elect=True)
    async with provider.open(context(), config) as second_to_be:
        async with provider.open(context(), config) as other:
            await settle(5)
            leaders = [part for part in (second_to_be, other) if part.scheduler is not None]
            assert len(leaders) == 1
        await settle(30)
        assert second_to_be.scheduler is not None
        await client.create(PODS, pod("p"))
        await settle()
        assert await node_of(client, "p") == "a"
        assert (await client.get(LEASES, "kube-scheduler", "kube-system"))["spec"]["holderIdentity"]


def test_the_config_says_what_is_wrong_with_a_list() -> None:
    assert [e.name for e in entries(Config().policies, "policies")] == list(WEIGHTS)
    assert entries([{"name": "ImageLocality", "weight": 5, "args": {}}], "policies")[0].weight == 5
    for bad, text in (
        ([3], r"policies\[0\]: must be a policy's name"),
        ([{"name": "X", "wieght": 1}], r"policies\[0\]: no such setting wieght"),
        ([{"name": "X", "weight": -1}], r"policies\[0\].weight: must be a number"),
        ([{"name": "X", "args": []}], r"policies\[0\].args: must be a table"),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            Config(policies=bad)


def test_a_profile_needs_an_order_and_a_binder() -> None:
    class Order(Policy):
        name = "Order"

        def key(self, pod: PodInfo, since: float) -> Any:
            return since

    with pytest.raises(ConfigError, match="order the queue"):
        Profile("x", [])
    with pytest.raises(ConfigError, match="no policy binds pods"):
        Profile("x", [Weighted(Order())])
    with pytest.raises(ConfigError, match="named twice"):
        Profile("x", [Weighted(Order()), Weighted(Order())])
