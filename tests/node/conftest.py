"""A node on a cluster of nothing but state, under the virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from kcore_runtime_fake import FakeConfig, open_fake

from kcore import clock
from kcore.node.agent import Agent
from kcore.node.config import NodeConfig
from kcore.node.host import Host, open_host
from kcore.objects import Object
from kcore.objects.resources import EVENTS, PODS
from kcore.registry import Cluster
from kcore.runtime import Runtime
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient, cluster_client


def pod(name: str = "web", *, node: str = "node-1", containers: Any = None, **spec: Any) -> Object:
    """A pod as the API would hand it to a node."""
    annotations = spec.pop("annotations", {})
    containers = containers if containers is not None else [{"name": "app", "image": "app:1"}]
    spec = {"nodeName": node, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, **spec}
    metadata = {"name": name, "annotations": annotations, "labels": {"app": name}}
    return {"metadata": metadata, "spec": {"containers": containers, **spec}}


@attrs.define
class World:
    """The cluster's client, the node, and ways to wait for what should happen."""

    client: MemoryClient
    host: Host
    engine: Runtime
    agent: Agent

    async def create(self, obj: Object) -> Object:
        return await self.client.create(PODS, obj, "default")

    async def get(self, name: str = "web") -> Object:
        return await self.client.get(PODS, name, "default")

    async def until(self, condition: Callable[[Object], Any], name: str = "web", within: float = 600) -> Object:
        """The pod, as soon as it fulfils the condition."""
        page = await self.client.list(PODS, "default", field_selector=f"metadata.name={name}")
        for found in page.items:
            if condition(found):
                return found
        with trio.fail_after(within):
            async with self.client.watch(
                PODS, "default", resource_version=page.resource_version, field_selector=f"metadata.name={name}"
            ) as events:
                async for event in events:
                    if event.type != "DELETED" and condition(event.object):
                        return event.object
        raise AssertionError

    async def until_gone(self, name: str = "web", within: float = 600) -> None:
        page = await self.client.list(PODS, "default", field_selector=f"metadata.name={name}")
        if not page.items:
            return
        with trio.fail_after(within):
            async with self.client.watch(
                PODS, "default", resource_version=page.resource_version, field_selector=f"metadata.name={name}"
            ) as events:
                async for event in events:
                    if event.type == "DELETED":
                        return

    async def events(self) -> list[tuple[str, str]]:
        """(reason, message) of all events so far."""
        await trio.sleep(1)
        return [(e["reason"], e["message"]) for e in (await self.client.list(EVENTS)).items]


@asynccontextmanager
async def world(tmp_path: Path, **config: Any) -> AsyncIterator[World]:
    clock.use_virtual()
    capacity = config.pop("capacity", {"cpu": "4", "memory": "8Gi", "pods": "110"})
    fake = FakeConfig(sockets=config.pop("sockets", False), **config)
    async with (
        cluster_client() as client,
        open_fake(TestContext(tmp_path), fake) as engine,
        open_host(client, Cluster()) as host,
    ):
        node = NodeConfig("node-1", "127.90.0.1", "127.100.0.0/24", capacity=capacity)
        agent = Agent(host, engine, node)
        await agent.start()
        yield World(client, host, engine, agent)


@pytest.fixture
async def cluster(autojump_clock: Any, tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def phase(wanted: str) -> Callable[[Object], bool]:
    return lambda p: p.get("status", {}).get("phase") == wanted


def ready(p: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in p.get("status", {}).get("conditions", ()))


def container(p: Object, name: str = "app") -> Object:
    """The status of a container."""
    status = p.get("status", {})
    for member in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for c in status.get(member, ()):
            if c["name"] == name:
                return dict(c)
    return {}


def waiting(reason: str, name: str = "app") -> Callable[[Object], bool]:
    return lambda p: container(p, name).get("state", {}).get("waiting", {}).get("reason") == reason
