"""The engine, as all nodes of this process share it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from kcore.linux.network import NetworkFailure, PodNetwork
from kcore.linux.volumes import HostVolumes
from kcore.registry import Context
from kcore.runtime import NodeSetup, OnEvent, RuntimeFailure
from kcore_runtime_docker import DockerConfig, images
from kcore_runtime_docker.api import DockerApi
from kcore_runtime_docker.node import DockerNode

_CLOSING_SECONDS = 60.0


@attrs.define(eq=False)
class DockerRuntime:
    """A `kcore.runtime.Runtime`."""

    config: DockerConfig
    version: str
    _api: DockerApi
    _context: Context
    _nursery: trio.Nursery
    _pause: str
    _nodes: dict[str, DockerNode] = attrs.Factory(dict)
    handlers: tuple[str, ...] = ("",)
    name: str = "docker"
    real: bool = True

    async def node(self, setup: NodeSetup, on_event: OnEvent) -> DockerNode:
        """See `Runtime.node`."""
        cluster_cidr = self._context.cluster.pod_cidr
        try:
            network = await PodNetwork.open(
                setup.name,
                setup.pod_cidr or cluster_cidr,
                mtu=self.config.mtu,
                masquerade=self.config.masquerade,
                cluster_cidr=cluster_cidr,
            )
        except NetworkFailure as error:
            raise RuntimeFailure(str(error)) from error
        volumes = HostVolumes(self._context.data_dir / "nodes" / setup.name)
        node = DockerNode(self.config, self._api, setup, on_event, network, volumes, self._pause)
        await self._nursery.start(node.watch)
        self._nodes[setup.name] = node
        return node

    async def close(self) -> None:
        """The cluster goes down: nothing of its pods is left on the machine."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSING_SECONDS):
            async with trio.open_nursery() as nursery:
                for node in self._nodes.values():
                    nursery.start_soon(node.take_down)


@asynccontextmanager
async def open_engine(context: Context, config: DockerConfig) -> AsyncIterator[DockerRuntime]:
    api = DockerApi(config.socket, config.timeout)
    try:
        version = await api.call("GET", "/version")
        info = await api.call("GET", "/info")
        pause = await images.pause_image(api, config.pause_image)
        async with trio.open_nursery() as nursery:
            engine = DockerRuntime(config, version["Version"], api, context, nursery, pause)
            engine.handlers = ("", *sorted(info.get("Runtimes") or ()))
            try:
                yield engine
            finally:
                await engine.close()
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await api.aclose()
