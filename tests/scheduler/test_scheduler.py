"""The whole scheduler against an in-memory cluster, on the virtual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
from kcore_scheduler import Config, kcore_scheduler
from kcore_scheduler.lists import WEIGHTS, entries
from trio.abc import Clock

from kcore import errors
from kcore.errors import ConfigError
from kcore.metrics import Metrics
from kcore.objects import Object, meta
from kcore.objects.resources import EVENTS, GVR, LEASES, NODES, PODS
from kcore.registry import Choice
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Policy, Refused
from kcore.scheduler.profile import Profile, Weighted
from kcore.scheduler.scheduler import Settings
from kcore.scheduler.table import NodeTable
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient
from kcore.testing.scheduling import node, pod, running_scheduler

from .conftest import PROVIDERS

Policies = list[Weighted]


async def settle(seconds: float = 0.5) -> None:
    """Let everything happen that happens at once. Virtual time."""
    await trio.sleep(seconds)


async def get(client: MemoryClient, name: str) -> Object:
    return await client.get(PODS, name, "default")


async def node_of(client: MemoryClient, name: str) -> str:
    return str((await get(client, name))["spec"].get("nodeName", ""))


async def condition(client: MemoryClient, name: str) -> Object:
    found = meta.condition(await get(client, name), "PodScheduled")
    assert found is not None
    return found


async def events(client: MemoryClient, name: str) -> list[tuple[str, str, str]]:
    page = await client.list(EVENTS)
    return [(e["type"], e["reason"], e["message"]) for e in page.items if e["involvedObject"]["name"] == name]


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


async def test_a_failed_binding_is_undone_and_tried_again(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    class Flaky(MemoryClient):
        broken = True

        async def create(self, resource: GVR, obj: Object, namespace: str = "", **more: Any) -> Object:
            if more.get("subresource") == "binding" and self.broken:
                raise errors.ServiceUnavailable("the API is being restarted")
            return await super().create(resource, obj, namespace, **more)

    flaky = Flaky()
    await flaky.create(NODES, node("a", cpu="1"))
    async with running_scheduler(flaky, default_policies) as scheduler:
        await flaky.create(PODS, pod("p", cpu="1"))
        await settle()
        assert scheduler.nodes.requested[0, 0] == 0
        assert (await condition(flaky, "p"))["reason"] == "SchedulerError"
        flaky.broken = False
        await settle(11)
        assert await node_of(flaky, "p") == "a"
        assert scheduler.nodes.requested[0, 0] == 1000


async def test_decisions_do_not_wait_for_bindings(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies
) -> None:
    class Slow(MemoryClient):
        async def create(self, resource: GVR, obj: Object, namespace: str = "", **more: Any) -> Object:
            if more.get("subresource") == "binding":
                await trio.sleep(10)
            return await super().create(resource, obj, namespace, **more)

    slow = Slow()
    for name in "abcd":
        await slow.create(NODES, node(name, cpu="1"))
    async with running_scheduler(slow, default_policies) as scheduler:
        for i in range(4):
            await slow.create(PODS, pod(f"p{i}", cpu="1"))
        await settle(1)
        assert scheduler._cache.assumed_pods == 4
        await settle(10)
        assert {await node_of(slow, f"p{i}") for i in range(4)} == {"a", "b", "c", "d"}


async def test_a_pod_deleted_while_it_is_bound_frees_its_place(
    autojump_clock: Clock, client: MemoryClient, open_policy: Any
) -> None:
    policies = [Weighted(await open_policy(name)) for name in ("PrioritySort", "NodeResourcesFit", "DefaultBinder")]
    undone = []

    class Gang(Policy):
        name = "Gang"

        async def permit(self, pod: PodInfo, node: str) -> None:
            await trio.sleep_forever()

        def unreserve(self, pod: PodInfo, node: str) -> None:
            undone.append((pod.key, node))

    await client.create(NODES, node("a", cpu="1"))
    async with running_scheduler(client, [*policies, Weighted(Gang())]) as scheduler:
        await client.create(PODS, pod("p", cpu="1"))
        await settle()
        assert scheduler.nodes.requested[0, 0] == 1000
        await client.delete(PODS, "p", "default")
        await settle()
        assert undone == [("default/p", "a")]
        assert scheduler.nodes.requested[0, 0] == 0
        assert len(scheduler._queue) == 0


async def test_a_node_that_goes_while_a_pod_is_bound_to_it_counts_it_when_it_is_back(
    autojump_clock: Clock, client: MemoryClient, open_policy: Any
) -> None:
    policies = [Weighted(await open_policy(name)) for name in ("PrioritySort", "NodeResourcesFit", "DefaultBinder")]
    gate = trio.Event()

    class Wait(Policy):
        name = "Wait"

        async def permit(self, pod: PodInfo, node: str) -> None:
            await gate.wait()

    await client.create(NODES, node("a", cpu="1"))
    async with running_scheduler(client, [*policies, Weighted(Wait())]) as scheduler:
        await client.create(PODS, pod("p", cpu="1"))
        await settle()
        await client.delete(NODES, "a")
        await settle()
        assert len(scheduler.nodes) == 0
        gate.set()
        await settle()
        await client.create(NODES, node("a", cpu="1"))
        await client.create(PODS, pod("q", cpu="1"))
        await settle(20)
        assert scheduler.nodes.requested[0, scheduler.nodes.rows["a"]] == 1000
        assert await node_of(client, "q") == ""


async def test_a_policy_that_refuses_late_sends_the_pod_back(
    autojump_clock: Clock, client: MemoryClient, open_policy: Any
) -> None:
    policies = [Weighted(await open_policy(name)) for name in ("PrioritySort", "DefaultBinder")]
    log = []

    class Licence(Policy):
        name = "Licence"
        watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset(("labels",))}
        free = 0

        def reserve(self, pod: PodInfo, node: str) -> None:
            log.append("reserve")
            if not self.free:
                raise Refused("no licence is free")

        def unreserve(self, pod: PodInfo, node: str) -> None:
            log.append("unreserve")

    licence = Licence()
    await client.create(NODES, node("a"))
    async with running_scheduler(client, [*policies, Weighted(licence)]):
        await client.create(PODS, pod("p"))
        await settle()
        assert (await condition(client, "p"))["message"] == "0/1 nodes are available: 1 no licence is free."
        assert log == ["reserve", "unreserve"]
        licence.free = 1
        await client.patch(NODES, "a", {"metadata": {"labels": {"x": "y"}}})
        await settle(2)
    assert await node_of(client, "p") == "a"


async def test_a_policy_that_raises_costs_an_attempt_and_is_named(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Policy):
        name = "Buggy"
        broken = True

        def filter(self, pod: PodInfo, nodes: NodeTable) -> Any:
            return [True] if self.broken else None

    buggy = Buggy()
    await client.create(NODES, node("a"))
    async with running_scheduler(client, [*default_policies, Weighted(buggy)]):
        await client.create(PODS, pod("p"))
        await settle()
        assert "policy Buggy failed in filter" in (await condition(client, "p"))["message"]
        assert "policy Buggy failed in filter" in caplog.text
        buggy.broken = False
        await settle(2)
    assert await node_of(client, "p") == "a"


async def test_a_policy_that_raises_in_the_margins_stops_nobody(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies, caplog: pytest.LogCaptureFixture
) -> None:
    class Clumsy(Policy):
        name = "Clumsy"
        watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset()}
        gated = 1

        def gate(self, pod: PodInfo) -> str:
            self.gated -= 1
            if self.gated == 0:
                raise RuntimeError("oops at the gate")
            return ""

        def filter(self, pod: PodInfo, nodes: NodeTable) -> Any:
            return nodes.label("good").ids > 0

        def may_help(self, pod: PodInfo, change: Change) -> bool:
            raise RuntimeError("oops in a hint")

        async def permit(self, pod: PodInfo, node: str) -> None:
            raise Refused("not yet") if self.gated > -3 else RuntimeError("oops at the door")

        def unreserve(self, pod: PodInfo, node: str) -> None:
            raise RuntimeError("oops when undoing")

    clumsy = Clumsy()
    await client.create(NODES, node("a"))
    async with running_scheduler(client, [*default_policies, Weighted(clumsy)]) as scheduler:
        await client.create(PODS, pod("p"))
        await settle(15)
        await client.patch(NODES, "a", {"metadata": {"labels": {"good": "yes"}}})
        await settle(1000)
        assert scheduler.nodes.requested[3, 0] == 0
        await client.create(PODS, pod("other"))
        await settle()
    for what in ("at the gate", "in a hint", "when undoing"):
        assert f"oops {what}" in caplog.text


async def test_after_a_restart_pods_on_nodes_count_and_waiting_ones_go_on(
    autojump_clock: Clock, client: MemoryClient, default_policies: Policies, open_policy: Any
) -> None:
    await client.create(NODES, node("a", cpu="2"))
    async with running_scheduler(client, default_policies):
        await client.create(PODS, pod("one", cpu="1"))
        await settle()
    await client.create(PODS, pod("two", cpu="1"))
    await client.create(PODS, pod("three", cpu="1"))
    again = [Weighted(await open_policy(name), weight) for name, weight in WEIGHTS.items()]
    async with running_scheduler(client, again) as scheduler:
        await settle()
        assert scheduler.nodes.requested[0, 0] == 2000
        assert sorted([await node_of(client, "two"), await node_of(client, "three")]) == ["", "a"]


async def test_an_assumption_that_is_never_confirmed_expires(
    autojump_clock: Clock, client: MemoryClient, open_policy: Any
) -> None:
    policies = [Weighted(await open_policy(name)) for name in ("PrioritySort", "NodeResourcesFit")]
    tries = []

    class Liar(Policy):
        name = "Liar"

        async def bind(self, pod: PodInfo, node: str) -> bool:
            tries.append(node)
            return True  # without having written anything

    await client.create(NODES, node("a", cpu="1"))
    async with running_scheduler(client, [*policies, Weighted(Liar())]) as scheduler:
        await client.create(PODS, pod("p", cpu="1"))
        await settle(100)
        assert (tries, scheduler._cache.assumed_pods) == (["a"], 1)
        await settle(250)
        assert len(tries) == 2


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
