"""Opens the policies of each profile, then the scheduler that runs them."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import trio

from kcore import Context
from kcore.scheduler.metrics import SchedulerMetrics
from kcore.scheduler.profile import Profile, Weighted
from kcore.scheduler.scheduler import Scheduler, Settings
from kcore_scheduler.lists import entries

if TYPE_CHECKING:
    from kcore_scheduler import Config


@asynccontextmanager
async def open_part(context: Context, config: Config) -> AsyncIterator[Part]:
    """Yields the running scheduler; with leader election it may be waiting for the lease."""
    async with AsyncExitStack() as stack:
        profiles = {config.name: await _profile(context, stack, config.name, config.policies, "scheduler.policies")}
        for name, items in config.profiles.items():
            profiles[name] = await _profile(context, stack, name, items, f"scheduler.profiles.{name}")
        part = Part(context, config, profiles)
        async with trio.open_nursery() as nursery:
            if config.leader_elect:
                from kcore.client.leader import LeaderElector

                identity = f"{socket.gethostname()}_{secrets.token_hex(8)}"
                elector = LeaderElector(context.client(), "kube-scheduler", identity)
                nursery.start_soon(elector.run, part.run)
            else:
                await nursery.start(part.run)
            yield part
            nursery.cancel_scope.cancel()


class Part:
    """The scheduler of this process: a new one for each time that it leads."""

    def __init__(self, context: Context, config: Config, profiles: dict[str, Profile]) -> None:
        self._context, self._profiles = context, profiles
        self._settings = Settings(config.parallel_binds, config.seed)
        self._metrics = SchedulerMetrics(context.metrics)
        self.scheduler: Scheduler | None = None
        """The one at work; None while another process leads."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.scheduler = Scheduler(
            self._context.client(),
            self._profiles,
            metrics=self._metrics,
            log=self._context.log,
            settings=self._settings,
        )
        try:
            await self.scheduler.run(task_status)
        finally:
            self.scheduler = None


async def _profile(context: Context, stack: AsyncExitStack, name: str, items: list[object], where: str) -> Profile:
    policies = []
    for i, entry in enumerate(entries(items, where)):
        choice = context.choose("policy", entry.name, entry.args, f"{where}[{i}].args")
        policies.append(Weighted(await stack.enter_async_context(choice.open(context)), entry.weight))
    return Profile(name, policies)
