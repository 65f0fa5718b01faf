"""Ways to the pods of nodes on other machines, as the Node objects tell."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from kcore.client import Client
from kcore.client.informer import Informer, Informers
from kcore.linux.network import NetworkFailure
from kcore.linux.routes import PodRoutes
from kcore.node.config import NodeConfig
from kcore.objects import Object
from kcore.objects.resources import NODES
from kcore.registry import Context

if TYPE_CHECKING:
    from kcore_nodes import NodesConfig

AGAIN_SECONDS = 10.0  # after which what failed is tried again

log = logging.getLogger("kcore.node")


async def keep_routes(context: Context, config: NodesConfig, own: dict[str, NodeConfig]) -> None:
    """Until cancelled; then the routes are taken away. A killed process leaves them, for its pods to go on."""
    first = next(iter(own.values()))
    routes = PodRoutes(config.pod_routes, first.address, first.pod_cidr)
    async with _client(context, config.pod_routes_kubeconfig) as client, trio.open_nursery() as nursery:
        informers = Informers(client)
        nodes, changed = informers.get(NODES), _Changed()
        nodes.on_change(changed)
        await nursery.start(informers.run)
        await nodes.synced.wait()
        try:
            await _open(routes)
            while True:
                seen = changed.event
                failed = await routes.apply(peers(nodes, own))
                for text in failed:
                    log.warning("%s", text)
                with trio.move_on_after(AGAIN_SECONDS if failed else float("inf")):
                    await seen.wait()
        finally:
            with trio.CancelScope(shield=True):
                await routes.close()


@asynccontextmanager
async def _client(context: Context, path: str) -> AsyncIterator[Client]:
    """A node by itself may read no node but itself, so somebody else asks there."""
    if not path:
        yield context.client()
        return
    from kcore import kubeconfig
    from kcore.client import remote

    async with remote.connect(kubeconfig.load(context.file(path))) as client:
        yield client


async def _open(routes: PodRoutes) -> None:
    while True:
        try:
            await routes.open()
            return
        except NetworkFailure as error:
            log.warning("%s", error)
            await trio.sleep(AGAIN_SECONDS)


def peers(nodes: Informer, own: dict[str, NodeConfig]) -> dict[str, str]:
    """podCIDR -> address, of every node that is not on this machine."""
    here = {config.address for config in own.values()}
    found = {}
    for node in nodes.items():
        cidr, address = (node.get("spec") or {}).get("podCIDR"), _address(node)
        if cidr and address and address not in here and node["metadata"]["name"] not in own:
            found[cidr] = address
    return found


def _address(node: Object) -> str:
    addresses = (node.get("status") or {}).get("addresses") or ()
    return next((a["address"] for a in addresses if a["type"] == "InternalIP"), "")


class _Changed:
    """Tells whoever waits that some node has changed."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def __call__(self, old: Object | None, new: Object | None) -> None:
        self.event.set()
        self.event = trio.Event()
