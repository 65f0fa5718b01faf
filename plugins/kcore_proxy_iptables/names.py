"""Names of chains, as kube-proxy's: people's tools, and their eyes, know them."""

from __future__ import annotations

import base64
import hashlib

from kcore.proxy import Endpoint, Route

SERVICES, NODEPORTS, EXTERNAL = "KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"
POSTROUTING, MARK_MASQ, FORWARD = "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-FORWARD"
FIREWALL, CANARY = "KUBE-PROXY-FIREWALL", "KUBE-PROXY-CANARY"

HUBS = {  # by table: what there is whatever the services are
    "nat": (SERVICES, NODEPORTS, POSTROUTING, MARK_MASQ, CANARY),
    "filter": (SERVICES, NODEPORTS, EXTERNAL, FORWARD, FIREWALL, CANARY),
    "mangle": (CANARY,),
}
OF_ROUTES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-")


def ours(table: str, chain: str) -> bool:
    """Whether a chain is this proxy's. The kubelet's own (KUBE-FIREWALL, KUBE-KUBELET-CANARY) are not."""
    return chain in HUBS.get(table, ()) or (table == "nat" and chain.startswith(OF_ROUTES))


def of_route(prefix: str, route: Route) -> str:
    """``KUBE-SVC-`` and 16 characters that stand for the service port."""
    return prefix + _hash(route.title + route.protocol.lower())


def of_endpoint(route: Route, endpoint: Endpoint) -> str:
    return "KUBE-SEP-" + _hash(route.title + route.protocol.lower() + target(endpoint))


def target(endpoint: Endpoint) -> str:
    """``10.0.0.1:80``, ``[fd00::1]:80``"""
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{host}:{endpoint.port}"


def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]
