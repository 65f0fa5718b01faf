"""What containers mount: the pod's volumes as `kcore.runtime.Volume`s.

Kubernetes docs: "Volumes", "Projected Volumes", "Configure a Pod to Use a ConfigMap". A volume whose object is missing
keeps the whole pod from starting (event FailedMount, container reason ContainerCreating); the object's appearance is
work for the pod, so it starts at once then. Service-account tokens of pods that are no programs of this machine are
only asked for when somebody reads them. They are asked for again when 80 % of their life has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import trio

from kcore.client import Client
from kcore.errors import ApiError, KcoreError, NotFound
from kcore.node.env import secret_bytes
from kcore.node.expansion import expand, missing_of
from kcore.node.fields import field, format_map, resource
from kcore.node.references import Lookup
from kcore.objects import Object, meta, quantity
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
    tokens: dict[tuple[str, str], Token]  # by volume and path; they outlive this
    real: bool = True  # the machine's paths are what pods get

    async def volume(self, spec: Object) -> Volume:
        """The volume that one entry of spec.volumes describes. Raises MountFailed."""
        name = spec["name"]
        for kind, make in _KINDS.items():
            if kind in spec:
                made: Volume = await make(self, name, spec[kind] or {})
                return attrs.evolve(made, group=self.group) if made.kind in _GROUPED else made
        if self.real:
            kind = next((k for k in spec if k != "name"), "nothing")
            raise MountFailed(f'MountVolume.SetUp failed for volume "{name}" : no driver for {kind} on this node')
        return Volume(name, "empty", group=self.group)  # what needs a driver on the node has a directory of its own

    @property
    def group(self) -> int | None:
        """fsGroup."""
        found = (self.pod["spec"].get("securityContext") or {}).get("fsGroup")
        return None if found is None else int(found)

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])


async def _empty_dir(source: VolumeSource, name: str, spec: Object) -> Volume:
    limit = quantity.value(spec["sizeLimit"]) if spec.get("sizeLimit") else 0
    return Volume(name, "empty", medium=spec.get("medium", ""), size_limit=limit)


async def _host_path(source: VolumeSource, name: str, spec: Object) -> Volume:
    type = spec.get("type") or ""
    if source.real:
        from kcore.node import hostpaths

        try:
            await trio.to_thread.run_sync(hostpaths.check, spec["path"], type)
        except (hostpaths.WrongPath, OSError) as error:
            raise MountFailed(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
    return Volume(name, "host", source=spec["path"], host_type=type.removesuffix("OrCreate"))


async def _image(source: VolumeSource, name: str, spec: Object) -> Volume:
    return Volume(name, "image", source=spec.get("reference", ""))


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
            path = part["serviceAccountToken"]["path"]
            token = source.tokens.setdefault((name, path), Token(source, part["serviceAccountToken"]))
            if source.real:
                await token.ensure(name)
            owner = token_owner(source.pod)
            own = 0o600 if owner is not None or source.group is not None else mode
            files[path] = File(mode=own, owner=owner if source.group is None else None, load=token.read)
        else:
            raise MountFailed(f'MountVolume.SetUp failed for volume "{name}" : no such source: {", ".join(part)}')
    return Volume(name, "files", files)


async def _claim(source: VolumeSource, name: str, spec: Object) -> Volume:
    return await _claim_named(source, name, spec["claimName"])


async def _ephemeral(source: VolumeSource, name: str, spec: Object) -> Volume:
    claim = f"{source.pod['metadata']['name']}-{name}"
    found = await _read(source, PERSISTENTVOLUMECLAIMS, source.namespace, claim)
    owners = (found or {}).get("metadata", {}).get("ownerReferences") or ()
    if found is not None and not any(o.get("uid") == meta.uid(source.pod) for o in owners):
        whose = f"{source.namespace}/{source.pod['metadata']['name']}"
        raise MountFailed(
            f'MountVolume.SetUp failed for volume "{name}" : PVC {source.namespace}/{claim} was not created for pod '
            f"{whose} (pod is not owner)"
        )
    return await _claim_named(source, name, claim)


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
    if not source.real:
        path = (spec.get("hostPath") or spec.get("local") or {}).get("path", "")
        return Volume(name, "claim", claim=volume_name, source=path)
    if spec.get("hostPath"):
        return await _host_path(source, name, spec["hostPath"])
    if spec.get("local"):
        made = await _host_path(source, name, {"path": spec["local"]["path"], "type": "Directory"})
        return attrs.evolve(made, group=source.group)
    kind = next((k for k in spec if k in _DRIVEN), "its kind")
    raise MountFailed(f'MountVolume.SetUp failed for volume "{volume_name}" : no driver for {kind} on this node')


_DRIVEN = ("csi", "nfs", "iscsi", "fc", "rbd", "cephfs", "awsElasticBlockStore", "gcePersistentDisk", "azureDisk")
_GROUPED = ("empty", "files", "claim")


_KINDS: dict[str, Any] = {
    "emptyDir": _empty_dir,
    "configMap": _config_map,
    "secret": _secret,
    "projected": _projected,
    "downwardAPI": _downward,
    "persistentVolumeClaim": _claim,
    "ephemeral": _ephemeral,
    "hostPath": _host_path,
    "image": _image,
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
    "image": "image",
}


def plugin(spec: Object) -> str:
    """What metrics call the kind of a volume."""
    return "kubernetes.io/" + next((name for kind, name in _PLUGINS.items() if kind in spec), "empty-dir")


def read_only_volumes(pod: Object) -> set[str]:
    """The names of volumes that nobody in the pod may write to."""
    found = pod["spec"].get("volumes") or ()
    always = ("configMap", "secret", "projected", "downwardAPI", "image")
    return {
        v["name"]
        for v in found
        if any(k in v for k in always) or (v.get("persistentVolumeClaim") or {}).get("readOnly")
    }


def sub_path(mount: Object, env: Mapping[str, str]) -> str:
    """The part of the volume that is mounted. Raises MountFailed, with upstream's texts."""
    text = str(mount.get("subPath") or "")
    if mount.get("subPathExpr"):
        missing = missing_of(mount["subPathExpr"], env)
        if missing:
            raise MountFailed(f'missing value for "{missing[0]}"')
        text = expand(mount["subPathExpr"], env)
    if text.startswith("/"):
        raise MountFailed(f"error SubPath `{text}` must not be an absolute path")
    if ".." in text.split("/"):
        raise MountFailed(f"unable to provision SubPath `{text}`: must not contain '..'")
    return text


def token_owner(pod: Object) -> int | None:
    """The user of all containers, if they have one in common: a token is for nobody else to read."""
    spec = pod["spec"]
    of_pod = (spec.get("securityContext") or {}).get("runAsUser")
    users = {
        (c.get("securityContext") or {}).get("runAsUser", of_pod)
        for k in ("containers", "initContainers", "ephemeralContainers")
        for c in spec.get(k) or ()
    }
    found = users.pop() if len(users) == 1 else None
    return None if found is None else int(found)


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
        out[item["path"]] = File(data[item["key"]], mode if item.get("mode") is None else item["mode"])
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
        out[item["path"]] = File(text.encode(), mode if item.get("mode") is None else item["mode"])
    return out


class Token:
    """A token of the pod's service account, bound to the pod."""

    RENEW = 0.8  # of its life

    def __init__(self, source: VolumeSource, spec: Object) -> None:
        # the token outlives the version of the pod that it was first read for: take what it needs of it
        m = source.pod["metadata"]
        self._client, self._namespace, self._spec = source.client, source.namespace, spec
        self._pod = {"kind": "Pod", "apiVersion": "v1", "name": m["name"], "uid": m["uid"]}
        self._account: str = source.pod["spec"].get("serviceAccountName") or "default"
        self._token = b""
        self.renew_at = -1.0  # trio's clock
        self._lock = trio.Lock()

    @property
    def due(self) -> bool:
        """It has been given out, and it is time for another."""
        return bool(self._token) and trio.current_time() >= self.renew_at

    async def ensure(self, volume: str) -> None:
        """Have one, or a MountFailed."""
        try:
            await self.read()
        except (ApiError, OSError) as error:
            if not self._token:  # else the old one does for a while
                text = f'MountVolume.SetUp failed for volume "{volume}" : failed to fetch token: {error}'
                raise MountFailed(text) from error

    async def read(self) -> bytes:
        async with self._lock:
            if trio.current_time() >= self.renew_at:
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
        self.renew_at = trio.current_time() + seconds * self.RENEW
