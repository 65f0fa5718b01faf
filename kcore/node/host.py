"""What all nodes of a process share, so that a thousand of them cost little more than three.

One informer of pods, dispatched by spec.nodeName; one queue of work; one heap of timers; one recorder of events. A
process with a single node follows only that node's pods.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore.client import Client
from kcore.client.events import Recorder
from kcore.client.informer import Informer, Informers
from kcore.node.events import NodeEvents
from kcore.node.references import References
from kcore.node.services import Services
from kcore.node.work import Work
from kcore.objects import Object
from kcore.objects.resources import PODS, SERVICES
from kcore.registry import Cluster
from kcore.timers import Timers

if TYPE_CHECKING:
    from kcore.node.agent import Agent


log = logging.getLogger("kcore.node")


@attrs.define(eq=False)
class Host:
    """Made by `open_host`."""

    client: Client
    cluster: Cluster
    nursery: trio.Nursery
    timers: Timers
    work: Work
    events: NodeEvents
    references: References
    services: Services
    pods: Informer
    dns_servers: tuple[str, ...] = ()
    agents: dict[str, Agent] = attrs.Factory(dict)

    def dispatch(self, old: Object | None, new: Object | None) -> None:
        """A pod has changed."""
        pod = new if new is not None else old
        assert pod is not None
        agent = self.agents.get(pod["spec"].get("nodeName", ""))
        if agent is not None:
            agent.pod_changed(old, new)

    def spawn(self, task: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run something that takes time. A mistake in it is logged, and is not the end of all nodes."""

        async def guarded() -> None:
            try:
                await task(*args)
            except Exception:
                log.exception("%s failed", getattr(task, "__qualname__", task))

        self.nursery.start_soon(guarded)

    async def synced(self) -> None:
        """Until pods and services are known."""
        await self.pods.synced.wait()


def _node_of(pod: Object) -> tuple[str, ...]:
    name = pod["spec"].get("nodeName")
    return (name,) if name else ()


@asynccontextmanager
async def open_host(
    client: Client, cluster: Cluster, *, only: str = "", dns_servers: tuple[str, ...] = (), concurrency: int = 64
) -> AsyncIterator[Host]:
    """`only` names the single node of this process, if it is one; `concurrency` bounds the API calls under way."""
    async with trio.open_nursery() as nursery:
        timers, informers = Timers(), Informers(client)
        work = Work(nursery, timers, concurrency)
        recorder = Recorder(client, "kubelet")
        pods = informers.get(PODS, field_selector=f"spec.nodeName={only}" if only else "")
        pods.add_index("node", _node_of)
        services = informers.get(SERVICES)
        host = Host(
            client,
            cluster,
            nursery,
            timers,
            work,
            NodeEvents(recorder),
            References(informers, work),
            Services(services),
            pods,
            dns_servers,
        )
        pods.on_change(host.dispatch)
        nursery.start_soon(timers.run)
        await nursery.start(recorder.run)
        await nursery.start(informers.run)
        try:
            yield host
        finally:
            nursery.cancel_scope.cancel()
