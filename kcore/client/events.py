"""Events: what components tell people about objects (``kubectl describe``, ``kubectl events``).

A `Recorder` takes events without ever waiting: they go through a bounded queue to one task that writes them, and are
dropped when the queue is full. Repetitions become one Event with a growing ``count``, as client-go's correlator does:
the same message counts up; more than ten alike in ten minutes become one "combined from similar events"; one object
gets at most 25 at once and one more every five minutes.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import trio

from kcore import clock
from kcore.errors import ApiError, NotFound
from kcore.objects import Object
from kcore.objects.resources import EVENTS

if TYPE_CHECKING:
    from kcore.client import Client

_log = logging.getLogger("kcore.events")

QUEUE = 1000  # events waiting to be written, as upstream's broadcaster
REMEMBERED = 4096  # keys in each of the correlator's memories
SIMILAR_MAX, SIMILAR_SECONDS = 10, 600.0
SPAM_BURST, SPAM_REFILL_SECONDS = 25, 300.0

V = TypeVar("V")


class _Memory(Generic[V]):
    """The last `REMEMBERED` entries."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, ...], V] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> V | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: tuple[str, ...], value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)


@attrs.define
class _Written:
    name: str
    count: int
    first: str


@attrs.frozen
class _Occurrence:
    reference: Object
    type: str
    reason: str
    message: str
    at: float
    host: str


class Recorder:
    """Records events of one component. `run` must be running for them to be written."""

    def __init__(self, client: Client, component: str, host: str = ""):
        self._client, self._component, self._host = client, component, host
        self._send, self._receive = trio.open_memory_channel[_Occurrence](QUEUE)
        self._written: _Memory[_Written] = _Memory()
        self._similar: _Memory[tuple[float, set[str]]] = _Memory()
        self._tokens: _Memory[tuple[float, float]] = _Memory()
        self._pending = 0
        self._last_stamp = 0  # nanoseconds in the newest name: two events of one instant need two names
        self.dropped = 0

    @property
    def pending(self) -> int:
        """Events that are not yet written."""
        return self._pending

    def event(self, obj: Object, type: str, reason: str, message: str, *, host: str = "") -> None:
        """`type` is Normal or Warning; `obj` is an object, or a reference that has ``uid`` at the top level.

        `host` is for components that speak for many (the node agent for its nodes).
        """
        occurrence = _Occurrence(reference_to(obj), type, reason, message[:1024], clock.now(), host or self._host)
        try:
            self._send.send_nowait(occurrence)
            self._pending += 1
        except trio.WouldBlock:
            self.dropped += 1

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async for occurrence in self._receive:
            try:
                await self._record(occurrence)
            except (ApiError, OSError) as error:
                _log.debug("event of %s not written: %s", self._component, error)
            finally:
                self._pending -= 1

    async def _record(self, it: _Occurrence) -> None:
        ref = it.reference
        subject = tuple(ref.get(k, "") for k in ("kind", "namespace", "name", "uid"))
        if not self._allowed(subject, it.at):
            self.dropped += 1
            return
        message, key = self._correlate(subject, it)
        known = self._written.get(key)
        namespace = ref.get("namespace") or "default"
        if known is not None:
            patch = {"count": known.count + 1, "lastTimestamp": clock.timestamp(it.at), "message": message}
            try:
                await self._client.patch(EVENTS, known.name, patch, namespace)
                known.count += 1
                return
            except NotFound:  # it has expired: begin anew
                pass
        event = self._event(it, message, namespace)
        await self._client.create(EVENTS, event, namespace)
        self._written.put(key, _Written(event["metadata"]["name"], 1, event["firstTimestamp"]))

    def _event(self, it: _Occurrence, message: str, namespace: str) -> Object:
        stamp = clock.timestamp(it.at)
        self._last_stamp = max(int(it.at * 1e9), self._last_stamp + 1)
        source = {"component": self._component}
        if it.host:
            source["host"] = it.host
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{it.reference.get('name', '')}.{self._last_stamp:016x}", "namespace": namespace},
            "involvedObject": it.reference,
            "reason": it.reason,
            "message": message,
            "source": source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": it.type,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": it.host,
        }

    def _allowed(self, subject: tuple[str, ...], now: float) -> bool:
        tokens, at = self._tokens.get(subject) or (float(SPAM_BURST), now)
        tokens = min(tokens + (now - at) / SPAM_REFILL_SECONDS, SPAM_BURST)
        allowed = tokens >= 1
        self._tokens.put(subject, (tokens - 1 if allowed else tokens, now))
        return allowed

    def _correlate(self, subject: tuple[str, ...], it: _Occurrence) -> tuple[str, tuple[str, ...]]:
        """The message to write, and the key under which its repetitions are counted."""
        alike = (*subject, it.type, it.reason)
        since, messages = self._similar.get(alike) or (it.at, set())
        if it.at - since > SIMILAR_SECONDS:
            since, messages = it.at, set()
        messages.add(it.message)
        self._similar.put(alike, (since, messages))
        if len(messages) > SIMILAR_MAX:
            messages.pop()
            return f"(combined from similar events): {it.message}", alike
        return it.message, (*alike, it.message, it.reference.get("fieldPath", ""))


def reference_to(obj: Object, *, field_path: str = "") -> Object:
    """An ObjectReference to `obj`; what already is one is returned as it is."""
    if "metadata" not in obj:
        return obj
    meta = obj["metadata"]
    out: Object = {"kind": obj.get("kind", ""), "apiVersion": obj.get("apiVersion", ""), "name": meta.get("name", "")}
    for field in ("namespace", "uid", "resourceVersion"):
        if meta.get(field):
            out[field] = meta[field]
    if field_path:
        out["fieldPath"] = field_path
    return out
