"""What a cluster has before anybody asks for it: the system namespaces, the service range, and the API's own Service.

All of it is made through the ordinary pipeline, once; what is there already stays as it is, but for the
addresses behind ``default/kubernetes``, which follow the server.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from kcore import clock, errors
from kcore.api import decoding, layout
from kcore.api.options import Caller
from kcore.objects import Object

if TYPE_CHECKING:
    from kcore.api.served import Served
    from kcore.api.server import ApiServer

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


async def prepare(server: ApiServer) -> None:
    """The system namespaces and the default ServiceCIDR."""
    namespaces = server.table.find("", "v1", "namespaces")
    if namespaces is not None:
        for name in NAMESPACES:
            await _ensure(server, namespaces, "", {"metadata": {"name": name}})
    ranges = server.table.find("networking.k8s.io", "v1", "servicecidrs")
    if ranges is not None:
        condition = {
            "type": "Ready",
            "status": "True",
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": clock.timestamp(),
        }
        spec = {"cidrs": [server.cluster.service_cidr]}
        await _ensure(server, ranges, "", {"metadata": {"name": "kubernetes"}, "spec": spec})

        def ready(obj: Object) -> None:
            if not (obj.get("status") or {}).get("conditions"):
                obj["status"] = {"conditions": [condition]}

        await server.storage.modify(ranges, "", "kubernetes", ready)


async def publish(server: ApiServer, host: str, port: int) -> None:
    """Let pods reach this server: Service, Endpoints and EndpointSlice ``default/kubernetes``.

    The Service has the first address of the range, as upstream; `host` and `port` are where the server listens.
    """
    first = str(ipaddress.ip_network(server.cluster.service_cidr)[1])
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    services = server.table.find("", "v1", "services")
    if services is not None:
        spec = {
            "clusterIP": first,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        }
        wanted: Object = {"metadata": {"name": "kubernetes", "labels": _LABELS}, "spec": spec}
        await _ensure(server, services, "default", wanted)

        def aim(service: Object) -> None:
            service["spec"]["ports"] = spec["ports"]

        await server.storage.modify(services, "default", "kubernetes", aim)
    endpoints = server.table.find("", "v1", "endpoints")
    if endpoints is not None:
        subsets = [{"addresses": [{"ip": host}], "ports": ports}]
        labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        wanted = {"metadata": {"name": "kubernetes", "labels": labels}, "subsets": subsets}
        await _ensure(server, endpoints, "default", wanted)
        await server.storage.modify(endpoints, "default", "kubernetes", lambda obj: obj.update(subsets=subsets))
    slices = server.table.find("discovery.k8s.io", "v1", "endpointslices")
    if slices is not None:
        behind = [{"addresses": [host], "conditions": {"ready": True}}]
        family = "IPv6" if ":" in host else "IPv4"
        labels = {"kubernetes.io/service-name": "kubernetes"}
        wanted = {
            "metadata": {"name": "kubernetes", "labels": labels},
            "addressType": family,
            "endpoints": behind,
            "ports": ports,
        }
        await _ensure(server, slices, "default", wanted)
        change = {"endpoints": behind, "ports": ports}
        await server.storage.modify(slices, "default", "kubernetes", lambda obj: obj.update(change))


async def _ensure(server: ApiServer, served: Served, namespace: str, obj: Object) -> None:
    name = obj["metadata"]["name"]
    if await server.storage.find(served, namespace, name) is not None:
        return
    own = layout.decode_json(layout.encode_json(obj))  # defaulting changes it
    body = decoding.settled(served, {"apiVersion": served.kind.api_version, "kind": served.kind.kind, **own})
    try:
        await server.storage.create(served, namespace, body, Caller(server.user, "kube-apiserver"))
    except errors.AlreadyExists:
        pass  # another API server was quicker
