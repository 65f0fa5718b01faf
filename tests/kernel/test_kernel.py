"""Parts open in order, are supervised, are swapped, and close in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from kcore import Provider, hookimpl
from kcore.config import Config
from kcore.errors import ConfigError, KcoreError, ServiceUnavailable, UserError
from kcore.kernel import Kernel
from kcore.plugins import Plugins


@attrs.frozen
class PartConfig:
    fails: bool = False


@attrs.define
class Part:
    name: str
    crash: trio.Event

    def client(self, user: Any) -> Any:
        return self


class World:
    """A plugin whose parts write down what happens to them."""

    def __init__(self) -> None:
        self.history: list[str] = []
        self.parts: list[Part] = []

    def provider(self, seam: str, name: str, *, exclusive: bool = False) -> Provider[Part]:
        @asynccontextmanager
        async def open(context: Any, config: PartConfig) -> AsyncIterator[Part]:
            if config.fails:
                raise KcoreError(f"{name} cannot open")
            part = Part(name, trio.Event())
            self.history.append(f"open {name}")
            self.parts.append(part)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_crash, part)
                    yield part
                    nursery.cancel_scope.cancel()
            finally:
                self.history.append(f"close {name}")

        return Provider(name, open, PartConfig, exclusive=exclusive)

    async def _until_crash(self, part: Part) -> None:
        await part.crash.wait()
        raise RuntimeError(f"{part.name} broke")

    @hookimpl
    def kcore_store(self) -> list[Provider[Part]]:
        return [self.provider("store", "memory")]

    @hookimpl
    def kcore_api(self) -> list[Provider[Part]]:
        return [self.provider("api", "http", exclusive=True), self.provider("api", "other", exclusive=True)]

    @hookimpl
    def kcore_scheduler(self) -> list[Provider[Part]]:
        return [self.provider("scheduler", "default"), self.provider("scheduler", "better")]


TABLES = {"store": {"use": "memory"}, "api": {"use": "http"}, "scheduler": {"use": "default"}}


class NoEntryPoints(Plugins):
    def __init__(self, world: World):
        super().__init__()
        self._found = {}
        self.register(world, "world")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make(world: World, tmp_path: Path) -> Callable[..., Kernel]:
    def make(**tables: dict[str, object]) -> Kernel:
        return Kernel(Config("test.toml", {**TABLES, **tables}, tmp_path), tmp_path, plugins=NoEntryPoints(world))

    return make


async def test_parts_open_in_order_and_close_in_reverse(make: Callable[..., Kernel], world: World) -> None:
    kernel = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        kernel.stop()
    assert world.history == [
        *("open memory", "open http", "open default"),
        *("close default", "close http", "close memory"),
    ]


async def test_a_first_opening_that_fails_closes_what_was_open(make: Callable[..., Kernel], world: World) -> None:
    kernel = make(scheduler={"use": "default", "fails": True})
    with pytest.raises(KcoreError, match="default cannot open"):
        await kernel.run()
    assert world.history == ["open memory", "open http", "close http", "close memory"]


async def test_a_crashed_part_is_opened_again_and_counted(
    make: Callable[..., Kernel], world: World, autojump_clock: trio.testing.MockClock
) -> None:
    kernel = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        world.parts[2].crash.set()
        await trio.testing.wait_all_tasks_blocked()
        assert kernel.slots["scheduler"].state == "failed"
        assert "broke" in kernel.slots["scheduler"].error
        await trio.sleep(1)
        assert kernel.slots["scheduler"].state == "open"
        assert b'kcore_part_restarts_total{part="scheduler",provider="default"} 1.0' in kernel.metrics.expose()
        kernel.stop()


async def test_back_off_grows_while_a_part_keeps_crashing(
    make: Callable[..., Kernel], world: World, autojump_clock: trio.testing.MockClock
) -> None:
    kernel = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        for _ in range(5):
            world.parts[-1].crash.set()
            before = len(world.parts)
            while len(world.parts) == before:  # noqa: ASYNC110  # on the virtual clock; the kernel has no event for it
                await trio.sleep(0.1)
        assert trio.current_time() >= 0.2 + 0.4 + 0.8 + 1.6 + 3.2
        kernel.stop()


async def test_the_failure_of_the_store_ends_the_process(make: Callable[..., Kernel], world: World) -> None:
    kernel = make()

    async def run_until_the_store_breaks() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(kernel.run)
            world.parts[0].crash.set()

    with pytest.RaisesGroup(pytest.RaisesExc(KcoreError, match="the store has failed: memory broke")):
        await run_until_the_store_breaks()
    assert world.history[-2:] == ["close default", "close http"]


async def test_a_swap_opens_the_new_part_before_the_old_one_closes(make: Callable[..., Kernel], world: World) -> None:
    kernel = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        await kernel.swap("scheduler", {"use": "better"})
        assert world.history[3:] == ["open better", "close default"]
        assert kernel.parts["scheduler"].name == "better"
        kernel.stop()


async def test_an_exclusive_part_closes_before_its_successor_opens(make: Callable[..., Kernel], world: World) -> None:
    kernel = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        await kernel.swap("api", {"use": "other"})
        assert world.history[3:] == ["close http", "open other"]
        kernel.stop()


@pytest.mark.parametrize(("slot", "provider"), [("scheduler", "better"), ("api", "other")])
async def test_a_swap_to_something_that_fails_leaves_the_old_kind_serving(
    make: Callable[..., Kernel], world: World, slot: str, provider: str
) -> None:
    kernel = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        old = kernel.parts[slot].name
        with pytest.raises(KcoreError, match="cannot open"):
            await kernel.swap(slot, {"use": provider, "fails": True})
        assert kernel.parts[slot].name == old
        assert kernel.slots[slot].state == "open"
        kernel.stop()


async def test_a_swap_refuses_bad_settings_unknown_slots_and_the_store(make: Callable[..., Kernel]) -> None:
    kernel = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        with pytest.raises(ConfigError, match="fals: no such setting; did you mean 'fails'"):
            await kernel.swap("scheduler", {"use": "better", "fals": True})
        with pytest.raises(UserError, match="no slot 'proxy'"):
            await kernel.swap("proxy", {"use": "x"})
        with pytest.raises(UserError, match="cannot be swapped"):
            await kernel.swap("store", {"use": "memory"})
        kernel.stop()


async def test_a_client_survives_a_swap_of_the_api(make: Callable[..., Kernel]) -> None:
    kernel = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        client = kernel.client("scheduler", None)
        assert client.name == "http"
        await kernel.swap("api", {"use": "other"})
        assert client.name == "other"
        kernel.slots["api"].part = None
        with pytest.raises(ServiceUnavailable):
            _ = client.name
        kernel.stop()


def test_all_mistakes_of_all_tables_are_told_at_once(make: Callable[..., Kernel]) -> None:
    with pytest.raises(ConfigError) as caught:
        make(store={"use": "memroy"}, api={"use": "http", "x": 1}, scheduler={"use": "default", "fails": 1})
    assert len(caught.value.problems) == 3
    assert "test.toml: scheduler.fails: 1 is not true or false" in caught.value.problems
