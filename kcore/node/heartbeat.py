"""A node's signs of life: its Lease, renewed often, and its status, reported seldom (Kubernetes docs, "Nodes").

Both are jobs that put themselves into the queue again. Nodes of one process have their turns spread over the period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from kcore import clock
from kcore.errors import AlreadyExists, Conflict, NotFound
from kcore.node.nodestatus import node_status
from kcore.node.work import Job
from kcore.objects import Object, meta
from kcore.objects.resources import LEASES, NODES

if TYPE_CHECKING:
    from kcore.node.agent import Agent

NAMESPACE = "kube-node-lease"


class Heartbeat(Job):
    """Renews the node's Lease in kube-node-lease."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self._agent = agent
        self._lease: Object | None = None
        self._renewed_at = 0.0

    def __repr__(self) -> str:
        return f"<lease of {self._agent.name}>"

    async def run(self) -> None:
        agent = self._agent
        if agent.dead:
            return
        first, client = self._lease is None, agent.host.client
        try:
            if self._lease is None:
                self._lease = await self._claim()
            else:
                with agent.measures.request("PUT"):
                    self._lease = await client.update(LEASES, self._renewed(self._lease))
        except (Conflict, NotFound):
            self._lease = await self._claim()
        period, now = agent.config.heartbeat_seconds, trio.current_time()
        if not first and now - self._renewed_at > period * 2:
            agent.host.work.add(agent.report)  # it may have been given up meanwhile: only a new status ends that
        self._renewed_at = now
        agent.host.work.add_after(self, period * agent.config.phase if first and agent.config.phase else period)

    async def _claim(self) -> Object:
        """Create the Lease, or take over the one that an earlier life of the node left."""
        agent = self._agent
        lease: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": agent.name,
                "namespace": NAMESPACE,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": agent.name, "uid": meta.uid(agent.node)}
                ],
            },
            "spec": {},
        }
        try:
            return await agent.host.client.create(LEASES, self._renewed(lease), NAMESPACE)
        except AlreadyExists:
            found = await agent.host.client.get(LEASES, agent.name, NAMESPACE)
            return await agent.host.client.update(LEASES, self._renewed(found))

    def _renewed(self, lease: Object) -> Object:
        spec = {
            **lease["spec"],
            "holderIdentity": self._agent.name,
            "leaseDurationSeconds": int(self._agent.config.lease_seconds),
            "renewTime": clock.micro_timestamp(),
        }
        return {**lease, "spec": spec}


class NodeReport(Job):
    """Writes the node's status now and then, so that its times are not too old."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self._agent = agent

    def __repr__(self) -> str:
        return f"<status of {self._agent.name}>"

    async def run(self) -> None:
        agent = self._agent
        if agent.dead:
            return
        try:
            node = await agent.host.client.get(NODES, agent.name)
            old = node.get("status") or {}
            status = node_status(agent.config, old, agent.runtime_version, agent.boot_id, **agent.condition())
            if agent.real:
                status["images"] = await agent.images.told()
            agent.node = await agent.host.client.update(NODES, {**node, "status": status}, subresource="status")
        except Conflict:
            agent.host.work.add(self)
            return
        except NotFound:
            pass  # somebody deleted the node: it registers again when it is started again
        agent.host.work.add_after(self, agent.config.status_seconds)
