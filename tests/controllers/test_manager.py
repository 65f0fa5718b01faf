"""The controller manager: choice, isolation, leader election."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kcore_controllers
import pytest
import trio
from kcore_controllers import ManagerConfig
from kcore_controllers.catalogue import providers
from kcore_controllers.manager import choose
from trio.testing import MockClock

from kcore import clock
from kcore.errors import ConfigError
from kcore.objects import meta
from kcore.objects.resources import LEASES, PODS, REPLICASETS
from kcore.registry import Choice, NoConfig, Provider
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient

from .objects import replicaset


def context(path: Path) -> TestContext:
    return TestContext(path, name="controllers", api=MemoryClient())


async def test_the_default_runs_everything_and_pods_come(tmp_path: Path, autojump_clock: MockClock) -> None:
    clock.use_virtual()
    c = context(tmp_path)
    (offer,) = kcore_controllers.kcore_controller_manager()
    async with offer.open(c, ManagerConfig()) as manager:
        await trio.sleep(5)
        assert set(manager.running) == {p.name for p in providers()}
        await c.api.create(REPLICASETS, replicaset(replicas=2))
        await trio.sleep(5)
        assert len((await c.api.list(PODS)).items) == 2
        text = c.metrics.expose().decode()
        assert 'workqueue_adds_total{name="replicaset"}' in text


def test_names_are_chosen_as_upstream_does(tmp_path: Path) -> None:
    c = context(tmp_path)
    everything = choose(c, ManagerConfig())
    assert {p.name for p in kcore_controllers.kcore_controller()} == set(everything)
    fewer = choose(c, ManagerConfig(controllers=["*", "-deployment"]))
    assert set(everything) - set(fewer) == {"deployment"}
    assert set(choose(c, ManagerConfig(controllers=["job", "cronjob"]))) == {"job", "cronjob"}
    with pytest.raises(ConfigError, match=r"settings\.podgc"):
        choose(c, ManagerConfig(controllers=["job"], settings={"podgc": {"threshold": 5}}))


async def test_a_crashing_controller_is_opened_again_and_disturbs_nobody(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.use_virtual()
    c = context(tmp_path)
    opened = 0

    @asynccontextmanager
    async def broken(context: Any, config: Any) -> AsyncIterator[None]:
        nonlocal opened
        opened += 1

        async def crash() -> None:
            await trio.sleep(1)
            raise ValueError("bug")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            yield

    c.choices["controller", "broken"] = Choice(Provider("broken", broken), NoConfig())
    (offer,) = kcore_controllers.kcore_controller_manager()
    async with offer.open(c, ManagerConfig(controllers=["replicaset", "broken"])):
        await c.api.create(REPLICASETS, replicaset(replicas=1))
        await trio.sleep(60)
        assert 3 <= opened <= 8
        assert len((await c.api.list(PODS)).items) == 1
        assert 'kcore_controller_restarts_total{name="broken"}' in c.metrics.expose().decode()
    assert "controller broken failed" in caplog.text


async def test_only_the_leader_works(tmp_path: Path, autojump_clock: MockClock) -> None:
    clock.use_virtual()
    c = context(tmp_path)
    (offer,) = kcore_controllers.kcore_controller_manager()
    config = ManagerConfig(controllers=["replicaset"], leader_elect=True)
    async with offer.open(c, config) as first, offer.open(c, config) as second:
        await trio.sleep(30)
        assert sorted(len(m.running) for m in (first, second)) == [0, 1]
        lease = await c.api.get(LEASES, "kube-controller-manager", "kube-system")
        assert lease["spec"]["leaseDurationSeconds"] == 15
        assert meta.name(lease) == "kube-controller-manager"
