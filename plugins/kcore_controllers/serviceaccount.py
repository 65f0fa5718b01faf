"""What every namespace has: the ServiceAccount ``default`` and the ConfigMap ``kube-root-ca.crt``."""

from __future__ import annotations

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import AlreadyExists, ApiError
from kcore.objects import Object, meta
from kcore.objects.resources import CONFIGMAPS, GVR, NAMESPACES, SERVICEACCOUNTS

ROOT_CA = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class _PerNamespace(Reconciler):
    """Keeps one object of a fixed name in every namespace. Keys are names of namespaces."""

    resource: GVR
    object_name: str

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.namespaces = self.watch(NAMESPACES, self.enqueue)
        self.objects = self.watch(
            self.resource, self._object_changed, field_selector=f"metadata.name={self.object_name}"
        )

    def _object_changed(self, old: Object | None, new: Object | None) -> None:
        self.queue.add(meta.namespace(new or old or {}))

    async def reconcile(self, key: str) -> float | None:
        namespace = self.namespaces.get(key)
        if namespace is None or meta.deleting(namespace):
            return None
        present = self.objects.get(f"{key}/{self.object_name}")
        try:
            if present is None:
                metadata = {"name": self.object_name, "namespace": key}
                wanted = {"apiVersion": "v1", "kind": self.resource.kind, "metadata": metadata}
                await self.client.create(self.resource, self.fill(wanted), key)
            elif (filled := self.fill(present)) != present:
                await self.client.update(self.resource, filled)
        except AlreadyExists:
            pass
        except ApiError as error:
            causes = (error.details or {}).get("causes") or ()
            if not any(c.get("reason") == "NamespaceTerminating" for c in causes):
                raise
        return None

    def fill(self, obj: Object) -> Object:
        """The object as it should be (a new one)."""
        return obj


class ServiceAccountController(_PerNamespace):
    name = "serviceaccount"
    resource = SERVICEACCOUNTS
    object_name = "default"


class RootCAController(_PerNamespace):
    """Publishes the cluster's CA certificate, which pods verify the API server with."""

    name = "root-ca-certificate-publisher"
    resource = CONFIGMAPS
    object_name = ROOT_CA

    _pem = ""

    async def reconcile(self, key: str) -> float | None:
        if not self._pem and not self._read():
            return 5.0  # the API part makes it when it opens for the first time: it may be a moment later
        return await super().reconcile(key)

    def _read(self) -> bool:
        path = self.context.keys / "pki" / "ca.crt"
        if path.exists():
            self._pem = path.read_text()
        return bool(self._pem)

    def fill(self, obj: Object) -> Object:
        annotations = {**meta.annotations(obj), "kubernetes.io/description": DESCRIPTION}
        return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}, "data": {"ca.crt": self._pem}}
