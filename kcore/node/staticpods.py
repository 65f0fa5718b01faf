"""Pods that a node runs by itself, from files in a directory (Kubernetes docs, "Create static Pods").

Each gets a mirror in the API, so that it is seen there; what is done to the mirror does nothing to the pod. The
directory is looked at again whenever it, or a file in it, has another time of change.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from kcore import clock
from kcore.errors import AlreadyExists, ApiError, NotFound
from kcore.node.work import Job
from kcore.objects import Object, meta
from kcore.objects.resources import PODS

if TYPE_CHECKING:
    from kcore.node.agent import Agent
    from kcore.node.pod import PodWorker

log = logging.getLogger("kcore.node")

PERIOD = 2.0  # seconds between looks at the directory
SOURCE, HASH, SEEN, MIRROR = (f"kubernetes.io/config.{word}" for word in ("source", "hash", "seen", "mirror"))
_DEFAULTS: Object = {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30}
_ANY: Object = {"operator": "Exists", "effect": "NoExecute"}


def read_manifest(data: bytes, node: str) -> Object:
    """The pod of a file, as the node runs it. Raises ValueError."""
    found = _parse(data)
    spec, m = found.get("spec"), found.get("metadata") or {}
    if found.get("kind") != "Pod" or not isinstance(spec, dict) or not spec.get("containers") or not m.get("name"):
        raise ValueError("not a Pod with a name and containers")
    if any(not isinstance(c, dict) or not c.get("name") or not c.get("image") for c in spec["containers"]):
        raise ValueError("each container needs a name and an image")
    digest = hashlib.md5(json.dumps([found, node], sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    annotations = {**(m.get("annotations") or {}), SOURCE: "file", HASH: digest, SEEN: clock.timestamp()}
    metadata = {
        **m,
        "name": f"{m['name']}-{node.lower()}",
        "namespace": m.get("namespace") or "default",
        "uid": digest,
        "annotations": annotations,
        "creationTimestamp": clock.timestamp(),
    }
    whole = {**_DEFAULTS, **spec, "nodeName": node, "tolerations": [*(spec.get("tolerations") or ()), _ANY]}
    for member in ("containers", "initContainers"):
        if spec.get(member):
            whole[member] = [_container(c) for c in spec[member]]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole, "status": {"phase": "Pending"}}


def _parse(data: bytes) -> Object:
    import yaml

    try:
        found = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the file is wrong, not the type of an argument
    return found


def _container(c: Object) -> Object:
    """Requests are the limits where nothing else is said, as the API has it."""
    resources = c.get("resources") or {}
    if resources.get("limits"):
        resources = {**resources, "requests": {**resources["limits"], **(resources.get("requests") or {})}}
    return {**c, "resources": resources} if resources else c


class StaticPods(Job):
    """Those of one node."""

    def __init__(self, agent: Agent, directory: str) -> None:
        super().__init__()
        self._agent, self._directory = agent, Path(directory)
        self._stamp: tuple[Any, ...] = ()
        self._by_key: dict[str, PodWorker] = {}  # namespace/name -> worker
        self._manifests: dict[str, Object] = {}  # the same, as they should run

    def __repr__(self) -> str:
        return f"<static pods of {self._agent.name}>"

    async def run(self) -> None:
        if self._agent.dead:
            return
        self._agent.host.work.add_after(self, PERIOD)
        stamp, found = await trio.to_thread.run_sync(self._look)
        if found is not None:
            self._stamp, self._manifests = stamp, found
        self._settle()

    async def first(self) -> list[Object]:
        """What there is when the node starts."""
        self._stamp, found = await trio.to_thread.run_sync(self._look)
        self._manifests = found or {}
        return list(self._manifests.values())

    def _look(self) -> tuple[tuple[Any, ...], dict[str, Object] | None]:
        """Blocks on the disk. None: nothing has changed."""
        try:
            files = sorted(p for p in self._directory.iterdir() if p.is_file() and not p.name.startswith("."))
            stamp = tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in files)
        except OSError as error:
            log.warning("%r: %s", self, error)
            return self._stamp, None
        if stamp == self._stamp:
            return stamp, None
        found = {}
        for path in files:
            try:
                pod = read_manifest(path.read_bytes(), self._agent.name)
                found[meta.key(pod)] = pod
            except (OSError, ValueError) as error:
                log.warning("%r: %s: %s", self, path.name, error)
        return stamp, found

    def _settle(self) -> None:
        """Run what should run, end what should not. A pod that has changed is another one: the old one ends first."""
        for key, worker in list(self._by_key.items()):
            wanted = self._manifests.get(key)
            if wanted is not None and meta.uid(wanted) == worker.uid:
                continue
            worker.gone = True
            worker.poke()
            if worker.uid not in self._agent.workers:
                del self._by_key[key]
        for key, pod in self._manifests.items():
            if key not in self._by_key:
                self._by_key[key] = self._agent.work_on(pod)
        for worker in self._by_key.values():
            worker.publish()

    def find(self, key: str) -> PodWorker | None:
        return self._by_key.get(key)

    async def mirror(self, worker: PodWorker, status: Object) -> None:
        """Show the pod, as it is, in the API."""
        client, pod = self._agent.host.client, worker.pod
        name, namespace, digest = meta.name(pod), meta.namespace(pod), worker.uid
        try:
            found = await client.get(PODS, name, namespace)
        except NotFound:
            found = None
        if found is not None and (meta.annotations(found).get(MIRROR) != digest or meta.deleting(found)):
            await client.delete(PODS, name, namespace, grace_seconds=0, uid=meta.uid(found))
            found = None
        if found is None:
            try:
                found = await client.create(PODS, _mirror_of(pod, self._agent.node), namespace)
            except AlreadyExists:
                return  # the next look finds what it is
        if status != found.get("status"):
            await client.update(PODS, {**found, "status": {**status, "observedGeneration": 1}}, subresource="status")

    async def remove_mirror(self, worker: PodWorker) -> None:
        """The pod is no more."""
        client, pod = self._agent.host.client, worker.pod
        try:
            found = await client.get(PODS, meta.name(pod), meta.namespace(pod))
            if meta.annotations(found).get(MIRROR) == worker.uid:
                await client.delete(PODS, meta.name(pod), meta.namespace(pod), grace_seconds=0, uid=meta.uid(found))
        except ApiError as error:
            log.warning("%r: its mirror cannot be deleted: %s", worker, error)


def _mirror_of(pod: Object, node: Object) -> Object:
    m = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": meta.name(node), "uid": meta.uid(node), "controller": True}
    metadata = {k: v for k, v in m.items() if k in ("name", "namespace", "labels")}
    metadata |= {"annotations": {**m["annotations"], MIRROR: m["annotations"][HASH]}, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
