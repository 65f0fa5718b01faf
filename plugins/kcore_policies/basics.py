"""The order of the queue, scheduling gates, and the binding itself."""

from __future__ import annotations

from typing import Any

from kcore.client import Client
from kcore.objects.resources import PODS
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Handle, Policy


class PrioritySort(Policy):
    """Higher priority first, then who came first."""

    name = "PrioritySort"

    def key(self, pod: PodInfo, since: float) -> Any:
        return (-pod.priority, since)


class SchedulingGates(Policy):
    """A pod with gates waits until all are removed."""

    name = "SchedulingGates"

    def gate(self, pod: PodInfo) -> str:
        return "Scheduling is blocked due to non-empty scheduling gates" if pod.gates else ""


class DefaultBinder(Policy):
    """Writes the decision through the pod's ``binding`` subresource."""

    name = "DefaultBinder"
    _client: Client

    def attach(self, handle: Handle) -> None:
        self._client = handle.client

    async def bind(self, pod: PodInfo, node: str) -> bool:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        }
        await self._client.create(PODS, binding, pod.namespace, name=pod.name, subresource="binding")
        return True
