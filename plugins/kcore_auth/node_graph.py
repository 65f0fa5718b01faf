"""Which objects a node has to do with: those that its pods name, and what these lead to.

    node <- pod -> secret, configmap, service account, resource claim
                -> persistent volume claim <- persistent volume -> secret
    node <- volume attachment

Kept by events: a decision is one or two look-ups, however many pods there are. It is followed only from the first
question on, since a cluster whose nodes are all in one process never asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from kcore.client.informer import Informers
from kcore.objects import Object
from kcore.objects.resources import GVR, PERSISTENTVOLUMES, PODS

VOLUMEATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", namespaced=False)

Ref = tuple[str, str, str]  # resource, namespace, name
# Where a volume of a pod names a secret: the member of its source, and the member in that with the name.
_SECRET_SOURCES = ("cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos")
_CSI_SECRETS = (
    "controllerExpandSecretRef",
    "controllerPublishSecretRef",
    "nodeExpandSecretRef",
    "nodePublishSecretRef",
    "nodeStageSecretRef",
)
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


@attrs.define
class Graph:
    """Call the handlers with every change, as an informer does."""

    _pods: dict[tuple[str, str], tuple[str, frozenset[Ref]]] = attrs.Factory(dict)
    _nodes: dict[Ref, dict[str, int]] = attrs.Factory(dict)  # ref -> node -> how many of its pods name it
    _claims: dict[str, Ref] = attrs.Factory(dict)  # volume -> claim
    _volume_secrets: dict[str, frozenset[Ref]] = attrs.Factory(dict)
    _secret_volumes: dict[Ref, set[str]] = attrs.Factory(dict)
    _attached: dict[str, str] = attrs.Factory(dict)  # volume attachment -> node

    def follow(self, informers: Informers) -> None:
        informers.get(PODS).on_change(self.pod_changed)
        informers.get(PERSISTENTVOLUMES).on_change(self.volume_changed)
        informers.get(VOLUMEATTACHMENTS).on_change(self.attachment_changed)

    def related(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether `node` has to do with the object."""
        if resource == "volumeattachments":
            return self._attached.get(name) == node
        if resource == "persistentvolumes":
            return self._claimed(node, name)
        if resource == "pods":
            known = self._pods.get((namespace, name))
            return known is not None and known[0] == node
        ref = (resource, namespace, name)
        if node in self._nodes.get(ref, ()):
            return True
        return any(self._claimed(node, volume) for volume in self._secret_volumes.get(ref, ()))

    def _claimed(self, node: str, volume: str) -> bool:
        claim = self._claims.get(volume)
        return claim is not None and node in self._nodes.get(claim, ())

    # --- changes -----------------------------------------------------------------------------------------------------

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        meta = (new or old or {})["metadata"]
        key = (meta["namespace"], meta["name"])
        node = "" if new is None else new["spec"].get("nodeName", "")
        now = (node, frozenset(refs_of(new))) if new is not None and node else None
        before = self._pods.get(key)
        if before == now:
            return
        if before is not None:
            self._count(before, -1)
            del self._pods[key]
        if now is not None:
            self._pods[key] = now
            self._count(now, 1)

    def _count(self, pod: tuple[str, frozenset[Ref]], by: int) -> None:
        node, refs = pod
        for ref in refs:
            nodes = self._nodes.setdefault(ref, {})
            nodes[node] = nodes.get(node, 0) + by
            if not nodes[node]:
                del nodes[node]
                if not nodes:
                    del self._nodes[ref]

    def volume_changed(self, old: Object | None, new: Object | None) -> None:
        name = (new or old or {})["metadata"]["name"]
        self._claims.pop(name, None)
        for ref in self._volume_secrets.pop(name, ()):
            self._secret_volumes[ref].discard(name)
            if not self._secret_volumes[ref]:
                del self._secret_volumes[ref]
        if new is None:
            return
        claim = new["spec"].get("claimRef") or {}
        if claim.get("name"):
            self._claims[name] = ("persistentvolumeclaims", claim.get("namespace", ""), claim["name"])
        secrets = frozenset(_secrets_of(new["spec"], claim.get("namespace", "")))
        if secrets:
            self._volume_secrets[name] = secrets
            for ref in secrets:
                self._secret_volumes.setdefault(ref, set()).add(name)

    def attachment_changed(self, old: Object | None, new: Object | None) -> None:
        name = (new or old or {})["metadata"]["name"]
        if new is None:
            self._attached.pop(name, None)
        else:
            self._attached[name] = new["spec"].get("nodeName", "")


def refs_of(pod: Object) -> Iterator[Ref]:
    """Everything that a pod names. A mirror pod, which the node itself has written, names nothing."""
    meta, spec = pod["metadata"], pod["spec"]
    namespace = meta["namespace"]
    if "kubernetes.io/config.mirror" in (meta.get("annotations") or {}):
        return
    if spec.get("serviceAccountName"):
        yield ("serviceaccounts", namespace, spec["serviceAccountName"])
    for secret in spec.get("imagePullSecrets") or ():
        if secret.get("name"):
            yield ("secrets", namespace, secret["name"])
    for member in _CONTAINERS:
        for container in spec.get(member) or ():
            for resource, name in _environment(container):
                yield (resource, namespace, name)
    for volume in spec.get("volumes") or ():
        for resource, name in _volume(volume, meta["name"]):
            yield (resource, namespace, name)
    statuses = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    for claim in (*(spec.get("resourceClaims") or ()), *statuses):
        if claim.get("resourceClaimName"):
            yield ("resourceclaims", namespace, claim["resourceClaimName"])


def _environment(container: Object) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield from _named(source, (("secretRef", "secrets"), ("configMapRef", "configmaps")))
    for variable in container.get("env") or ():
        keys = (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps"))
        yield from _named(variable.get("valueFrom") or {}, keys)


def _named(source: Object, members: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for member, resource in members:
        name = (source.get(member) or {}).get("name")
        if name:
            yield resource, name


def _volume(volume: Object, pod: str) -> Iterator[tuple[str, str]]:
    claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
    if "ephemeral" in volume:
        claim = f"{pod}-{volume['name']}"
    if claim:
        yield "persistentvolumeclaims", claim
    name = (volume.get("secret") or {}).get("secretName") or (volume.get("azureFile") or {}).get("secretName")
    if name:
        yield "secrets", name
    yield from _named(volume, (("configMap", "configmaps"),))
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield from _named(source, (("secret", "secrets"), ("configMap", "configmaps")))
    for member in _SECRET_SOURCES:
        yield from _named(volume.get(member) or {}, (("secretRef", "secrets"),))
    yield from _named(volume.get("csi") or {}, (("nodePublishSecretRef", "secrets"),))


def _secrets_of(volume: Object, claim_namespace: str) -> Iterator[Ref]:
    """The secrets that a persistent volume's spec names; without a namespace they are in the claim's."""
    for member in _SECRET_SOURCES:
        ref = (volume.get(member) or {}).get("secretRef") or {}
        if ref.get("name"):
            yield ("secrets", ref.get("namespace") or claim_namespace, ref["name"])
    azure = volume.get("azureFile") or {}
    if azure.get("secretName"):
        yield ("secrets", azure.get("secretNamespace") or claim_namespace, azure["secretName"])
    for member in _CSI_SECRETS:
        ref = (volume.get("csi") or {}).get(member) or {}
        if ref.get("name"):
            yield ("secrets", ref.get("namespace") or claim_namespace, ref["name"])
