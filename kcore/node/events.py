"""What the node agent tells about pods and nodes: Event objects, written behind its back.

Telling is never worth waiting for: events are queued, written by one task that lives as long as there is
something to write, and dropped when they come faster than `RATE` for long (the same limit as upstream's
``eventRecordQPS``). The same event told again raises the count of the first (Kubernetes docs, "Event v1").
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque

import attrs
import trio

from kcore import clock
from kcore.client import Client
from kcore.errors import KcoreError
from kcore.objects import Object
from kcore.objects.resources import EVENTS

RATE, BURST = 50.0, 200.0  # events a second; how many at once
KNOWN_MOST = 4096  # events that can be counted up


@attrs.frozen(slots=True)
class _Key:
    kind: str
    namespace: str
    name: str
    uid: str
    path: str
    type: str
    reason: str
    message: str
    host: str


class Recorder:
    """Writes events as the component ``kubelet``, in the nursery it was given."""

    _serial = itertools.count()

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self._client, self._nursery = client, nursery
        self._queue: deque[tuple[_Key, Object]] = deque()
        self._known: OrderedDict[_Key, Object] = OrderedDict()
        self._writing = False
        self._tokens, self._filled = BURST, trio.current_time()

    def record(
        self, about: Object, kind: str, host: str, type: str, reason: str, message: str, container: str = ""
    ) -> None:
        """`about` is a pod or node; `type` is Normal or Warning; `container` the container that it is about, as
        ``spec.containers{name}``."""
        now = trio.current_time()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now
        if self._tokens < 1:
            return
        self._tokens -= 1
        meta = about["metadata"]
        namespace = meta.get("namespace", "")
        key = _Key(kind, namespace, meta["name"], meta.get("uid", ""), container, type, reason, message, host)
        reference: Object = {"kind": kind, "namespace": namespace, "name": meta["name"], "uid": key.uid}
        reference |= {"apiVersion": "v1", "resourceVersion": meta.get("resourceVersion", ""), "fieldPath": container}
        self._queue.append((key, {k: v for k, v in reference.items() if v}))
        if not self._writing:
            self._writing = True
            self._nursery.start_soon(self._write)

    async def _write(self) -> None:
        try:
            while self._queue:
                key, reference = self._queue.popleft()
                try:
                    await self._write_one(key, reference)
                except (KcoreError, OSError):
                    self._known.pop(key, None)  # the next one of its kind starts anew
        finally:
            self._writing = False

    async def _write_one(self, key: _Key, reference: Object) -> None:
        namespace = key.namespace or "default"
        known = self._known.get(key)
        now = clock.timestamp()
        if known is not None:
            self._known.move_to_end(key)
            patch = {"count": known["count"] + 1, "lastTimestamp": now}
            self._known[key] = await self._client.patch(EVENTS, known["metadata"]["name"], patch, namespace)
            return
        serial = (int(clock.now() * 1e9) + next(self._serial)) & (1 << 64) - 1
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{key.name}.{serial:016x}", "namespace": namespace},
            "involvedObject": reference,
            "type": key.type,
            "reason": key.reason,
            "message": key.message,
            "source": {"component": "kubelet", "host": key.host},
            "reportingComponent": "kubelet",
            "reportingInstance": key.host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._known[key] = await self._client.create(EVENTS, event, namespace)
        if len(self._known) > KNOWN_MOST:
            self._known.popitem(last=False)
