"""ResourceQuotas: counts what a namespace uses. Admission refuses what would exceed it.

Admission books an object before it is stored, so a count may miss what has been booked a moment ago. It is therefore
only taken for less than the booked number when something was freed, or when some time has passed since a booking
(which may have been for a write that failed).
"""

from __future__ import annotations

from decimal import Decimal

import trio

from kcore.client.informer import Informer
from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.controller.resources import Resources
from kcore.objects import Object, meta, quantity, usage
from kcore.objects.resources import (
    APISERVICES,
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    GVR,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICES,
)

SETTLE = 10.0  # seconds; by then what was booked is stored and seen, or never will be
FULL_RESYNC = 300.0  # seconds; what is counted at another server (--resource-quota-sync-period)
SYNC = 10.0  # seconds; what is not served (any more) must not keep other quotas waiting
_CORE = (SERVICES, CONFIGMAPS, SECRETS, PERSISTENTVOLUMECLAIMS, REPLICATIONCONTROLLERS)


class ResourceQuotaController(Reconciler):
    name = "resourcequota"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self._lower_at: dict[str, float] = {}  # by quota: from when on a count may lower what is booked
        self.quotas = self.watch(RESOURCEQUOTAS, self._quota_changed)
        self.pods = self.watch(PODS, self._object_changed)
        self.counted = {r.resource: self.watch(r, self._object_changed) for r in _CORE}
        self.resources = Resources(self.watch(CUSTOMRESOURCEDEFINITIONS, outline=True), self.watch(APISERVICES))
        self._stops.append(self.resources.stop)
        self._others: dict[GVR, Informer] = {}  # of what quotas count by ``count/RESOURCE.GROUP``
        self.resources.follow(self._resource_came, self._resource_went)

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

    def _resource_came(self, resource: GVR) -> None:
        for quota in self.quotas.items():
            if f"count/{resource}" in (quota["spec"].get("hard") or {}):
                self._count(meta.key(quota), lower_after=0.0)

    def _resource_went(self, resource: GVR) -> None:
        if self._others.pop(resource, None) is not None:
            self._resource_came(resource)  # there is nothing of it any more

    def _number_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None:
            self._object_changed(old, new)

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
        others = await self._count_others(hard, namespace, used)
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

    async def _count_others(self, hard: Object, namespace: str, used: dict[str, Decimal]) -> bool:
        """``count/RESOURCE.GROUP``: whether any of it is another server's, and has to be asked for now and then."""
        names = [name for name in hard if name.startswith("count/")]
        if not names:
            return False
        if self.resources.elsewhere:
            await self.resources.discover(self.client)
        known = {f"count/{r}": r for r in self.resources.namespaced() if r not in _CORE and r != PODS}
        asked = False
        for name in names:
            resource = known.get(name)
            if resource is None:
                continue
            if self.resources.is_elsewhere(resource):
                asked = True
                used[name] = Decimal(len((await self.client.list(resource, namespace)).items))
            else:
                used[name] = Decimal((await self._informer(resource)).index_size("namespace", namespace))
        return asked

    async def _informer(self, resource: GVR) -> Informer:
        informer = self._others.get(resource)
        if informer is None:
            informer = self._others[resource] = self.informers.get(resource)
            self._stops.append(informer.on_change(self._number_changed))
        with trio.move_on_after(SYNC):
            await informer.synced.wait()
        return informer


def _other_usage(old: Object, new: Object) -> bool:
    """The change may alter what is counted: a pod has finished, a claim has grown, a service has another type."""
    return bool(
        (old.get("status") or {}).get("phase") != (new.get("status") or {}).get("phase")
        or old.get("spec") != new.get("spec")
    )
