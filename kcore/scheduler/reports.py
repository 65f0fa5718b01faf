"""What the scheduler tells people: events and the status of pods it could not place.

Both are written by a few tasks, from bounded memories, so that a flood of decisions never waits for them. Events
have the form of events.k8s.io (action, reportingController, series); the same event again grows its series.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

import attrs
import trio

from kcore import clock
from kcore.client import STRATEGIC_PATCH, Client
from kcore.errors import ApiError, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import EVENTS, PODS
from kcore.scheduler.pods import PodInfo

EVENT_QUEUE = 20_000  # events waiting to be written; more are dropped and counted
REMEMBERED = 4096
WRITERS = 4


@attrs.frozen
class _Event:
    pod: PodInfo
    type: str
    reason: str
    action: str
    message: str
    at: float

    @property
    def key(self) -> tuple[str, ...]:
        return (self.pod.uid, self.pod.key, self.type, self.reason, self.message)


class Events:
    """Events about pods. `run` writes them."""

    def __init__(self, client: Client, component: str, log: logging.Logger) -> None:
        self._client, self._component, self._log = client, component, log
        self._send, self._receive = trio.open_memory_channel[_Event](EVENT_QUEUE)
        self._written: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()  # name, count
        self._stamp = 0
        self.dropped = 0

    def say(self, pod: PodInfo, type: str, reason: str, action: str, message: str) -> None:
        """Never waits. `type` is Normal or Warning."""
        try:
            self._send.send_nowait(_Event(pod, type, reason, action, message[:1024], clock.now()))
        except trio.WouldBlock:
            self.dropped += 1

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(WRITERS):
                nursery.start_soon(self._write)

    async def _write(self) -> None:
        async for event in self._receive:
            try:
                await self._record(event)
            except (ApiError, OSError) as error:
                self._log.debug("event about %s not written: %s", event.pod.key, error)

    async def _record(self, event: _Event) -> None:
        known = self._written.get(event.key)
        if known is not None:
            name, count = known
            series = {"count": count + 1, "lastObservedTime": clock.micro_timestamp(event.at)}
            try:
                await self._client.patch(EVENTS, name, {"series": series}, event.pod.namespace)
            except NotFound:  # it has expired
                del self._written[event.key]
            else:
                self._written[event.key] = (name, count + 1)
                return
        self._stamp = max(int(event.at * 1e9), self._stamp + 1)
        name = f"{event.pod.name}.{self._stamp:016x}"
        await self._client.create(EVENTS, self._object(event, name), event.pod.namespace)
        self._written[event.key] = (name, 1)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    def _object(self, event: _Event, name: str) -> Object:
        pod = event.pod
        involved = {
            "kind": "Pod",
            "apiVersion": "v1",
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
            "resourceVersion": meta.resource_version(pod.obj),
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": pod.namespace},
            "involvedObject": involved,
            "reason": event.reason,
            "message": event.message,
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "type": event.type,
            "eventTime": clock.micro_timestamp(event.at),
            "action": event.action,
            "reportingComponent": self._component,
            "reportingInstance": self._component,
        }


@attrs.define
class _Wanted:
    pod: PodInfo
    status: dict[str, Any]


class Statuses:
    """The status of pods that wait: the PodScheduled condition and the nominated node. The newest wish counts."""

    def __init__(self, client: Client, log: logging.Logger) -> None:
        self._client, self._log = client, log
        self._wanted: OrderedDict[str, _Wanted] = OrderedDict()
        self._wake = trio.Event()

    def refused(self, pod: PodInfo, reason: str, message: str, nominated: str | None = None) -> None:
        """Note that the pod could not be scheduled. `nominated` None leaves that field alone, "" clears it."""
        condition: dict[str, Any] = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": None,
        }
        if reason != "SchedulingGated" and meta.generation(pod.obj):
            condition["observedGeneration"] = meta.generation(pod.obj)
        old = meta.condition(pod.obj, "PodScheduled")
        changed = old is None or any(old.get(k) != condition[k] for k in ("status", "reason", "message"))
        status: dict[str, Any] = {}
        if changed:
            since = old.get("lastTransitionTime") if old and old["status"] == "False" else None
            condition["lastTransitionTime"] = since or clock.timestamp()
            status["conditions"] = [condition]
        if nominated is not None and nominated != pod.nominated:
            status["nominatedNodeName"] = nominated or None
        if status:
            self._wanted[pod.key] = _Wanted(pod, status)
            self._wake.set()

    def forget(self, key: str) -> None:
        self._wanted.pop(key, None)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(WRITERS):
                nursery.start_soon(self._write)

    async def _write(self) -> None:
        while True:
            while not self._wanted:
                if self._wake.is_set():
                    self._wake = trio.Event()
                await self._wake.wait()
            _, wanted = self._wanted.popitem(last=False)
            try:
                await self.patch(wanted.pod, wanted.status)
            except NotFound:
                pass
            except (ApiError, OSError) as error:
                self._log.debug("status of %s not written: %s", wanted.pod.key, error)

    async def patch(self, pod: PodInfo, status: dict[str, Any]) -> None:
        """Write a part of a pod's status now; conditions are merged by type."""
        patch = {"metadata": {"uid": pod.uid}, "status": status}
        await self._client.patch(PODS, pod.name, patch, pod.namespace, type=STRATEGIC_PATCH, subresource="status")
