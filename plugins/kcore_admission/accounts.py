"""ServiceAccount: whom a pod is to the API, and how it proves it. AlwaysPullImages: who may use an image on a node."""

from __future__ import annotations

from kcore.api.admission import AdmissionRequest
from kcore.objects import Object
from kcore.objects.names import random_suffix
from kcore.objects.resources import SERVICEACCOUNTS
from kcore_admission.base import Plugin, forbidden, is_create

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
_VOLUME = VOLUME_PREFIX + random_suffix()  # one for all: what is equal in two pods is judged once (`Remembered`)
TOKEN_SECONDS = 3607  # an hour, and a little more by which such tokens are recognised
# A new namespace's default account is made by a controller: a pod that comes first waits for it.
PATIENCE_SECONDS = 1.0


class ServiceAccount(Plugin):
    name = "ServiceAccount"
    looks_at = (SERVICEACCOUNTS,)

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, "pods")

    async def admit(self, request: AdmissionRequest) -> None:
        pod = request.obj
        assert pod is not None
        if "kubernetes.io/config.mirror" in (pod["metadata"].get("annotations") or {}):
            return  # stands for a pod that a node runs without being told to
        spec = pod["spec"]
        name = spec.get("serviceAccountName") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        patience = PATIENCE_SECONDS if name == "default" else 0.0
        account = await self.seen["serviceaccounts"].get(name, request.namespace, patience=patience)
        if account is None:
            why = f'error looking up service account {request.namespace}/{name}: serviceaccount "{name}" not found'
            raise forbidden(request, why)
        if _wants_token(spec, account):
            mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(s) for s in account["imagePullSecrets"]]


def _wants_token(spec: Object, account: Object) -> bool:
    for asked in (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if asked is not None:
            return bool(asked)
    return True


def mount_token(spec: Object) -> None:
    """Mount the token, the cluster's CA and the namespace's name into every container that has nothing there."""
    volumes = spec.get("volumes") or []
    name = next((v["name"] for v in volumes if v.get("name", "").startswith(VOLUME_PREFIX)), "")
    known = bool(name)
    name = name or _VOLUME
    needed = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.get("volumeMounts") or []
        if any(m.get("mountPath") == MOUNT_PATH for m in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
        needed = True
    if needed and not known:
        spec["volumes"] = [*volumes, {"name": name, "projected": _projected()}]


def _projected() -> Object:
    return {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }


class AlwaysPullImages(Plugin):
    name = "AlwaysPullImages"

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, "pods")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        for sort in ("initContainers", "containers", "ephemeralContainers"):
            for container in request.obj["spec"].get(sort) or ():
                container["imagePullPolicy"] = "Always"
