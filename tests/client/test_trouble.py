"""What clients do while the API is away, or hangs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock

from kcore import clock
from kcore.client import WatchEvent
from kcore.client.informer import Informers
from kcore.client.leader import LeaderElector
from kcore.errors import ServiceUnavailable
from kcore.objects import Object
from kcore.objects.resources import GVR, PODS
from kcore.testing.client import MemoryClient


class Away(MemoryClient):
    """An API that can go away while it is watched, or hang."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0
        self.away = self.hangs = False

    @asynccontextmanager
    async def watch(self, resource: GVR, *args: Any, **options: Any) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        self.attempts += 1
        if self.away:
            raise ServiceUnavailable("away")
        async with super().watch(resource, *args, **options) as events:

            async def until_away() -> AsyncIterator[WatchEvent]:
                with trio.move_on_after(60):
                    async for event in events:
                        yield event

            stream = until_away()
            try:
                yield stream
            finally:
                await stream.aclose()  # type: ignore[attr-defined]  # an async generator, seen as an iterator

    async def get(self, resource: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        if self.hangs:
            await trio.sleep(3600)
        return await super().get(resource, name, namespace, subresource=subresource)


async def test_an_informer_asks_less_and_less_often_while_the_api_is_away(autojump_clock: MockClock) -> None:
    client = Away()
    informers = Informers(client)
    pods = informers.get(PODS)
    async with trio.open_nursery() as nursery:
        await nursery.start(informers.run)
        await pods.synced.wait()
        client.away = True
        await trio.sleep(100)
        client.attempts = 0
        await trio.sleep(600)
        assert 600 / 45 - 1 <= client.attempts <= 60
        client.away = False
        await client.create(PODS, {"metadata": {"name": "late"}}, "default")
        await trio.sleep(50)
        assert pods.get("default/late") is not None
        nursery.cancel_scope.cancel()


async def test_a_leader_whose_api_hangs_stops_before_another_takes_over(autojump_clock: MockClock) -> None:
    clock.use_virtual()
    client = Away()
    stopped: list[float] = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            stopped.append(trio.current_time())

    elector = LeaderElector(client, "scheduler", "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(elector.run, work)
        await trio.sleep(30)
        assert elector.leading
        client.hangs = True
        hung = trio.current_time()
        await trio.sleep(20)
        assert stopped
        assert stopped[0] - hung < elector.timing.lease
        nursery.cancel_scope.cancel()
