"""What goes wrong between a decision and the bound pod, and how the scheduler gets over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import trio
from kcore_scheduler.lists import WEIGHTS
from trio.abc import Clock

from kcore import errors
from kcore.objects import Object
from kcore.objects.resources import GVR, NODES, PODS
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Policy, Refused
from kcore.scheduler.profile import Weighted
from kcore.scheduler.table import NodeTable
from kcore.testing.client import MemoryClient
from kcore.testing.scheduling import node, pod, running_scheduler

from .conftest import condition, node_of, settle

Policies = list[Weighted]


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
