"""The Service ``kube-system/kube-dns`` and the EndpointSlice behind it, as objects that people and programs find.

Where the server listens at the service's own address (possible on loopback addresses), the Service says that no proxy
needs to carry it: the label ``service.kubernetes.io/service-proxy-name`` is upstream's word for that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from kcore.client import Client
from kcore.dns import NAME, NAMESPACE, PORT
from kcore.errors import ApiError, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import ENDPOINTSLICES, SERVICES

PROXY_NAME = "service.kubernetes.io/service-proxy-name"
MANAGER = "kcore-dns"
SLICE = f"{NAME}-kcore"
RETRY_SECONDS = (0.5, 30.0)
"""First and longest pause before it is tried again, doubling."""

_LABELS = {
    "k8s-app": "kube-dns",
    "kubernetes.io/cluster-service": "true",
    "kubernetes.io/name": "CoreDNS",
}


def _service(address: str, direct: bool) -> Object:
    ports = [
        {"name": "dns", "port": PORT, "protocol": "UDP", "targetPort": PORT},
        {"name": "dns-tcp", "port": PORT, "protocol": "TCP", "targetPort": PORT},
    ]
    labels = {**_LABELS, PROXY_NAME: MANAGER} if direct else _LABELS
    return {
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": labels},
        "spec": {"clusterIP": address, "ports": ports, "type": "ClusterIP"},
    }


def _slice(served: Sequence[tuple[str, str, int]]) -> Object:
    address = served[0][1]
    names = {"UDP": "dns", "TCP": "dns-tcp"}
    return {
        "metadata": {
            "name": SLICE,
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": NAME,
                "endpointslice.kubernetes.io/managed-by": MANAGER,
                "k8s-app": "kube-dns",
            },
        },
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}],
        "ports": [{"name": names[protocol], "protocol": protocol, "port": port} for protocol, _, port in served],
    }


async def publish(client: Client, address: str, served: Sequence[tuple[str, str, int]], log: logging.Logger) -> None:
    """Make or mend both objects; returns when they are as they should be. Tries again when the API does not answer."""
    pause = RETRY_SECONDS[0]
    while True:
        try:
            await _publish(client, address, served, log)
            return
        except (ApiError, OSError) as error:
            log.warning("service %s/%s: %s; trying again", NAMESPACE, NAME, error)
        await trio.sleep(pause)
        pause = min(pause * 2, RETRY_SECONDS[1])


async def _publish(client: Client, address: str, served: Sequence[tuple[str, str, int]], log: logging.Logger) -> None:
    direct = any(at == address for _, at, _ in served)
    wanted = _service(address, direct)
    try:
        service = await client.get(SERVICES, NAME, NAMESPACE)
    except NotFound:
        await client.create(SERVICES, wanted, NAMESPACE)
    else:
        if service["spec"].get("selector"):
            log.warning("service %s/%s selects pods of its own and is left as it is", NAMESPACE, NAME)
            return
        if service["spec"].get("clusterIP") != address:
            text = "service %s/%s has the address %s, not %s: delete it, and it is made anew"
            log.warning(text, NAMESPACE, NAME, service["spec"].get("clusterIP"), address)
        if (meta.labels(service).get(PROXY_NAME) == MANAGER) != direct:
            label = {PROXY_NAME: MANAGER if direct else None}
            await client.patch(SERVICES, NAME, {"metadata": {"labels": label}}, NAMESPACE)
    slice = _slice(served)
    try:
        before = await client.get(ENDPOINTSLICES, SLICE, NAMESPACE)
    except NotFound:
        await client.create(ENDPOINTSLICES, slice, NAMESPACE)
        return
    if before.get("addressType") != slice["addressType"]:  # it cannot be changed
        await client.delete(ENDPOINTSLICES, SLICE, NAMESPACE)
        await client.create(ENDPOINTSLICES, slice, NAMESPACE)
    elif any(before.get(k) != slice[k] for k in ("endpoints", "ports")):
        change = {"endpoints": slice["endpoints"], "ports": slice["ports"]}
        await client.patch(ENDPOINTSLICES, SLICE, change, NAMESPACE)
