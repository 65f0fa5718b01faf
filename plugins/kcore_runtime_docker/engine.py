"""The engine, as all nodes of this process share it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from kcore.errors import UserError
from kcore.linux.network import NetworkFailure, PodNetwork
from kcore.linux.volumes import HostVolumes
from kcore.registry import Context
from kcore.runtime import NodeSetup, OnEvent, RuntimeFailure
from kcore_runtime_docker import DockerConfig, images
from kcore_runtime_docker.api import DockerApi
from kcore_runtime_docker.node import DockerNode

_PROGRAMS = ("ip", "iptables", "iptables-restore", "nsenter")
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

    @property
    def socket(self) -> str:
        """Where images may be loaded: the engine's own API."""
        return self.config.socket

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


def _require(engine: str) -> None:
    """Raises UserError with what is missing, and what to do about it."""
    if os.geteuid() != 0:
        raise UserError(
            "real pods need root, for their network: run it with sudo, or use `kcore up -c dev`, which needs neither"
        )
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"real pods need {', '.join(missing)}, not found here: install the packages iproute2, iptables, util-linux"
        )
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(engine)
    except OSError as error:
        raise UserError(
            f"no Docker engine answers at {engine} ({error.strerror or error}): install Docker and start it "
            "(`apt install docker.io`), or name its socket with --set nodes.runtime.socket=PATH"
        ) from error


@asynccontextmanager
async def open_engine(context: Context, config: DockerConfig) -> AsyncIterator[DockerRuntime]:
    _require(config.socket)
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
