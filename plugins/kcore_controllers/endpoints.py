"""Endpoints: the addresses behind a service in one object, for clients that do not know EndpointSlices."""

from __future__ import annotations

from typing import Any

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.controller.hashing import canonical
from kcore.errors import AlreadyExists, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import ENDPOINTS, PODS, SERVICES
from kcore_controllers import members
from kcore_controllers.slices import HEADLESS

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
CAPACITY = 1000  # addresses in one object; more are left out and an annotation says so
SPACING = 1e-4  # seconds per pod of a service between two looks at it


class EndpointsController(Reconciler):
    name = "endpoints"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.pods = self.watch(PODS)
        self._members = members.Members(self.pods)
        self.services = self.watch(SERVICES, self._service_changed)
        self.endpoints = self.watch(ENDPOINTS, self._endpoints_changed)
        self.handle(self.pods, self._pod_changed)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        key = meta.key(new or old or {})
        self._members.set_service(key, new)
        self.queue.add(key)

    def _endpoints_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self.enqueue(old, new)  # somebody deleted them

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if not members.concerns_endpoints(old, new):
            return
        for service in self._members.set_pod(meta.key(new or old or {}), new):
            count = self._members.count(service)
            self.queue.add_after(service, count * SPACING if count > 50 else 0)

    async def reconcile(self, key: str) -> float | None:
        service = self.services.get(key)
        namespace, name = meta.split_key(key)
        if service is None:
            try:
                await self.client.delete(ENDPOINTS, name, namespace)
            except NotFound:
                pass
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        subsets, cut = self._subsets(service, key)
        present = self.endpoints.get(key)
        wanted = _object(service, present, subsets, cut)
        if present is None:
            try:
                await self.client.create(ENDPOINTS, wanted, namespace)
            except AlreadyExists:
                return 1.0  # not seen yet
        elif (present.get("subsets") or []) != subsets or present["metadata"] != wanted["metadata"]:
            await self.client.update(ENDPOINTS, wanted)
        return None

    def _subsets(self, service: Object, key: str) -> tuple[list[Object], bool]:
        """Addresses grouped by the ports they serve; and whether some were left out."""
        groups: dict[bytes, Object] = {}
        even_unready = bool(service["spec"].get("publishNotReadyAddresses"))
        cut = False
        count = 0
        for pod_key in sorted(self._members.pods_of(key)):
            pod = self.pods.get(pod_key)
            if pod is None or not members.in_endpoints(pod, terminating_too=even_unready):
                continue
            if count >= CAPACITY:
                cut = True
                break
            ports = members.ports_on(pod, service)
            if not ports and (service["spec"].get("ports") or not members.headless(service)):
                continue
            count += 1
            group = groups.setdefault(canonical(ports), {"ports": ports, "ready": [], "not": []})
            group["ready" if even_unready or meta.pod_ready(pod) else "not"].append(_address(pod, service))
        return [_subset(g) for _, g in sorted(groups.items())], cut


def _address(pod: Object, service: Object) -> Object:
    out: Object = {"ip": pod["status"]["podIP"]}
    if hostname := members.hostname_of(pod, service):
        out["hostname"] = hostname
    if pod["spec"].get("nodeName"):
        out["nodeName"] = pod["spec"]["nodeName"]
    out["targetRef"] = members.target_reference(pod)
    return out


def _subset(group: Object) -> Object:
    out: Object = {}
    for field, addresses in (("addresses", group["ready"]), ("notReadyAddresses", group["not"])):
        if addresses:
            out[field] = sorted(addresses, key=lambda a: _ip_order(a["ip"]))
    if group["ports"]:
        out["ports"] = [
            {k: v for k, v in p.items() if k != "name" or v} for p in sorted(group["ports"], key=lambda p: p["name"])
        ]
    return out


def _ip_order(ip: str) -> Any:
    return tuple(int(p) for p in ip.split(".")) if "." in ip else (999, ip)


def _object(service: Object, present: Object | None, subsets: list[Object], cut: bool) -> Object:
    labels = {k: v for k, v in meta.labels(service).items() if k != HEADLESS}
    labels[MANAGED_BY] = "endpoint-controller"
    if members.headless(service):
        labels[HEADLESS] = ""
    metadata: Object = dict(present["metadata"]) if present else {
        "name": meta.name(service),
        "namespace": meta.namespace(service),
    }  # fmt: skip
    metadata["labels"] = labels
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != OVER_CAPACITY}
    if cut:
        annotations[OVER_CAPACITY] = "truncated"
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    out: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    if subsets:
        out["subsets"] = subsets
    return out
