"""What every cluster has from its first moment: system namespaces, priority classes, and the service of the API itself.

Upstream's API server makes these when it starts and keeps them; so does this one, each time it opens.
"""

from __future__ import annotations

import ipaddress

from kcore.client import Client
from kcore.errors import AlreadyExists, NotFound
from kcore.objects import Object
from kcore.objects.resources import ENDPOINTS, ENDPOINTSLICES, GVR, NAMESPACES, PRIORITYCLASSES, SERVICES
from kcore.registry import Cluster

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

_PRIORITY_CLASSES = (
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
)


async def ensure(client: Client, cluster: Cluster, address: str, port: int) -> None:
    """Make what is missing, and point ``default/kubernetes`` at `address`:`port`, where this API listens."""
    for name in SYSTEM_NAMESPACES:
        await _create(client, NAMESPACES, {"metadata": {"name": name}})
    for name, value, description in _PRIORITY_CLASSES:
        await _create(
            client, PRIORITYCLASSES, {"metadata": {"name": name}, "value": value, "description": description}
        )
    ip = str(ipaddress.ip_network(cluster.service_cidr)[1])
    await _create(client, SERVICES, _service(ip))
    for resource, wanted in ((ENDPOINTS, _endpoints(address, port)), (ENDPOINTSLICES, _slice(address, port))):
        await _keep(client, resource, wanted)


async def _create(client: Client, resource: GVR, obj: Object) -> None:
    name = obj["metadata"]["name"]
    namespace = obj["metadata"].get("namespace", "")
    try:
        await client.get(resource, name, namespace)
    except NotFound:
        try:
            await client.create(resource, obj, namespace)
        except AlreadyExists:
            pass  # another API server of the same store was quicker


async def _keep(client: Client, resource: GVR, wanted: Object) -> None:
    """Create, or bring what is there in line: the API may listen somewhere else than the last time."""
    try:
        current = await client.get(resource, "kubernetes", "default")
    except NotFound:
        await _create(client, resource, wanted)
        return
    content = {k: v for k, v in wanted.items() if k != "metadata"}
    if any(current.get(k) != v for k, v in content.items()):
        await client.update(resource, {**current, **content})


def _service(ip: str) -> Object:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": ip,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            "type": "ClusterIP",
        },
    }


def _endpoints(address: str, port: int) -> Object:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]},
        ],
    }


def _slice(address: str, port: int) -> Object:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
