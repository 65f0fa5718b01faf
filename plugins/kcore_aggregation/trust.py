"""What a server behind this one must know to believe it: the ConfigMap ``extension-apiserver-authentication``.

Every such server reads it with the Role ``extension-apiserver-authentication-reader``: whose certificates are
users', whose are front proxies', and which headers a front proxy sends.
"""

from __future__ import annotations

import json
from typing import Any

import trio

from kcore import errors
from kcore.client import Client
from kcore.objects import Object
from kcore.objects.resources import CONFIGMAPS
from kcore.pki import Pki

NAME, NAMESPACE = "extension-apiserver-authentication", "kube-system"
PROXY = "front-proxy-client"
"""The common name by which this server goes to others."""


def _list(*words: str) -> str:
    return json.dumps(list(words))


def data(pki: Pki) -> dict[str, str]:
    return {
        "client-ca-file": pki.ca_pem.decode("ascii"),
        "requestheader-allowed-names": _list(PROXY),
        "requestheader-client-ca-file": pki.front_proxy().ca_pem.decode("ascii"),
        "requestheader-extra-headers-prefix": _list("X-Remote-Extra-"),
        "requestheader-group-headers": _list("X-Remote-Group"),
        "requestheader-uid-headers": _list("X-Remote-Uid"),
        "requestheader-username-headers": _list("X-Remote-User"),
    }


async def publish(client: Client, pki: Pki, found: Object | None) -> None:
    """Make it so again. Raises ApiError."""
    wanted: dict[str, Any] = await trio.to_thread.run_sync(data, pki)
    if found is None:
        body = {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": wanted}
        try:
            await client.create(CONFIGMAPS, body)
        except errors.AlreadyExists:
            pass
    elif any((found.get("data") or {}).get(k) != v for k, v in wanted.items()):
        await client.update(CONFIGMAPS, {**found, "data": {**(found.get("data") or {}), **wanted}})
