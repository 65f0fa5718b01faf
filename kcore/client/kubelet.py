"""Asking kubelets: where a node's is, and what makes it trust us.

Whoever has the cluster's CA (the API server and what runs in its process) asks with the certificate that is called
``kube-apiserver-kubelet-client``.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from kcore.errors import InternalError
from kcore.objects import Object

USER = "kube-apiserver-kubelet-client"
GROUP = "system:masters"
PORT = 10250
ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")


def address(node: Object, types: tuple[str, ...] = ADDRESS_TYPES) -> tuple[str, int]:
    """(host, port) of a node's kubelet, by the first of `types` that the node has. Raises InternalError."""
    status = node.get("status") or {}
    found = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or PORT
    for kind in types:
        if kind in found:
            return found[kind], int(port)
    raise InternalError(f"no preferred addresses found; known addresses: {list(found.values())}")


def client_context(data_dir: Path) -> ssl.SSLContext:
    """TLS towards kubelets: their certificate must be the cluster's; its name is not looked at, as upstream."""
    from kcore.pki import Pki

    pki = Pki.open(data_dir)
    context = pki.client_context(*pki.client_certificate(USER, (GROUP,)))
    context.check_hostname = False
    return context
