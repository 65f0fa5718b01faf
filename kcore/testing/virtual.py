"""A whole cluster inside the test, on the virtual clock: hours of cluster life in seconds.

async def test_...(autojump_clock, tmp_path):
    async with virtual_cluster(tmp_path) as cluster:
        await cluster.client.create(DEPLOYMENTS, ...)
        await trio.sleep(600)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from kcore import clock
from kcore.client import Client
from kcore.config import Config
from kcore.kernel import Kernel
from kcore.objects import Object
from kcore.objects.resources import GVR
from kcore.plugins import Plugins

TABLES: dict[str, dict[str, Any]] = {
    "store": {"use": "memory"},
    "api": {"use": "http", "port": 0},
    "controller_manager": {"use": "default"},
    "scheduler": {"use": "default"},
    "nodes": {"use": "embedded", "count": 3, "serve": False, "runtime": {"use": "fake", "sockets": False}},
}
"""All parts that need no socket; the API's is not dialled by anybody."""


@attrs.frozen
class VirtualCluster:
    kernel: Kernel
    client: Client
    """The API as an administrator."""

    @property
    def nodes(self) -> Any:
        """The part in the slot `nodes`: `stop` and `start` a node by its name."""
        return self.kernel.parts["nodes"]

    async def all(self, resource: GVR, namespace: str = "default", labels: str = "") -> list[Object]:
        return (await self.client.list(resource, namespace, label_selector=labels)).items

    async def until(self, what: Callable[[], Any], *, seconds: float = 60.0) -> float:
        """Wait until the coroutine function `what` returns something true; returns how long it took, to 0.1 s.

        Raises TimeoutError after `seconds`.
        """
        began = trio.current_time()
        while not await what():
            if trio.current_time() - began > seconds:
                raise TimeoutError(f"not within {seconds:g} s")
            await trio.sleep(0.1)
        return trio.current_time() - began


@asynccontextmanager
async def virtual_cluster(
    path: Path, *, plugins: Plugins | None = None, **tables: dict[str, Any]
) -> AsyncIterator[VirtualCluster]:
    """`TABLES`, with `tables` instead of those of the same name. Yields when every node has registered."""
    clock.use_virtual()
    kernel = Kernel(Config("test.toml", {**TABLES, **tables}, path), path, plugins=plugins)
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        cluster = VirtualCluster(kernel, kernel.parts["api"].client())
        await cluster.nodes.ready()
        yield cluster
        kernel.stop()
