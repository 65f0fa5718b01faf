"""The queue, without a scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import trio
from trio.abc import Clock

from kcore import clock
from kcore.objects.resources import GVR, NODES, PODS
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Policy
from kcore.scheduler.profile import Profile, Weighted
from kcore.scheduler.queue import Queue
from kcore.testing.scheduling import node, pod


class Order(Policy):
    name = "Order"

    def key(self, pod: PodInfo, since: float) -> Any:
        return (-pod.priority, since)

    async def bind(self, pod: PodInfo, node: str) -> bool:
        return True


class Nodes(Policy):
    """Refused pods wait for a new node, or for the label that names them."""

    name = "Nodes"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {NODES: frozenset(("added", "labels"))}
    asked = 0

    def may_help(self, pod: PodInfo, change: Change) -> bool:
        self.asked += 1
        return "added" in change.what or pod.name in str(change.new)


REFUSED = frozenset(("Nodes",))
NEW_NODE = Change(NODES, None, node("new"), frozenset(("added",)))


@pytest.fixture
def hints() -> Nodes:
    return Nodes()


@pytest.fixture
async def queue(hints: Nodes) -> Queue:
    clock.use_virtual()
    return Queue({"default-scheduler": Profile("default-scheduler", [Weighted(Order()), Weighted(hints)])})


def info(name: str, **more: Any) -> PodInfo:
    return PodInfo(pod(name, **more))


async def test_pods_come_by_priority_then_by_age(autojump_clock: Clock, queue: Queue) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", 0)):
        queue.add(info(name, priority=priority))
        await trio.sleep(1)
    assert [(await queue.pop()).pod.name for _ in range(3)] == ["b", "a", "c"]


async def test_pop_waits_for_a_pod(autojump_clock: Clock, queue: Queue) -> None:
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def later() -> None:
            await trio.sleep(5)
            queue.add(info("late"))

        assert (await queue.pop()).pod.name == "late"
        assert trio.current_time() == 5


async def test_back_off_doubles_from_one_to_ten_seconds(autojump_clock: Clock, queue: Queue) -> None:
    queue.add(info("p"))
    waits = []
    queued = await queue.pop()
    for _ in range(6):
        start = trio.current_time()
        queue.retry(queued)
        queued = await queue.pop()
        waits.append(trio.current_time() - start)
    assert waits == [1, 2, 4, 8, 10, 10]


async def test_a_refused_pod_waits_for_a_change_that_may_help(
    autojump_clock: Clock, queue: Queue, hints: Nodes
) -> None:
    queue.add(info("unheard-of"))
    queue.park(await queue.pop(), REFUSED)
    queue.on_change(Change(PODS, None, None, frozenset(("removed",))))
    queue.on_change(Change(NODES, node("a"), node("a"), frozenset(("allocatable",))))
    assert hints.asked == 0
    queue.on_change(Change(NODES, node("a"), node("a"), frozenset(("labels",))))
    assert (hints.asked, queue.sizes["unschedulable"]) == (1, 1)
    await trio.sleep(60)
    queue.on_change(NEW_NODE)
    assert queue.sizes == {"active": 1, "backoff": 0, "unschedulable": 0, "gated": 0}


async def test_its_back_off_must_be_over_first(autojump_clock: Clock, queue: Queue) -> None:
    queue.add(info("p"))
    queue.park(await queue.pop(), REFUSED)
    queue.on_change(NEW_NODE)
    assert queue.sizes["backoff"] == 1
    await queue.pop()
    assert trio.current_time() == 1


async def test_after_five_minutes_it_is_tried_whatever_has_happened(autojump_clock: Clock, queue: Queue) -> None:
    queue.add(info("p"))
    queue.park(await queue.pop(), REFUSED)
    await queue.pop()
    assert trio.current_time() == 300


async def test_a_change_of_its_spec_is_reason_enough_but_its_status_is_not(
    autojump_clock: Clock, queue: Queue
) -> None:
    queue.add(info("p"))
    queue.park(await queue.pop(), REFUSED)
    await trio.sleep(20)
    queue.add(info("p"))
    assert queue.sizes["unschedulable"] == 1
    changed = pod("p")
    changed["metadata"]["generation"] = 2
    queue.add(PodInfo(changed))
    assert queue.sizes["active"] == 1


async def test_removed_pods_never_come(autojump_clock: Clock, queue: Queue) -> None:
    queue.add(info("a"))
    queue.add(info("b"))
    queue.remove("default/a")
    assert (await queue.pop()).pod.name == "b"
    tried = queue.get("default/b")
    assert tried is not None
    queue.remove("default/b")
    queue.park(tried, REFUSED)
    queue.retry(tried)
    assert (len(queue), sum(queue.sizes.values())) == (0, 0)


async def test_a_cancelled_pop_loses_nothing(autojump_clock: Clock, queue: Queue) -> None:
    with trio.move_on_after(1):
        await queue.pop()
    queue.add(info("p"))
    assert (await queue.pop()).pod.name == "p"
