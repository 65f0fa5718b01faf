"""ResourceQuota: a namespace uses no more than its quotas allow.

What a new object will use is booked into the quota's status, by compare-and-set, before the object is stored; so two
writers cannot both take the last of it. What is freed, or was booked for a write that failed after all, is corrected
by the controller that counts.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import trio

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.objects import Object, meta, quantity, usage
from kcore.objects.resources import RESOURCEQUOTAS
from kcore.registry import Context
from kcore_admission.base import Plugin, forbidden

# Where a change can use more than the object used before.
GROWING = frozenset({"services", "persistentvolumeclaims"})
COMPUTE = ("cpu", "memory", "ephemeral-storage")
ATTEMPTS = 5

Amounts = dict[str, Decimal]


class ResourceQuota(Plugin):
    name = "ResourceQuota"
    looks_at = (RESOURCEQUOTAS,)

    def __init__(self, context: Context, config: Any = None):
        super().__init__(context, config)
        self._locks: dict[str, trio.Lock] = {}  # by namespace: our own writes need not fight over a quota

    def handles(self, request: AdmissionRequest) -> bool:
        if request.subresource or not request.kind.namespaced or request.kind.virtual:
            return False
        return request.operation == "CREATE" or (request.operation == "UPDATE" and request.kind.resource in GROWING)

    async def validate(self, request: AdmissionRequest) -> None:
        quotas = await self.seen["resourcequotas"].all(request.namespace)
        if not quotas:
            return
        assert request.obj is not None
        wanted = _used(request, request.obj)
        if request.old is not None:
            before = _used(request, request.old)
            wanted = {n: a - before.get(n, Decimal(0)) for n, a in wanted.items()}
        lock = self._locks.setdefault(request.namespace, trio.Lock())
        async with lock:
            for quota in sorted(quotas, key=meta.name):
                await self._book(request, meta.name(quota), wanted)
        if not lock.statistics().tasks_waiting:
            self._locks.pop(request.namespace, None)

    async def _book(self, request: AdmissionRequest, name: str, wanted: Amounts) -> None:
        client = self.context.client()
        for _ in range(ATTEMPTS):
            try:
                quota = await client.get(RESOURCEQUOTAS, name, request.namespace)
            except errors.NotFound:
                return
            changed = _charged(request, quota, wanted)
            if changed is None or request.dry_run:
                return
            try:
                await client.update(RESOURCEQUOTAS, changed, subresource="status")
                return
            except errors.Conflict:
                continue  # the controller has counted meanwhile: look again
        raise errors.conflict("resourcequotas", name, "the quota is being changed by many writers; try again")


def _used(request: AdmissionRequest, obj: Object) -> Amounts:
    kind = request.kind
    return usage.of_pod(obj) if kind.resource == "pods" else usage.of_object(kind.resource, obj)


def _charged(request: AdmissionRequest, quota: Object, wanted: Amounts) -> Object | None:
    """The quota with what is wanted booked; None if it does not count any of it. Raises Forbidden."""
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    is_pod = request.kind.resource == "pods"
    scoped = quota["spec"].get("scopes") or quota["spec"].get("scopeSelector")
    obj = request.obj or {}
    if scoped and not (is_pod and usage.in_scope(quota, obj)):
        return None
    if is_pod:
        missing = _unspecified(hard, obj)
        if missing:
            raise forbidden(request, f"failed quota: {meta.name(quota)}: must specify {missing}")
    counted = sorted(n for n in hard if wanted.get(n))
    if not counted:
        return None
    have = {n: quantity.parse(used.get(n, "0")) for n in counted}
    over = [n for n in counted if wanted[n] > 0 and have[n] + wanted[n] > quantity.parse(hard[n])]
    if over:
        asked = ",".join(f"{n}={usage.text(n, wanted[n])}" for n in over)
        was = ",".join(f"{n}={used.get(n, '0')}" for n in over)
        limit = ",".join(f"{n}={hard[n]}" for n in over)
        text = f"exceeded quota: {meta.name(quota)}, requested: {asked}, used: {was}, limited: {limit}"
        raise forbidden(request, text)
    booked = {**used, **{n: usage.text(n, have[n] + wanted[n]) for n in counted}}
    return {**quota, "status": {**status, "used": booked}}


def _unspecified(hard: Object, pod: Object) -> str:
    """Computing resources that a quota counts and a container leaves open: ``limits.cpu for: a,b; memory for: c``."""
    found = []
    for name in sorted(hard):
        what, _, resource = name.rpartition(".")
        if resource not in COMPUTE or what not in ("", "requests", "limits"):
            continue
        silent = [
            container.get("name", "")
            for sort in ("containers", "initContainers")
            for container in pod["spec"].get(sort) or ()
            if resource not in ((container.get("resources") or {}).get(what or "requests") or {})
        ]
        if silent:
            found.append(f"{name} for: {','.join(sorted(silent))}")
    return "; ".join(found)
