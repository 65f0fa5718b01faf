"""`cluster_client`: a `Client` on a cluster of nothing but state, for tests of components.

It keeps objects in memory with resource versions, watches, generations, finalizers, graceful pod deletion, status
and the subresources that components write. It does not validate, default or authorize.
"""

from __future__ import annotations

import copy
import random
import uuid
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from kcore import clock, errors
from kcore.client import JSON_PATCH, ObjectList, WatchEvent
from kcore.objects import Object, outlines, selectors
from kcore.objects.resources import GVR


def _field(obj: Object, path: str) -> str:
    at: Any = obj
    for part in path.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return "" if at is None else str(at)


def _matches(obj: Object, labels: selectors.Selector, fields: list[tuple[str, str, str]]) -> bool:
    if not labels.matches(obj["metadata"].get("labels") or {}):
        return False
    return all((_field(obj, path) == value) == (op == "=") for path, op, value in fields)


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for k, v in patch.items():
        if v is None:
            out.pop(k, None)
        else:
            out[k] = _merge(out.get(k), v)
    return out


@attrs.frozen(slots=True)
class _Change:
    revision: int
    type: str
    new: Object
    old: Object | None


class MemoryClient:
    """See the module. All methods are those of `kcore.client.Client`."""

    def __init__(self, seed: int = 0) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._revision = 0
        self._logs: dict[str, list[_Change]] = {}  # by resource, in order of revision
        self._changed: dict[str, trio.Condition] = {}
        self._random = random.Random(seed)
        self.fail: errors.ApiError | None = None  # set it and every call raises it
        self.discovered: dict[tuple[str, str], list[Object]] = {}  # what `discover` finds, by group and version

    async def get(self, resource: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        await self._enter()
        found = self._objects.get(str(resource), {}).get((namespace, name))
        if found is None:
            raise errors.not_found(resource.resource, name, resource.group)
        if subresource == "scale":
            return self._scale(found)
        return found

    async def list(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        outline: bool = False,
    ) -> ObjectList:
        await self._enter()
        labels, fields = selectors.parse(label_selector), selectors.parse_fields(field_selector)
        items = [
            o
            for (ns, _), o in sorted(self._objects.get(str(resource), {}).items())
            if (not namespace or ns == namespace) and _matches(o, labels, fields)
        ]
        if outline:
            items = [outlines.strip(o) for o in items]
        return ObjectList(items, str(self._revision))

    @asynccontextmanager
    async def watch(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        outline: bool = False,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        await self._enter()
        labels, fields = selectors.parse(label_selector), selectors.parse_fields(field_selector)

        log = self._logs.setdefault(str(resource), [])
        changed = self._changed.setdefault(str(resource), trio.Condition())

        async def events() -> AsyncIterator[WatchEvent]:
            at = bisect_right(log, int(resource_version), key=lambda change: change.revision)
            while True:
                while at < len(log):
                    change = log[at]
                    at += 1
                    new, old = change.new, change.old
                    if namespace and new["metadata"].get("namespace") != namespace:
                        continue
                    shown = outlines.strip(new) if outline else new
                    now = change.type != "DELETED" and _matches(new, labels, fields)
                    before = old is not None and _matches(old, labels, fields)
                    if now:
                        yield WatchEvent("MODIFIED" if before else "ADDED", shown)
                    elif before:
                        yield WatchEvent("DELETED", shown)
                async with changed:
                    if at >= len(log):
                        await changed.wait()

        stream = events()
        try:
            yield stream
        finally:
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator, seen as an iterator

    async def create(
        self, resource: GVR, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        await self._enter()
        if subresource == "binding":
            pod = copy.deepcopy(await self.get(resource, name, namespace))
            if pod["spec"].get("nodeName"):
                raise errors.conflict("pods/binding", name, f"pod {name} is already assigned to a node")
            pod["spec"]["nodeName"] = obj["target"]["name"]
            pod.setdefault("status", {}).setdefault("conditions", []).append(
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": clock.timestamp()}
            )
            return await self._write(resource, pod, "MODIFIED")
        if subresource == "token":
            token = f"token-{round(clock.now())}-of-{namespace}-{name}"
            return {**obj, "status": {"token": token, "expirationTimestamp": clock.timestamp(clock.now() + 3600)}}
        if subresource == "eviction":
            return await self.delete(resource, name, namespace)
        obj = copy.deepcopy(obj)
        meta = obj.setdefault("metadata", {})
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        if resource.namespaced:
            meta["namespace"] = namespace or meta.get("namespace") or "default"
        if not meta.get("name"):
            suffix = "".join(self._random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
            meta["name"] = meta["generateName"] + suffix
        ns = meta.get("namespace", "")
        if (ns, meta["name"]) in self._objects.setdefault(str(resource), {}):
            raise errors.already_exists(resource.resource, meta["name"], resource.group)
        meta["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        meta["creationTimestamp"] = clock.timestamp()
        meta["generation"] = 1
        return await self._write(resource, obj, "ADDED")

    async def update(self, resource: GVR, obj: Object, *, subresource: str = "") -> Object:
        await self._enter()
        meta = obj["metadata"]
        old = await self.get(resource, meta["name"], meta.get("namespace", ""))
        if meta.get("resourceVersion") and meta["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise errors.modified(resource.resource, meta["name"], resource.group)
        if meta.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise errors.conflict(resource.resource, meta["name"], "the UID in the precondition does not match")
        return await self._replace(resource, copy.deepcopy(obj), old, subresource)

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: str = "application/merge-patch+json",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        await self._enter()
        if type == JSON_PATCH:
            raise NotImplementedError("the in-memory client takes merge patches")
        old = await self.get(resource, name, namespace)
        return await self._replace(resource, copy.deepcopy(_merge(old, patch)), old, subresource)

    async def delete(
        self,
        resource: GVR,
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        propagation: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        await self._enter()
        old = await self.get(resource, name, namespace)
        meta = old["metadata"]
        if (uid and uid != meta["uid"]) or (resource_version and resource_version != meta["resourceVersion"]):
            raise errors.conflict(resource.resource, name, "the precondition does not match", resource.group)
        finalizers = list(meta.get("finalizers") or ())
        for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
            if propagation == policy and finalizer not in finalizers:
                finalizers.append(finalizer)
        if resource.resource == "namespaces" and old["spec"].get("finalizers"):
            return await self._terminate_namespace(resource, old)
        grace = 0
        if resource.resource == "pods" and old["spec"].get("nodeName"):
            grace = old["spec"].get("terminationGracePeriodSeconds", 30) if grace_seconds is None else grace_seconds
            if old.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                grace = 0
        if not finalizers and grace == 0:
            return await self._remove(resource, old)
        new = copy.deepcopy(old)
        if not meta.get("deletionTimestamp"):
            new["metadata"]["deletionTimestamp"] = clock.timestamp(clock.now() + grace)
            new["metadata"]["deletionGracePeriodSeconds"] = grace
            if finalizers:
                new["metadata"]["finalizers"] = finalizers
            return await self._write(resource, new, "MODIFIED", old)
        if not finalizers or finalizers == meta.get("finalizers"):
            return old
        new["metadata"]["finalizers"] = finalizers
        return await self._write(resource, new, "MODIFIED", old)

    async def _terminate_namespace(self, resource: GVR, old: Object) -> Object:
        """A namespace goes when its spec.finalizers are empty."""
        if old["metadata"].get("deletionTimestamp"):
            return old
        metadata = {**old["metadata"], "deletionTimestamp": clock.timestamp()}
        new = {**old, "metadata": metadata, "status": {"phase": "Terminating"}}
        return await self._write(resource, new, "MODIFIED", old)

    async def delete_collection(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        propagation: str = "",
    ) -> None:
        page = await self.list(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        for obj in page.items:
            where = obj["metadata"].get("namespace", "")
            await self.delete(resource, obj["metadata"]["name"], where, propagation=propagation)

    async def discover(self, group: str, version: str) -> Sequence[Object]:
        await self._enter()
        found = self.discovered.get((group, version))
        if found is None:
            raise errors.NotFound("the server could not find the requested resource")
        return found

    async def _enter(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.fail is not None:
            raise self.fail

    async def _replace(self, resource: GVR, new: Object, old: Object, subresource: str) -> Object:
        if subresource == "scale":
            new = {**copy.deepcopy(old), "spec": {**old["spec"], "replicas": new["spec"]["replicas"]}}
        elif subresource == "finalize":
            new = {**copy.deepcopy(old), "spec": {**old["spec"], "finalizers": new["spec"].get("finalizers") or []}}
            if not new["spec"]["finalizers"] and new["metadata"].get("deletionTimestamp"):
                return await self._remove(resource, new)
        elif subresource:
            new = {**copy.deepcopy(old), "status": new.get("status", {})}
        elif "status" in old:
            new["status"] = copy.deepcopy(old["status"])
        meta = new["metadata"]
        for kept in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "namespace"):
            if kept in old["metadata"]:
                meta[kept] = old["metadata"][kept]
        if any(new.get(k) != old.get(k) for k in (new.keys() | old.keys()) - {"metadata", "status"}):
            meta["generation"] = old["metadata"].get("generation", 0) + 1
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and old["metadata"].get("finalizers"):
            return await self._remove(resource, new)
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new == old:
            return old
        return await self._write(resource, new, "MODIFIED", old)

    async def _write(self, resource: GVR, obj: Object, type: str, old: Object | None = None) -> Object:
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if old is None and type == "MODIFIED":
            old = self._objects[str(resource)].get(key)
        self._revision += 1
        obj["metadata"]["resourceVersion"] = str(self._revision)
        self._objects.setdefault(str(resource), {})[key] = obj
        await self._record(resource, type, obj, old)
        return obj

    async def _remove(self, resource: GVR, obj: Object) -> Object:
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        old = self._objects[str(resource)].pop(key)
        self._revision += 1
        gone = copy.deepcopy(obj)
        gone["metadata"]["resourceVersion"] = str(self._revision)
        await self._record(resource, "DELETED", gone, old)
        return gone

    async def _record(self, resource: GVR, type: str, new: Object, old: Object | None) -> None:
        self._logs.setdefault(str(resource), []).append(_Change(self._revision, type, new, old))
        changed = self._changed.setdefault(str(resource), trio.Condition())
        async with changed:
            changed.notify_all()

    @staticmethod
    def _scale(obj: Object) -> Object:
        return {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {k: obj["metadata"].get(k) for k in ("name", "namespace", "uid", "resourceVersion")},
            "spec": {"replicas": obj["spec"].get("replicas", 0)},
            "status": {
                "replicas": obj.get("status", {}).get("replicas", 0),
                "selector": str(selectors.from_object(obj["spec"].get("selector"))),
            },
        }


@asynccontextmanager
async def cluster_client() -> AsyncIterator[MemoryClient]:
    """A client on an empty cluster that lives as long as the block."""
    yield MemoryClient()
