"""Assumed pods: confirmed, forgotten, expired."""

from __future__ import annotations

import trio
from trio.abc import Clock

from kcore.objects import Object
from kcore.scheduler.cache import EXPIRY, Cache
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.table import CPU
from kcore.testing.scheduling import node, pod


def cache() -> Cache:
    made = Cache()
    made.nodes.set_node(node("a"))
    made.nodes.set_node(node("b"))
    return made


def used(made: Cache, name: str) -> int:
    return int(made.nodes.requested[CPU, made.nodes.rows[name]])


def on(name: str, obj: Object) -> Object:
    return {**obj, "spec": {**obj["spec"], "nodeName": name}}


def test_an_assumed_pod_counts_until_it_is_forgotten() -> None:
    made, info = cache(), PodInfo(pod("p", cpu="1"))
    made.assume(info, "a")
    assert (used(made, "a"), made.is_assumed(info.key)) == (1000, True)
    made.forget(info)
    assert (used(made, "a"), made.pods) == (0, 0)


def test_the_watch_confirms_it_and_a_late_failure_then_changes_nothing() -> None:
    made, obj = cache(), pod("p", cpu="1")
    info = PodInfo(obj)
    made.assume(info, "a")
    assert made.pod_set(on("a", obj))[0] == {"added"}
    made.forget(info)
    assert used(made, "a") == 1000


def test_if_the_watch_shows_another_node_the_watch_is_right() -> None:
    made, obj = cache(), pod("p", cpu="1")
    made.assume(PodInfo(obj), "a")
    made.pod_set(on("b", obj))
    assert (used(made, "a"), used(made, "b")) == (0, 1000)


def test_a_status_of_a_known_pod_is_no_news_but_its_labels_and_requests_are() -> None:
    made, obj = cache(), on("a", pod("p", cpu="1"))
    made.pod_set(obj)
    running = {**obj, "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}}
    what, info = made.pod_set(running)
    assert (what, info.started) == (frozenset(), 1767225600.0)
    bigger = on("a", pod("p", cpu="2", labels={"x": "y"}))
    bigger["metadata"]["generation"] = 2
    assert made.pod_set(bigger)[0] == {"labels", "requests"}
    assert used(made, "a") == 2000


async def test_confirmed_at_once_it_never_expires(autojump_clock: Clock) -> None:
    made, obj = cache(), pod("p", cpu="1")
    async with trio.open_nursery() as nursery:
        expired: list[str] = []

        @nursery.start_soon
        async def expire() -> None:
            expired.append(await made.next_expired())

        await trio.sleep(1)
        made.assume(PodInfo(obj), "a")
        made.bound("default/p")
        made.pod_set(on("a", obj))  # before the waiting task has its turn
        await trio.sleep(2 * EXPIRY)
        assert expired == []
        other = pod("q", cpu="1")
        made.assume(PodInfo(other), "b")
        made.bound("default/q")
        await trio.sleep(EXPIRY + 1)
        assert (expired, used(made, "b")) == (["default/q"], 0)
