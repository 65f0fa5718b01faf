"""VolumeBinding: a pod goes where its volumes are, or where they can be made.

A bound claim pins the pod to the nodes that its volume's node affinity allows. An unbound claim of a class with
``volumeBindingMode: WaitForFirstConsumer`` is decided together with the pod: the node must have a volume that will
do, or the class must be able to make one there. Once the node is chosen the claim gets its volume (``claimRef``) or
the annotation that asks the provisioner for one, and the pod waits until it is bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
import trio

from kcore.objects import Object, meta, quantity, selectors
from kcore.objects.resources import GVR, NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from kcore.scheduler.arrays import Bools
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Change, Handle, Policy, Refusal, Refused
from kcore.scheduler.select import any_term_mask
from kcore.scheduler.table import NodeTable
from kcore.scheduler.terms import NodeTerm, node_terms, requirements
from kcore_policies.config import VolumeBindingConfig

SELECTED_NODE = "volume.kubernetes.io/selected-node"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_NOT_FOUND = "node(s) didn't find available persistent volumes to bind"
_NONE: dict[str, Any] = {}


@attrs.define
class _Plan:
    """What must be bound before the pod is."""

    static: dict[str, str]  # claim key -> name of the volume that it gets
    dynamic: list[str]  # claim keys whose volumes are to be made


class VolumeBinding(Policy):
    name = "VolumeBinding"
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {
        PERSISTENTVOLUMECLAIMS: frozenset(),
        PERSISTENTVOLUMES: frozenset(),
        STORAGECLASSES: frozenset(),
        NODES: frozenset(("added", "labels")),
    }
    _handle: Handle

    def __init__(self, config: VolumeBindingConfig) -> None:
        self._timeout = config.bind_timeout_seconds
        self._plans: dict[str, _Plan] = {}
        self._taken: dict[str, str] = {}  # volumes promised to claims: volume -> claim key
        self._waiting: dict[str, trio.Event] = {}  # set when the claim or its volume changes

    def attach(self, handle: Handle) -> None:
        self._handle = handle
        handle.informer(PERSISTENTVOLUMECLAIMS).on_change(self._claim_changed)
        handle.informer(PERSISTENTVOLUMES).add_index("class", _class_of_volume)
        handle.informer(STORAGECLASSES)

    # --- may it be tried? --------------------------------------------------------------------------------------------

    def prepare(self, pod: PodInfo, nodes: NodeTable) -> None:
        for key in _keys(pod):
            claim = self._claim(key)
            name = meta.split_key(key)[1]
            if claim is None:
                if name in _ephemeral(pod):
                    raise Refused(
                        f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
                    )
                raise Refused(f'persistentvolumeclaim "{name}" not found')
            if meta.deleting(claim):
                raise Refused(f'persistentvolumeclaim "{name}" is being deleted')
            if claim.get("status", _NONE).get("phase") == "Lost":
                volume = claim["spec"].get("volumeName", "")
                raise Refused(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"')
            if not _bound(claim) and not self._waits_for_consumer(claim):
                raise Refused("pod has unbound immediate PersistentVolumeClaims")

    # --- where? ------------------------------------------------------------------------------------------------------

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        mask: Bools | None = None
        for key in _keys(pod):
            own = self._reachable(key, nodes)
            if own is not None:
                mask = own if mask is None else mask & own
        return mask

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        out = []
        for key in _keys(pod):
            mask, claim = self._reachable(key, nodes), self._claim(key)
            if mask is None or claim is None:
                continue
            here = refused & ~mask
            if not here.any():
                continue
            if not _bound(claim):
                reason = _NOT_FOUND
            elif self._volume(claim["spec"]["volumeName"]) is None:
                reason = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
            else:
                reason = "node(s) didn't match PersistentVolume's node affinity"
            out.append(Refusal(reason, here))
        return out

    def _reachable(self, key: str, nodes: NodeTable) -> Bools | None:
        """The nodes where a claim's volume is, or can be; None: all."""
        claim = self._claim(key)
        if claim is None:
            return None
        if _bound(claim):
            volume = self._volume(claim["spec"]["volumeName"])
            if volume is None:
                return np.zeros(nodes.size, np.bool_)
            terms = _volume_terms(volume)
            return None if terms is None else any_term_mask(terms, nodes)
        mask = np.zeros(nodes.size, np.bool_)
        chosen = meta.annotations(claim).get(SELECTED_NODE)
        if chosen:  # the provisioner is at work for this node
            if chosen in nodes.rows:
                mask[nodes.rows[chosen]] = True
            return mask
        for volume in self._fitting(key, claim):
            terms = _volume_terms(volume)
            if terms is None:
                return None
            mask |= any_term_mask(terms, nodes)
        storage = self._class(claim)
        if storage is not None and storage.get("provisioner", _NO_PROVISIONER) != _NO_PROVISIONER:
            allowed = storage.get("allowedTopologies")
            if not allowed:
                return None
            mask |= any_term_mask([_topology_term(t) for t in allowed], nodes)
        return mask

    # --- it goes there -----------------------------------------------------------------------------------------------

    def reserve(self, pod: PodInfo, node: str) -> None:
        plan = _Plan({}, [])
        self._plans[pod.key] = plan
        row = self._handle.nodes.rows[node]
        for key in _keys(pod):
            claim = self._claim(key)
            if claim is None or _bound(claim):
                continue
            volume = self._best_volume(key, claim, row)
            if volume is not None:
                plan.static[key] = volume
                self._taken[volume] = key
            elif (storage := self._class(claim)) and storage.get("provisioner", _NO_PROVISIONER) != _NO_PROVISIONER:
                plan.dynamic.append(key)
            else:
                raise Refused(_NOT_FOUND)

    def unreserve(self, pod: PodInfo, node: str) -> None:
        plan = self._plans.pop(pod.key, None)
        for volume in plan.static.values() if plan else ():
            self._taken.pop(volume, None)

    async def pre_bind(self, pod: PodInfo, node: str) -> None:
        plan = self._plans.get(pod.key)
        if plan is None or not (plan.static or plan.dynamic):
            self._plans.pop(pod.key, None)
            return
        client = self._handle.client
        for key, volume in plan.static.items():
            reference = {"claimRef": self._reference(key)}
            await client.patch(PERSISTENTVOLUMES, volume, {"spec": reference})
        for key in plan.dynamic:
            namespace, name = meta.split_key(key)
            patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
            await client.patch(PERSISTENTVOLUMECLAIMS, name, patch, namespace)
        with trio.move_on_after(self._timeout) as timeout:
            for key in plan.static:
                await self._until_bound(key, "")
            for key in plan.dynamic:
                await self._until_bound(key, node)
        if timeout.cancelled_caught:
            raise Refused("timed out waiting for the volumes of the pod to be bound")

    async def post_bind(self, pod: PodInfo, node: str) -> None:
        self.unreserve(pod, node)

    async def _until_bound(self, key: str, node: str) -> None:
        """`node` is where the volume is being made; "" if it is there already."""
        asked = False
        while True:
            claim = self._claim(key)
            if claim is None:
                raise Refused(f'persistentvolumeclaim "{meta.split_key(key)[1]}" not found')
            if _bound(claim):
                return
            chosen = meta.annotations(claim).get(SELECTED_NODE)
            if node and asked and chosen != node:
                raise Refused("provisioning failed for persistentvolumeclaim " + key)
            asked = asked or chosen == node
            event = self._waiting.setdefault(key, trio.Event())
            await event.wait()

    # --- hints -------------------------------------------------------------------------------------------------------

    def may_help(self, pod: PodInfo, change: Change) -> bool:
        if change.resource != PERSISTENTVOLUMECLAIMS:
            return bool(pod.claims)
        obj = change.new or change.old
        return obj is not None and meta.key(obj) in _keys(pod)

    # --- objects -----------------------------------------------------------------------------------------------------

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is not None and (event := self._waiting.pop(meta.key(obj), None)) is not None:
            event.set()

    def _claim(self, key: str) -> Object | None:
        return self._handle.informer(PERSISTENTVOLUMECLAIMS).get(key)

    def _volume(self, name: str) -> Object | None:
        return self._handle.informer(PERSISTENTVOLUMES).get(name)

    def _class(self, claim: Object) -> Object | None:
        classes = self._handle.informer(STORAGECLASSES)
        name = _class_name(claim)
        if name is not None:
            return classes.get(name)
        defaults = [c for c in classes.items() if meta.annotations(c).get(_DEFAULT_CLASS) == "true"]
        return max(defaults, key=lambda c: str(c["metadata"].get("creationTimestamp", "")), default=None)

    def _waits_for_consumer(self, claim: Object) -> bool:
        storage = self._class(claim)
        return storage is not None and storage.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _fitting(self, key: str, claim: Object) -> Iterable[Object]:
        """Free volumes that would do for a claim, wherever they are."""
        spec = claim["spec"]
        size = quantity.value(spec.get("resources", _NONE).get("requests", _NONE).get("storage", 0))
        modes = set(spec.get("accessModes") or ())
        selector = selectors.from_object(spec["selector"]) if spec.get("selector") else selectors.EVERYTHING
        for volume in self._handle.informer(PERSISTENTVOLUMES).indexed("class", _class_name(claim) or ""):
            own = volume["spec"]
            reference = own.get("claimRef")
            theirs = f"{reference.get('namespace', '')}/{reference['name']}" if reference else ""
            if (
                self._taken.get(meta.name(volume), key) == key
                and (theirs == key or (not reference and volume.get("status", _NONE).get("phase") == "Available"))
                and quantity.value(own["capacity"]["storage"]) >= size
                and modes <= set(own.get("accessModes") or ())
                and own.get("volumeMode", "Filesystem") == spec.get("volumeMode", "Filesystem")
                and selector.matches(meta.labels(volume))
                and not meta.deleting(volume)
            ):
                yield volume

    def _best_volume(self, key: str, claim: Object, row: int) -> str | None:
        """The smallest fitting volume that the node in `row` can reach."""
        nodes = self._handle.nodes
        found = [
            (quantity.value(volume["spec"]["capacity"]["storage"]), meta.name(volume))
            for volume in self._fitting(key, claim)
            if (terms := _volume_terms(volume)) is None or any_term_mask(terms, nodes)[row]
        ]
        return min(found)[1] if found else None

    def _reference(self, key: str) -> Object:
        namespace, name = meta.split_key(key)
        claim = self._claim(key)
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace,
            "name": name,
            "uid": meta.uid(claim) if claim else "",
        }


def _keys(pod: PodInfo) -> list[str]:
    return [f"{pod.namespace}/{name}" for name in pod.claims]


def _ephemeral(pod: PodInfo) -> set[str]:
    return {f"{pod.name}-{v['name']}" for v in pod.spec.get("volumes") or () if "ephemeral" in v}


def _bound(claim: Object) -> bool:
    completed = meta.annotations(claim).get("pv.kubernetes.io/bind-completed")
    return bool(claim["spec"].get("volumeName")) and bool(
        completed or claim.get("status", _NONE).get("phase") == "Bound"
    )


def _class_name(claim: Object) -> str | None:
    """None: the default class."""
    beta = meta.annotations(claim).get(_BETA_CLASS)
    name = claim["spec"].get("storageClassName") if beta is None else beta
    return None if name is None else str(name)


def _class_of_volume(volume: Object) -> tuple[str, ...]:
    return (volume["spec"].get("storageClassName", ""),)


def _volume_terms(volume: Object) -> tuple[NodeTerm, ...] | None:
    return node_terms((volume["spec"].get("nodeAffinity") or _NONE).get("required"))


def _topology_term(term: Object) -> NodeTerm:
    expressions = [{**e, "operator": "In"} for e in term.get("matchLabelExpressions") or ()]
    return NodeTerm(requirements(expressions), ())
