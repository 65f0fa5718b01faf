"""Mirrors Endpoints that people keep by hand (of services without a selector) into EndpointSlices."""

from __future__ import annotations

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from kcore_controllers.slices import MANAGED_BY, SERVICE_NAME

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
CAPACITY = 1000  # addresses mirrored from one subset


class MirroringController(Reconciler):
    name = "endpointslicemirroring"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.slices = self.watch(ENDPOINTSLICES, self._slice_changed)
        self.slices.add_index("mirrored", _mirrored)
        self.services = self.watch(SERVICES, self.enqueue)
        self.endpoints = self.watch(ENDPOINTS, self.enqueue)

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for key in _mirrored(new or old or {}):
            self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        service, endpoints = self.services.get(key), self.endpoints.get(key)
        wanted: dict[str, Object] = {}
        if service is not None and endpoints is not None and _mirrors(service, endpoints):
            wanted = _slices(endpoints)
        for obj in self.slices.indexed("mirrored", key):
            group = meta.annotations(obj).get(_GROUP, "")
            target = wanted.pop(group, None)
            if target is None:
                try:
                    await self.client.delete(ENDPOINTSLICES, meta.name(obj), meta.namespace(obj))
                except NotFound:
                    pass
            elif meta.labels(obj) != meta.labels(target) or any(
                obj.get(k) != target[k] for k in ("endpoints", "ports")
            ):
                metadata = {**obj["metadata"], "labels": meta.labels(target)}
                merged = {"metadata": metadata, "endpoints": target["endpoints"], "ports": target["ports"]}
                await self.client.update(ENDPOINTSLICES, {**obj, **merged})
        for target in wanted.values():
            await self.client.create(ENDPOINTSLICES, target, target["metadata"]["namespace"])
        return None


_GROUP = "endpointslicemirroring.kcore.dev/subset"  # which subset and family a slice mirrors


def _mirrored(obj: Object) -> tuple[str, ...]:
    labels = meta.labels(obj)
    if labels.get(MANAGED_BY) != MANAGER or SERVICE_NAME not in labels:
        return ()
    return (f"{meta.namespace(obj)}/{labels[SERVICE_NAME]}",)


def _differs(present: Object, wanted: Object) -> bool:
    return meta.labels(present) != meta.labels(wanted) or any(
        present.get(k) != wanted[k] for k in ("endpoints", "ports")
    )


def _mirrors(service: Object, endpoints: Object) -> bool:
    return not (
        service["spec"].get("selector")
        or meta.deleting(endpoints)
        or meta.labels(endpoints).get(SKIP) == "true"
        or LEADER in meta.annotations(endpoints)
    )


def _slices(endpoints: Object) -> dict[str, Object]:
    out: dict[str, Object] = {}
    for number, subset in enumerate(endpoints.get("subsets") or ()):
        ready = [(a, True) for a in subset.get("addresses") or ()]
        all_addresses = ready + [(a, False) for a in subset.get("notReadyAddresses") or ()]
        for family in ("IPv4", "IPv6"):
            chosen = [(a, r) for a, r in all_addresses if (":" in a["ip"]) == (family == "IPv6")][:CAPACITY]
            if chosen:
                group = f"{family}-{number}"
                out[group] = _slice(endpoints, family, group, subset, [_endpoint(a, r) for a, r in chosen])
    return out


def _slice(endpoints: Object, family: str, group: str, subset: Object, items: list[Object]) -> Object:
    name = meta.name(endpoints)
    ports = [
        {"name": p.get("name", ""), "port": p["port"], "protocol": p.get("protocol", "TCP")}
        | ({"appProtocol": p["appProtocol"]} if p.get("appProtocol") else {})
        for p in subset.get("ports") or ()
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{name}-",
            "namespace": meta.namespace(endpoints),
            "labels": {**meta.labels(endpoints), SERVICE_NAME: name, MANAGED_BY: MANAGER},
            "annotations": {_GROUP: group},
            "ownerReferences": [meta.owner_reference(endpoints, "v1", "Endpoints")],
        },
        "addressType": family,
        "endpoints": items,
        "ports": ports,
    }


def _endpoint(address: Object, ready: bool) -> Object:
    out: Object = {
        "addresses": [address["ip"]],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
    }
    for field in ("hostname", "nodeName", "targetRef"):
        if address.get(field):
            out[field] = address[field]
    return out
