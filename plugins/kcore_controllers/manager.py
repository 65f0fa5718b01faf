"""Runs the controllers of the config: shared informers, isolation, restart with back-off, leader election."""

from __future__ import annotations

import random
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from kcore.client.events import Recorder
from kcore.client.informer import Informers
from kcore.client.leader import LeaderElector
from kcore.controller.base import SharedContext
from kcore.errors import ConfigError
from kcore.registry import Choice, Context
from kcore_controllers.catalogue import providers

if TYPE_CHECKING:
    from kcore_controllers import ManagerConfig

RESTART_FIRST, RESTART_MAX = 1.0, 60.0  # seconds before a crashed controller is opened again, doubling
STEADY = 600.0  # a controller that ran for so long starts again with the first delay


class Manager:
    """The open part. Its controllers share `informers`."""

    def __init__(self, context: Context, config: ManagerConfig):
        self.context, self.config = context, config
        self.informers = Informers(context.client())
        self.choices = choose(context, config)
        self.running: dict[str, Any] = {}
        """The open controllers, by name."""
        self._restarts: Any = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        if not self.config.leader_elect:
            await self._work()
            return
        identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
        elector = LeaderElector(self.context.client(), "kube-controller-manager", identity)
        await elector.run(self._work)

    async def _work(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.informers.run)
            for name, choice in self.choices.items():
                nursery.start_soon(self._keep_open, name, choice)

    async def _keep_open(self, name: str, choice: Choice) -> None:
        """One controller, isolated from the others: what escapes from it is logged, and it is opened again."""
        delay = RESTART_FIRST
        while True:
            started = trio.current_time()
            try:
                await self._open_once(name, choice)
            except Exception:
                self.context.log.exception("controller %s failed; starting it again", name)
                self._count_restart(name)
            finally:
                self.running.pop(name, None)
            if trio.current_time() - started > STEADY:
                delay = RESTART_FIRST
            await trio.sleep(delay * (0.5 + random.random()))
            delay = min(delay * 2, RESTART_MAX)

    async def _open_once(self, name: str, choice: Choice) -> None:
        recorder = Recorder(self.context.client(), f"{name}-controller")
        shared = SharedContext.of(self.context, name, self.informers, recorder, self.config.workers)
        async with trio.open_nursery() as nursery:
            await nursery.start(recorder.run)
            async with choice.open(shared) as controller:
                self.running[name] = controller
                await trio.sleep_forever()

    def _count_restart(self, name: str) -> None:
        if self._restarts is None:
            self._restarts = self.context.metrics.counter(
                "kcore_controller_restarts", "Controllers started again after a failure", ["name"]
            )
        self._restarts.labels(name).inc()


def choose(context: Context, config: ManagerConfig) -> dict[str, Choice]:
    """The controllers to run, by name. Raises ConfigError for a setting of a controller that does not run."""
    known = {p.name: p for p in providers()}
    excluded = {n[1:] for n in config.controllers if n.startswith("-")}
    wanted = [n for n in config.controllers if n != "*" and not n.startswith("-")]
    if "*" in config.controllers:
        wanted = [*known, *(n for n in wanted if n not in known)]
    wanted = [n for n in wanted if n not in excluded]
    unused = [name for name in config.settings if name not in wanted]
    if unused:
        raise ConfigError([f"settings.{name}: this controller is not among `controllers`" for name in unused])
    choices = {}
    for name in wanted:
        if name in known and name not in config.settings:
            choices[name] = Choice(known[name], known[name].config())
        else:
            settings = config.settings.get(name, {})
            choices[name] = context.choose("controller", name, settings, f"settings.{name}")
    return choices


@asynccontextmanager
async def open_manager(context: Context, config: ManagerConfig) -> AsyncIterator[Manager]:
    manager = Manager(context, config)
    async with trio.open_nursery() as nursery:
        await nursery.start(manager.run)
        yield manager
        nursery.cancel_scope.cancel()
