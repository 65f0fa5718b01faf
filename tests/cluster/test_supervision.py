"""A part that crashes is opened again with back-off and counted; the others do not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from kcore import Context, Provider, hookimpl
from kcore.objects.resources import CONFIGMAPS, PODS
from kcore.operations import describe
from kcore.plugins import Plugins
from kcore.testing.virtual import virtual_cluster


@attrs.frozen
class ShakyConfig:
    """``[proxy] use = "shaky"``"""

    lives: float = 10.0
    """Seconds from its opening to its crash."""


class Shaky:
    """A plugin of somebody else, whose proxy does not live long."""

    def __init__(self) -> None:
        self.opened: list[float] = []

    @asynccontextmanager
    async def open(self, context: Context, config: ShakyConfig) -> AsyncIterator[object]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._live, config.lives)
            self.opened.append(trio.current_time())
            yield object()
            nursery.cancel_scope.cancel()

    async def _live(self, seconds: float) -> None:
        await trio.sleep(seconds)
        raise RuntimeError("out of luck")

    @hookimpl
    def kcore_proxy(self) -> Iterable[Provider[Any]]:
        return [Provider("shaky", self.open, ShakyConfig)]


@pytest.fixture
def shaky() -> Shaky:
    return Shaky()


def plugins(shaky: Shaky) -> Plugins:
    found = Plugins()
    found.register(shaky, "proxy-shaky")
    return found


async def test_a_crashed_part_comes_back_and_is_counted(
    autojump_clock: MockClock, tmp_path: Path, shaky: Shaky, caplog: pytest.LogCaptureFixture
) -> None:
    async with virtual_cluster(tmp_path, plugins=plugins(shaky), proxy={"use": "shaky"}) as cluster:
        await trio.sleep(15)
        parts = {p["slot"]: p for p in describe(cluster.kernel)["parts"]}
        assert (parts["proxy"]["state"], parts["proxy"]["restarts"]) == ("open", 1)
        assert {p["restarts"] for slot, p in parts.items() if slot != "proxy"} == {0}
        assert b'kcore_part_restarts_total{part="proxy",provider="shaky"} 1.0' in cluster.kernel.metrics.expose()
    crashed = [r for r in caplog.records if "proxy (shaky) crashed: out of luck" in r.getMessage()]
    assert len(crashed) == 1
    assert crashed[0].exc_info, "with the traceback"


async def test_a_part_that_crashes_again_and_again_is_left_alone_for_longer_each_time(
    autojump_clock: MockClock, tmp_path: Path, shaky: Shaky
) -> None:
    table = {"use": "shaky", "lives": 0.0}
    async with virtual_cluster(tmp_path, plugins=plugins(shaky), proxy=table):
        await trio.sleep(300)
    pauses = [round(b - a, 1) for a, b in zip(shaky.opened, shaky.opened[1:], strict=False)]
    assert pauses[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]
    assert set(pauses[8:]) == {30.0}


async def test_while_a_part_is_down_it_says_why_and_the_others_work(
    autojump_clock: MockClock, tmp_path: Path, shaky: Shaky
) -> None:
    table = {"use": "shaky", "lives": 0.0}
    async with virtual_cluster(tmp_path, plugins=plugins(shaky), proxy=table) as cluster:
        await trio.sleep(100)
        part = {p["slot"]: p for p in describe(cluster.kernel)["parts"]}["proxy"]
        assert (part["state"], part["error"]) == ("failed", "out of luck")
        await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "default"}})
        containers = [{"name": "c", "image": "nginx"}]
        pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": containers}}
        await cluster.client.create(PODS, pod)

        async def runs() -> bool:
            found = await cluster.client.get(PODS, "p", "default")
            return bool(found["status"]["phase"] == "Running")

        await cluster.until(runs)


async def test_a_failed_part_can_be_replaced(autojump_clock: MockClock, tmp_path: Path, shaky: Shaky) -> None:
    table = {"use": "shaky", "lives": 0.0}
    async with virtual_cluster(tmp_path, plugins=plugins(shaky), proxy=table) as cluster:
        await trio.sleep(100)
        await cluster.kernel.swap("proxy", {"use": "shaky", "lives": 1e9})
        await trio.sleep(100)
        part = {p["slot"]: p for p in describe(cluster.kernel)["parts"]}["proxy"]
        assert (part["state"], part["error"]) == ("open", "")
        opened = len(shaky.opened)
        await trio.sleep(1000)
        assert len(shaky.opened) == opened, "the old one is not tried again"
