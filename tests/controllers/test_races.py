"""Decisions on stale views: informers of different kinds run behind each other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock

from kcore.client import WatchEvent
from kcore.objects import meta
from kcore.objects.resources import CONFIGMAPS, GVR, PODS, REPLICASETS
from kcore.testing.client import MemoryClient

from .conftest import Start
from .objects import replicaset


class Lagging(MemoryClient):
    """Events of pods come `lag` seconds late."""

    lag = 0.0

    @asynccontextmanager
    async def watch(self, resource: GVR, *args: Any, **options: Any) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        async with super().watch(resource, *args, **options) as events:

            async def late() -> AsyncIterator[WatchEvent]:
                async for event in events:
                    if resource == PODS:
                        await trio.sleep(self.lag)
                    yield event

            stream = late()
            try:
                yield stream
            finally:
                await stream.aclose()  # type: ignore[attr-defined]  # an async generator, seen as an iterator


async def test_orphans_survive_although_the_collector_hears_of_their_freedom_late(
    cluster: Start, autojump_clock: MockClock
) -> None:
    client = Lagging()
    async with cluster("replicaset", "garbagecollector", client=client) as c:
        await client.create(REPLICASETS, replicaset(replicas=2))
        await c.settle()
        assert len(await c.all(PODS)) == 2
        client.lag = 5.0
        await client.delete(REPLICASETS, "web", "default", propagation="Orphan")
        await c.settle(60)
        assert await c.all(REPLICASETS) == []
        assert [p["metadata"].get("ownerReferences") for p in await c.all(PODS)] == [None, None]


async def test_owners_of_each_other_do_not_wait_for_each_other_for_ever(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("garbagecollector") as c:
        made = {}
        for name in ("a", "b"):
            made[name] = await c.client.create(CONFIGMAPS, {"metadata": {"name": name}}, "default")
        for name, owner in (("a", "b"), ("b", "a")):
            ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": meta.uid(made[owner])}
            change = {"metadata": {"ownerReferences": [{**ref, "blockOwnerDeletion": True}]}}
            await c.client.patch(CONFIGMAPS, name, change, "default")
        await c.settle(5)
        await c.client.delete(CONFIGMAPS, "a", "default", propagation="Foreground")
        await c.settle(60)
        assert await c.all(CONFIGMAPS) == []
