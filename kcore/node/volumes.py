"""What containers mount: the pod's volumes as `kcore.runtime.Volume`s.

Kubernetes docs: "Volumes", "Projected Volumes", "Configure a Pod to Use a ConfigMap". A volume whose object is missing
keeps the whole pod from starting (event FailedMount, container reason ContainerCreating); the object's appearance is
work for the pod, so it starts at once then. Service-account tokens are only asked for when somebody reads them, and
asked again when 80 % of their life has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import trio

from kcore.client import Client
from kcore.errors import ApiError, KcoreError, NotFound
from kcore.node.env import secret_bytes
from kcore.node.fields import field, format_map, resource
from kcore.node.references import Lookup
from kcore.objects import Object, quantity
from kcore.objects.resources import (
    CONFIGMAPS,
    GVR,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    SECRETS,
    SERVICEACCOUNTS,
)
from kcore.runtime import File, Volume


class MountFailed(KcoreError):
    """A volume cannot be set up yet. The message is what the FailedMount event says."""


@attrs.frozen
class VolumeSource:
    """What volumes are made from: the pod, and ways to look further."""

    pod: Object
    lookup: Lookup
    client: Client
    ips: tuple[str, ...]
    host_ip: str
    allocatable: Mapping[str, str]

    async def volume(self, spec: Object) -> Volume:
        """The volume that one entry of spec.volumes describes. Raises MountFailed."""
        name = spec["name"]
        for kind, make in _KINDS.items():
            if kind in spec:
                made: Volume = await make(self, name, spec[kind] or {})
                return made
        return Volume(name, "empty")  # what needs a driver on the node has a directory of its own

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])


async def _empty_dir(source: VolumeSource, name: str, spec: Object) -> Volume:
    limit = quantity.value(spec["sizeLimit"]) if spec.get("sizeLimit") else 0
    return Volume(name, "empty", medium=spec.get("medium", ""), size_limit=limit)


async def _host_path(source: VolumeSource, name: str, spec: Object) -> Volume:
    return Volume(name, "host", source=spec["path"])


async def _config_map(source: VolumeSource, name: str, spec: Object) -> Volume:
    return Volume(name, "files", await _from_config_map(source, name, spec, spec.get("defaultMode", 0o644)))


async def _secret(source: VolumeSource, name: str, spec: Object) -> Volume:
    return Volume(name, "files", await _from_secret(source, name, spec, spec.get("defaultMode", 0o644)))


async def _downward(source: VolumeSource, name: str, spec: Object) -> Volume:
    return Volume(name, "files", _from_downward(source, spec, spec.get("defaultMode", 0o644)))


async def _projected(source: VolumeSource, name: str, spec: Object) -> Volume:
    mode = spec.get("defaultMode", 0o644)
    files: dict[str, File] = {}
    for part in spec.get("sources") or ():
        if "configMap" in part:
            files |= await _from_config_map(source, name, part["configMap"], mode)
        elif "secret" in part:
            files |= await _from_secret(source, name, part["secret"], mode)
        elif "downwardAPI" in part:
            files |= _from_downward(source, part["downwardAPI"], mode)
        elif "serviceAccountToken" in part:
            token = part["serviceAccountToken"]
            files[token["path"]] = File(mode=mode, load=_Token(source, token).read)
    return Volume(name, "files", files)


async def _claim(source: VolumeSource, name: str, spec: Object) -> Volume:
    return await _claim_named(source, name, spec["claimName"])


async def _ephemeral(source: VolumeSource, name: str, spec: Object) -> Volume:
    return await _claim_named(source, name, f"{source.pod['metadata']['name']}-{name}")


async def _read(source: VolumeSource, resource: GVR, namespace: str, name: str) -> Object | None:
    """A node may get claims and volumes, but not watch them (the role system:node)."""
    try:
        return await source.client.get(resource, name, namespace)
    except NotFound:
        return None
    except (ApiError, OSError) as error:
        raise MountFailed(f"{resource.resource} {name!r} cannot be read: {error}") from error


async def _claim_named(source: VolumeSource, name: str, claim: str) -> Volume:
    found = await _read(source, PERSISTENTVOLUMECLAIMS, source.namespace, claim)
    if found is None:
        raise MountFailed(f'MountVolume.SetUp failed for volume "{name}" : persistentvolumeclaim "{claim}" not found')
    volume_name = found["spec"].get("volumeName")
    if not volume_name or found.get("status", {}).get("phase") != "Bound":
        raise MountFailed(
            f'MountVolume.SetUp failed for volume "{name}" : PVC {source.namespace}/{claim} is not bound'
        )
    volume = await _read(source, PERSISTENTVOLUMES, "", volume_name)
    spec = (volume or {}).get("spec") or {}
    path = (spec.get("hostPath") or spec.get("local") or {}).get("path", "")
    return Volume(name, "claim", claim=volume_name, source=path)


_KINDS: dict[str, Any] = {
    "emptyDir": _empty_dir,
    "configMap": _config_map,
    "secret": _secret,
    "projected": _projected,
    "downwardAPI": _downward,
    "persistentVolumeClaim": _claim,
    "ephemeral": _ephemeral,
    "hostPath": _host_path,
}


_PLUGINS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "projected": "projected",
    "downwardAPI": "downward-api",
    "persistentVolumeClaim": "persistent-claim",
    "ephemeral": "ephemeral",
    "hostPath": "host-path",
}


def plugin(spec: Object) -> str:
    """What metrics call the kind of a volume."""
    return "kubernetes.io/" + next((name for kind, name in _PLUGINS.items() if kind in spec), "empty-dir")


async def _from_config_map(source: VolumeSource, volume: str, spec: Object, mode: int) -> dict[str, File]:
    name = spec.get("name", "")
    found = await source.lookup(CONFIGMAPS, source.namespace, name)
    if found is None:
        if spec.get("optional"):
            return {}
        raise MountFailed(f'MountVolume.SetUp failed for volume "{volume}" : configmap "{name}" not found')
    data = {k: v.encode() for k, v in (found.get("data") or {}).items()}
    data |= {k: secret_bytes(v) for k, v in (found.get("binaryData") or {}).items()}
    return _project(data, spec, mode, volume)


async def _from_secret(source: VolumeSource, volume: str, spec: Object, mode: int) -> dict[str, File]:
    name = spec.get("secretName") or spec.get("name", "")
    found = await source.lookup(SECRETS, source.namespace, name)
    if found is None:
        if spec.get("optional"):
            return {}
        raise MountFailed(f'MountVolume.SetUp failed for volume "{volume}" : secret "{name}" not found')
    data = {k: secret_bytes(v) for k, v in (found.get("data") or {}).items()}
    return _project(data, spec, mode, volume)


def _project(data: Mapping[str, bytes], spec: Object, mode: int, volume: str) -> dict[str, File]:
    """All keys, or with `items` those that are named, where and as they should be."""
    if not spec.get("items"):
        return {k: File(v, mode) for k, v in data.items()}
    out = {}
    for item in spec["items"]:
        if item["key"] not in data:
            if spec.get("optional"):
                continue
            raise MountFailed(
                f'MountVolume.SetUp failed for volume "{volume}" : references non-existent config key: {item["key"]}'
            )
        out[item["path"]] = File(data[item["key"]], item.get("mode") or mode)
    return out


def _from_downward(source: VolumeSource, spec: Object, mode: int) -> dict[str, File]:
    out = {}
    for item in spec.get("items") or ():
        if "fieldRef" in item:
            path = item["fieldRef"]["fieldPath"]
            if path in ("metadata.labels", "metadata.annotations"):
                text = format_map(source.pod["metadata"].get(path.removeprefix("metadata.")) or {})
            else:
                text = field(source.pod, path, source.ips, source.host_ip)
        else:
            ref = item["resourceFieldRef"]
            divisor = str(ref.get("divisor", "1"))
            text = resource(source.pod, ref["containerName"], ref["resource"], divisor, source.allocatable)
        out[item["path"]] = File(text.encode(), item.get("mode") or mode)
    return out


class _Token:
    """A token of the pod's service account, bound to the pod."""

    RENEW = 0.8  # of its life

    def __init__(self, source: VolumeSource, spec: Object) -> None:
        # the token outlives the version of the pod that it was first read for: take what it needs of it
        m = source.pod["metadata"]
        self._client, self._namespace, self._spec = source.client, source.namespace, spec
        self._pod = {"kind": "Pod", "apiVersion": "v1", "name": m["name"], "uid": m["uid"]}
        self._account: str = source.pod["spec"].get("serviceAccountName") or "default"
        self._token = b""
        self._renew_at = -1.0
        self._lock = trio.Lock()

    async def read(self) -> bytes:
        async with self._lock:
            if trio.current_time() >= self._renew_at:
                await self._request()
        return self._token

    async def _request(self) -> None:
        seconds = int(self._spec.get("expirationSeconds") or 3600)
        spec: Object = {
            "audiences": [self._spec["audience"]] if self._spec.get("audience") else [],
            "expirationSeconds": seconds,
            "boundObjectRef": self._pod,
        }
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._client.create(
            SERVICEACCOUNTS, request, self._namespace, name=self._account, subresource="token"
        )
        self._token = answer["status"]["token"].encode()
        self._renew_at = trio.current_time() + seconds * self.RENEW
