"""EventRateLimit: nobody floods the store with events."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from kcore import clock, errors
from kcore.api.admission import AdmissionRequest
from kcore.objects import Object
from kcore.registry import Context
from kcore_admission.base import Plugin
from kcore_admission.config import EventLimit, EventLimitConfig

_SOURCE = ("kind", "namespace", "name", "uid", "apiVersion")


@attrs.define
class Bucket:
    """A token bucket: `tokens` were left at `at`."""

    tokens: float
    at: float

    def take(self, limit: EventLimit, now: float) -> bool:
        self.tokens = min(float(limit.burst), self.tokens + (now - self.at) * limit.qps)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class EventRateLimit(Plugin):
    name = "EventRateLimit"

    def __init__(self, context: Context, config: EventLimitConfig):
        super().__init__(context)
        self._limits: list[tuple[EventLimit, OrderedDict[str, Bucket]]] = [(x, OrderedDict()) for x in config.limits]

    steady = False

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind.kind == "Event" and request.operation in ("CREATE", "UPDATE") and not request.dry_run

    async def validate(self, request: AdmissionRequest) -> None:
        refused = None
        for limit, buckets in self._limits:  # every limit counts the event, even when another has refused it
            key = _key(limit.type, request)
            if not _bucket(limit, buckets, key).take(limit, clock.now()):
                refused = refused or (limit.type, key)
        if refused is not None:
            raise errors.TooManyRequests(f"limit reached on type {refused[0]} for key {refused[1]}")


def _bucket(limit: EventLimit, buckets: OrderedDict[str, Bucket], key: str) -> Bucket:
    """The key's bucket; the one that was used longest ago makes room for a new one."""
    found = buckets.get(key)
    if found is None:
        found = buckets[key] = Bucket(float(limit.burst), clock.now())
        if len(buckets) > max(1, limit.cache_size):
            buckets.popitem(last=False)
    buckets.move_to_end(key)
    return found


def _key(type: str, request: AdmissionRequest) -> str:
    if type == "Namespace":
        return request.namespace
    if type == "User":
        return request.user.name
    if type == "SourceAndObject":
        event: Object = request.obj or {}
        source, about = event.get("source") or {}, event.get("involvedObject") or event.get("regarding") or {}
        component = source.get("component") or event.get("reportingController") or ""
        return "".join((component, source.get("host") or "", *(str(about.get(k) or "") for k in _SOURCE)))
    return ""
