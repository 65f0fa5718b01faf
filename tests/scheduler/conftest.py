"""What the scheduler's tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import kcore_policies
import pytest
import trio
from kcore_scheduler.lists import WEIGHTS

from kcore import clock
from kcore.objects import Object, meta
from kcore.objects.resources import EVENTS, PODS
from kcore.registry import Provider
from kcore.scheduler.policy import Policy
from kcore.scheduler.profile import Weighted
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient

PROVIDERS: dict[str, Provider[Policy]] = {p.name: p for p in kcore_policies.kcore_policy()}

Opener = Callable[..., Any]


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
async def open_policy(tmp_path: Path) -> AsyncIterator[Opener]:
    """``await open_policy("NodeAffinity", added_affinity={...})``"""
    async with AsyncExitStack() as stack:

        async def open_one(name: str, **settings: Any) -> Policy:
            provider = PROVIDERS[name]
            context = TestContext(tmp_path)
            return await stack.enter_async_context(provider.open(context, provider.config(**settings)))

        yield open_one


@pytest.fixture
async def default_policies(open_policy: Opener) -> list[Weighted]:
    """Kubernetes' own, with their weights; wall time follows trio's clock."""
    clock.use_virtual()
    return [Weighted(await open_policy(name), weight) for name, weight in WEIGHTS.items()]


async def settle(seconds: float = 0.5) -> None:
    """Let everything happen that happens at once. Virtual time."""
    await trio.sleep(seconds)


async def get(client: MemoryClient, name: str) -> Object:
    return await client.get(PODS, name, "default")


async def node_of(client: MemoryClient, name: str) -> str:
    return str((await get(client, name))["spec"].get("nodeName", ""))


async def condition(client: MemoryClient, name: str) -> Object:
    found = meta.condition(await get(client, name), "PodScheduled")
    assert found is not None
    return found


async def events(client: MemoryClient, name: str) -> list[tuple[str, str, str]]:
    page = await client.list(EVENTS)
    return [(e["type"], e["reason"], e["message"]) for e in page.items if e["involvedObject"]["name"] == name]
