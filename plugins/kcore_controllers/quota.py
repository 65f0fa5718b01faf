"""ResourceQuotas: counts what a namespace uses. Admission refuses what would exceed it.

Admission books an object before it is stored, so a count may miss what has been booked a moment ago. It is therefore
only taken for less than the booked number when something was freed, or when some time has passed since a booking
(which may have been for a write that failed).
"""

from __future__ import annotations

from decimal import Decimal

import trio

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.controller.resources import BUILTIN
from kcore.objects import Object, meta, quantity, usage
from kcore.objects.resources import (
    CONFIGMAPS,
    GVR,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICES,
)

SETTLE = 10.0  # seconds; by then what was booked is stored and seen, or never will be
FULL_RESYNC = 300.0  # seconds; what is counted at the API (--resource-quota-sync-period)
_CORE = (SERVICES, CONFIGMAPS, SECRETS, PERSISTENTVOLUMECLAIMS, REPLICATIONCONTROLLERS)


class ResourceQuotaController(Reconciler):
    name = "resourcequota"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self._lower_at: dict[str, float] = {}  # by quota: from when on a count may lower what is booked
        self.quotas = self.watch(RESOURCEQUOTAS, self._quota_changed)
        self.pods = self.watch(PODS, self._object_changed)
        self.counted = {r.resource: self.watch(r, self._object_changed) for r in _CORE}

    def _quota_changed(self, old: Object | None, new: Object | None) -> None:
        key = meta.key(new or old or {})
        if new is None:
            self._lower_at.pop(key, None)
        elif old is None or old["spec"] != new["spec"]:
            self._count(key, lower_after=0.0)
        elif old.get("status") != new.get("status"):
            self._count(key, after=SETTLE, lower_after=SETTLE)

    def _count(self, key: str, *, after: float = 0.0, lower_after: float) -> None:
        at = trio.current_time() + lower_after
        self._lower_at[key] = min(at, self._lower_at.get(key, at))
        self.queue.add_after(key, after)

    def _object_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old or {}
        quotas = self.quotas.by_namespace(meta.namespace(obj))
        if quotas and (old is None or new is None or _other_usage(old, new)):
            freed = new is None or (old is not None and meta.pod_terminal(new) and not meta.pod_terminal(old))
            for quota in quotas:
                self._count(meta.key(quota), after=0.05, lower_after=0.0 if freed else SETTLE)

    async def reconcile(self, key: str) -> float | None:
        quota = self.quotas.get(key)
        if quota is None:
            return None
        hard = quota["spec"].get("hard") or {}
        used: dict[str, Decimal] = dict.fromkeys(hard, Decimal(0))
        namespace = meta.namespace(quota)
        for pod in self.pods.by_namespace(namespace):
            if not meta.pod_terminal(pod) and usage.in_scope(quota, pod):
                usage.add(used, usage.of_pod(pod))
        for resource, informer in self.counted.items():
            for obj in informer.by_namespace(namespace):
                if usage.in_scope(quota, obj, resource):
                    usage.add(used, usage.of_object(resource, obj))
        others = await self._others(hard, namespace, used)
        if trio.current_time() >= self._lower_at.get(key, 0.0):
            self._lower_at.pop(key, None)
        else:
            for name, booked in ((quota.get("status") or {}).get("used") or {}).items():
                if name in used:
                    used[name] = max(used[name], quantity.parse(booked))
        status = {"hard": dict(hard), "used": {k: usage.text(k, v) for k, v in used.items()}}
        if status != quota.get("status"):
            await self.client.update(RESOURCEQUOTAS, {**quota, "status": status}, subresource="status")
        left = self._lower_at.get(key, 0.0) - trio.current_time()
        return left if left > 0 else FULL_RESYNC if others else None

    async def _others(self, hard: Object, namespace: str, used: dict[str, Decimal]) -> bool:
        """``count/RESOURCE.GROUP`` of what is not watched here is counted at the API now and then."""
        found = False
        for name in hard:
            resource = _counted(name)
            if resource is not None:
                used[name] = Decimal(len((await self.client.list(resource, namespace)).items))
                found = True
        return found


def _counted(name: str) -> GVR | None:
    prefix, _, resource = name.partition("/")
    if prefix != "count":
        return None
    known = {str(r): r for r in BUILTIN if r.namespaced and r not in _CORE and r != PODS}
    return known.get(resource)


def _other_usage(old: Object, new: Object) -> bool:
    """The change may alter what is counted: a pod has finished, a claim has grown, a service has another type."""
    return bool(
        (old.get("status") or {}).get("phase") != (new.get("status") or {}).get("phase")
        or old.get("spec") != new.get("spec")
    )
