"""The volume claims of a StatefulSet: made with their pods, and kept or deleted as the retention policy says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore.errors import AlreadyExists, ApiError
from kcore.objects import Object, meta
from kcore.objects.resources import PERSISTENTVOLUMECLAIMS
from kcore_controllers import statefulset_pods as identity

if TYPE_CHECKING:
    from kcore.client import Client
    from kcore.client.events import Recorder
    from kcore.client.informer import Informer


class Claims:
    def __init__(self, client: Client, informer: Informer, recorder: Recorder):
        self._client, self._informer, self._recorder = client, informer, recorder

    async def create(self, s: Object, ordinal: int) -> None:
        """The claims of one pod, those that are not there."""
        for template in s["spec"].get("volumeClaimTemplates") or ():
            name = identity.claim_name(template, s, ordinal)
            if self._informer.get(f"{meta.namespace(s)}/{name}") is not None:
                continue
            labels = {**meta.labels(template), **(s["spec"]["selector"].get("matchLabels") or {})}
            metadata: Object = {"name": name, "namespace": meta.namespace(s), "labels": labels}
            if meta.annotations(template):
                metadata["annotations"] = dict(meta.annotations(template))
            claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
            claim["spec"] = meta.copy(template["spec"])
            try:
                await self._client.create(PERSISTENTVOLUMECLAIMS, claim, meta.namespace(s))
            except AlreadyExists:
                continue
            except ApiError as error:
                self._recorder.event(
                    s,
                    "Warning",
                    "FailedCreate",
                    f"create Claim {name} for Pod {meta.name(s)}-{ordinal} in StatefulSet {meta.name(s)} "
                    f"failed error: {error}",
                )
                raise
            self._recorder.event(
                s,
                "Normal",
                "SuccessfulCreate",
                f"create Claim {name} Pod {meta.name(s)}-{ordinal} in StatefulSet {meta.name(s)} success",
            )

    async def keep_policy(self, s: Object, pods: list[Object]) -> None:
        """persistentVolumeClaimRetentionPolicy, by owner references: the garbage collector does the deleting."""
        policy = s["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        scaled, deleted = policy.get("whenScaled", "Retain"), policy.get("whenDeleted", "Retain")
        if not s["spec"].get("volumeClaimTemplates"):
            return
        by_ordinal = {identity.ordinal(p, s): p for p in pods}
        for ordinal in {*range(identity.start(s), identity.start(s) + identity.replicas(s)), *by_ordinal}:
            pod = by_ordinal.get(ordinal)
            condemned = not identity.start(s) <= ordinal < identity.start(s) + identity.replicas(s)
            owners: list[Object] = []
            if scaled == "Delete" and condemned and pod is not None:
                owners.append(_reference(pod, "v1", "Pod"))
            elif deleted == "Delete":
                owners.append(_reference(s, "apps/v1", "StatefulSet"))
            for template in s["spec"]["volumeClaimTemplates"]:
                await self._set_owners(s, identity.claim_name(template, s, ordinal), owners)

    async def _set_owners(self, s: Object, name: str, wanted: list[Object]) -> None:
        claim = self._informer.get(f"{meta.namespace(s)}/{name}")
        if claim is None:
            return
        present = claim["metadata"].get("ownerReferences") or []
        others = [
            r for r in present if r["kind"] not in ("StatefulSet", "Pod") or r.get("name") not in _names(s, name)
        ]
        if [r["uid"] for r in present] != [r["uid"] for r in (*others, *wanted)]:
            metadata = {"resourceVersion": meta.resource_version(claim), "ownerReferences": [*others, *wanted] or None}
            await self._client.patch(PERSISTENTVOLUMECLAIMS, name, {"metadata": metadata}, meta.namespace(s))


def _names(s: Object, claim: str) -> tuple[str, str]:
    """The set's name, and that of the pod that a claim belongs to."""
    return meta.name(s), f"{meta.name(s)}-{claim.rpartition('-')[2]}"


def _reference(owner: Object, api_version: str, kind: str) -> Object:
    return {"apiVersion": api_version, "kind": kind, "name": meta.name(owner), "uid": meta.uid(owner)}
