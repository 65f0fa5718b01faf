"""ResourceQuota: a namespace uses no more than its quotas allow.

What a new object will use is booked into the quota's status, by compare-and-set, before the object is stored; so two
writers cannot both take the last of it, be they in one API process or in two. What is freed, or was booked for a write
that failed after all, is corrected by the controller that counts.
"""

from __future__ import annotations

import random
from decimal import Decimal

import trio

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.objects import Object, meta, quantity, usage
from kcore.objects.resources import RESOURCEQUOTAS
from kcore.registry import Context
from kcore_admission.base import Plugin, forbidden
from kcore_admission.config import LimitedResource, QuotaConfig

# Where a change can use more than the object used before.
GROWING = frozenset({"services", "persistentvolumeclaims", "resourceclaims.resource.k8s.io"})
COMPUTE = ("cpu", "memory", "ephemeral-storage")
ATTEMPTS = 32

Amounts = dict[str, Decimal]


class ResourceQuota(Plugin):
    name = "ResourceQuota"
    looks_at = (RESOURCEQUOTAS,)

    def __init__(self, context: Context, config: QuotaConfig | None = None):
        super().__init__(context, config)
        limited = config.limited if isinstance(config, QuotaConfig) else []
        self._limited = {(one.api_group, one.resource): one for one in limited}
        self._locks: dict[str, trio.Lock] = {}  # by namespace: our own writes need not fight over a quota

    def handles(self, request: AdmissionRequest) -> bool:
        kind = request.kind
        if not kind.namespaced or kind.virtual:
            return False
        if request.subresource:
            return request.subresource == "resize" and kind.resource == "pods"
        return request.operation == "CREATE" or (request.operation == "UPDATE" and kind.resource in GROWING)

    async def validate(self, request: AdmissionRequest) -> None:
        limited = self._limited.get((request.kind.group, request.kind.plural))
        quotas = await self.seen["resourcequotas"].all(request.namespace, sure=limited is not None)
        if not quotas and limited is None:
            return
        wanted = _wanted(request)
        if limited is not None:
            _check_covered(request, limited, quotas, wanted)
        if not any(amount > 0 for amount in wanted.values()):
            return  # what is given back is counted by the controller
        lock = self._locks.setdefault(request.namespace, trio.Lock())
        async with lock:
            await self._book_all(request, sorted(map(meta.name, quotas)), wanted)
        if not lock.statistics().tasks_waiting:
            self._locks.pop(request.namespace, None)

    async def _book_all(self, request: AdmissionRequest, names: list[str], wanted: Amounts) -> None:
        """All quotas are asked before the first is booked; who refuses after that gives back what was booked."""
        for name in names:
            quota = await self._current(name, request.namespace)
            if quota is not None:
                _charged(request, quota, wanted)
        if request.dry_run:
            return
        booked: list[str] = []
        try:
            for name in names:
                if await self._book(request, name, wanted):
                    booked.append(name)
        except errors.ApiError:
            back = {name: -amount for name, amount in wanted.items()}
            with trio.CancelScope(shield=True):
                for name in booked:
                    await self._book(request, name, back)
            raise

    async def _current(self, name: str, namespace: str) -> Object | None:
        try:
            return await self.context.client().get(RESOURCEQUOTAS, name, namespace)
        except errors.NotFound:
            return None

    async def _book(self, request: AdmissionRequest, name: str, wanted: Amounts) -> bool:
        """Add to what a quota says is used, by compare-and-set: other API processes may do the same at this moment."""
        for attempt in range(ATTEMPTS):
            quota = await self._current(name, request.namespace)
            changed = None if quota is None else _charged(request, quota, wanted)
            if changed is None:
                return False
            try:
                await self.context.client().update(RESOURCEQUOTAS, changed, subresource="status")
                return True
            except errors.NotFound:
                return False
            except errors.Conflict:
                await trio.sleep(random.uniform(0, 0.005 * attempt))  # somebody else has written: look again
        raise errors.conflict("resourcequotas", name, "the quota is being changed by many writers; try again")


def _wanted(request: AdmissionRequest) -> Amounts:
    """What the write would use more than is used now."""
    assert request.obj is not None
    wanted = _used(request, request.obj)
    if request.old is None:
        return wanted
    before = _used(request, request.old)
    return {n: a - before.get(n, Decimal(0)) for n, a in wanted.items()}


def _check_covered(request: AdmissionRequest, limited: LimitedResource, quotas: list[Object], wanted: Amounts) -> None:
    """What is limited may only be used where a quota has a say about it. Raises Forbidden."""
    obj, resource = request.obj or {}, request.kind.resource
    counted = {
        name for name, amount in wanted.items() if amount > 0 and any(part in name for part in limited.match_contains)
    }
    asked = [s for s in limited.match_scopes if _in(s, obj, resource)]
    if not counted and not asked:
        return
    covering = [q for q in quotas if usage.in_scope(q, obj, resource)]
    named = {name for q in covering for name in (q.get("status") or {}).get("hard") or {}}
    if missing := sorted(counted - named):
        raise forbidden(request, f"insufficient quota to consume: {','.join(missing)}")
    told = {s["scopeName"] for q in covering for s in usage.scopes(q)}
    lacking = [s for s in asked if s["scopeName"] not in told]
    if lacking:
        shown = " ".join(f"{{{s['scopeName']} {s['operator']} [{' '.join(s.get('values') or ())}]}}" for s in lacking)
        raise forbidden(request, f"insufficient quota to match these scopes: [{shown}]")


def _in(scope: Object, obj: Object, resource: str) -> bool:
    return usage.matches(scope["scopeName"], scope["operator"], scope.get("values") or (), obj, resource)


def _used(request: AdmissionRequest, obj: Object) -> Amounts:
    kind = request.kind
    return usage.of_pod(obj) if kind.resource == "pods" else usage.of_object(kind.resource, obj)


def _charged(request: AdmissionRequest, quota: Object, wanted: Amounts) -> Object | None:
    """The quota with what is wanted booked; None if it does not count any of it. Raises Forbidden."""
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    is_pod = request.kind.resource == "pods"
    obj = request.obj or {}
    if not usage.in_scope(quota, obj, request.kind.resource):
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
    booked = {**used, **{n: usage.text(n, max(Decimal(0), have[n] + wanted[n])) for n in counted}}
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
