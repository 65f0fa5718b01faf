"""EndpointSlices: the addresses behind a service, in pieces of a hundred.

What a pod's change costs does not depend on the size of its service: for each service the controller remembers in
which slice each pod stands, works on the pods that have changed, and rewrites only the slices that they stand in.
"""

from __future__ import annotations

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from kcore_controllers import members
from kcore_controllers.slices import MANAGED_BY, SERVICE_NAME, Group, Layout

MANAGER = "endpointslice-controller.k8s.io"
SPACING = 5e-5  # seconds per pod of a service between two looks at it: bursts of pod events share one write


class EndpointSliceController(Reconciler):
    name = "endpointslice"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self._layouts: dict[str, Layout] = {}
        self._changed: dict[str, set[str]] = {}  # service key -> pods to look at
        self._triggered: dict[str, str] = {}  # service key -> when the first change came about that is not written yet
        self.nodes = self.watch(NODES)
        self.slices = self.watch(ENDPOINTSLICES)
        self.slices.add_index("service", _service_of)
        self.pods = self.watch(PODS)
        self._members = members.Members(self.pods)
        self.services = self.watch(SERVICES, self._service_changed)
        self.handle(self.pods, self._pod_changed)
        self.handle(self.slices, self._slice_changed)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        key = meta.key(new or old or {})
        self._members.set_service(key, new)
        if old is None and new is not None:
            self._trigger(key, new["metadata"].get("creationTimestamp"))
        self._forget(key)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if not members.concerns_endpoints(old, new):
            return
        pod = meta.key(new or old or {})
        turned = (meta.condition(new, "Ready") or {}).get("lastTransitionTime") if new else None
        if old and turned == (meta.condition(old, "Ready") or {}).get("lastTransitionTime"):
            turned = None
        for service in self._members.set_pod(pod, new):
            self._changed.setdefault(service, set()).add(pod)
            self._trigger(service, turned)
            count = self._members.count(service)
            self.queue.add_after(service, count * SPACING if count > 100 else 0)

    def _trigger(self, service: str, when: str | None) -> None:
        """Something of the service has changed at that time (RFC 3339); of several the first counts."""
        if when and when < self._triggered.get(service, "~"):
            self._triggered[service] = when

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for service in _service_of(new or old or {}):
            layout = self._layouts.get(service)
            if layout is None or not layout.expected(old, new):
                self._forget(service)

    def _forget(self, service: str) -> None:
        """Look at the whole service anew."""
        self._layouts.pop(service, None)
        self.queue.add(service)

    async def reconcile(self, key: str) -> float | None:
        service = self.services.get(key)
        changed = self._changed.pop(key, set())
        triggered = self._triggered.pop(key, "")
        if service is None or meta.deleting(service):
            self._layouts.pop(key, None)  # the garbage collector removes the slices with their service
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._layouts[key] = Layout(service, self.slices.indexed("service", key), MANAGER)
            changed = self._members.pods_of(key) | layout.pods()
        layout.triggered = triggered
        try:
            for pod_key in changed:
                layout.place(pod_key, self._endpoints(service, self.pods.get(pod_key), pod_key))
            await self._write(layout, key)
        except BaseException:
            self._trigger(key, triggered)
            self._layouts.pop(key, None)  # what was written is not known: from the slices themselves next time
            raise
        return None

    def _endpoints(self, service: Object, pod: Object | None, key: str) -> dict[Group, Object]:
        """What the pod contributes: an endpoint for each address family of the service."""
        if (
            pod is None
            or not members.in_endpoints(pod, terminating_too=True)
            or key not in self._members.pods_of(meta.key(service))
        ):
            return {}
        ports = members.ports_on(pod, service)
        if not ports and service["spec"].get("ports"):
            return {}
        out: dict[Group, Object] = {}
        status = pod["status"]
        addresses = [i["ip"] for i in status.get("podIPs") or ()] or [status["podIP"]]
        for family in service["spec"].get("ipFamilies") or ["IPv4"]:
            address = next((a for a in addresses if (":" in a) == (family == "IPv6")), None)
            if address is not None:
                out[Group.of(family, ports)] = self._endpoint(service, pod, address)
        return out

    def _endpoint(self, service: Object, pod: Object, address: str) -> Object:
        serving, terminating = meta.pod_ready(pod), meta.deleting(pod)
        ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
        endpoint: Object = {
            "addresses": [address],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "targetRef": members.target_reference(pod),
        }
        if hostname := members.hostname_of(pod, service):
            endpoint["hostname"] = hostname
        if node_name := pod["spec"].get("nodeName"):
            endpoint["nodeName"] = node_name
            node = self.nodes.get(node_name)
            zone = meta.labels(node).get("topology.kubernetes.io/zone") if node else None
            if zone:
                endpoint["zone"] = zone
        return endpoint

    async def _write(self, layout: Layout, key: str) -> None:
        for wanted in layout.to_create():
            layout.written(await self.client.create(ENDPOINTSLICES, wanted, meta.namespace(layout.service)), wanted)
        for wanted in layout.to_update():
            layout.written(await self.client.update(ENDPOINTSLICES, wanted), wanted)
        for name in layout.to_delete():
            layout.removed(name)
            try:
                await self.client.delete(ENDPOINTSLICES, name, meta.namespace(layout.service))
            except NotFound:
                pass


def _service_of(obj: Object) -> tuple[str, ...]:
    labels = meta.labels(obj)
    if labels.get(MANAGED_BY) != MANAGER or SERVICE_NAME not in labels:
        return ()
    return (f"{meta.namespace(obj)}/{labels[SERVICE_NAME]}",)
