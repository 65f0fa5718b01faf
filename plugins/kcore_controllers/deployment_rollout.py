"""One step of a Deployment's rollout: the new ReplicaSet, scaling old and new, cleaning up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore.controller.hashing import template_hash
from kcore.errors import AlreadyExists, ApiError, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import DEPLOYMENTS, REPLICASETS
from kcore_controllers import deployment_sets as sets

if TYPE_CHECKING:
    from kcore.client import Client
    from kcore.client.events import Recorder


class Rollout:
    """A deployment and its ReplicaSets as they are now. Every write is reflected in `new` and `old`."""

    def __init__(self, client: Client, recorder: Recorder, d: Object, mine: list[Object]):
        self.client, self.recorder, self.d = client, recorder, d
        self.new: Object | None = sets.find_new(d, mine)
        self.old = [s for s in sets.oldest_first(mine) if s is not self.new]
        self.collisions: int | None = (d.get("status") or {}).get("collisionCount")
        self.created_set = self.found_set = ""  # the name of the new set if it was made, or found, in this step
        self.create_error: Exception | None = None

    @property
    def all(self) -> list[Object]:
        return [*self.old, self.new] if self.new is not None else list(self.old)

    # --- the new ReplicaSet ---

    async def find_new_set(self, create: bool) -> None:
        number = max((sets.revision(s) for s in self.old), default=0) + 1
        if self.new is not None:
            await self._adjust_new(number)
        elif create:
            await self._create_new(number)

    async def _adjust_new(self, number: int) -> None:
        assert self.new is not None
        annotations = sets.set_annotations(self.d, dict(meta.annotations(self.new)), number, False)
        min_ready = self.d["spec"].get("minReadySeconds", 0)
        if annotations != meta.annotations(self.new) or self.new["spec"].get("minReadySeconds", 0) != min_ready:
            spec = {**self.new["spec"], "minReadySeconds": min_ready}
            if not min_ready:
                del spec["minReadySeconds"]
            changed = {**self.new, "metadata": {**self.new["metadata"], "annotations": annotations}, "spec": spec}
            self.new = await self.client.update(REPLICASETS, changed)
        self.found_set = meta.name(self.new)
        await self._write_revision(annotations[sets.REVISION])

    async def _write_revision(self, number: str) -> None:
        """kubectl reads the deployment's own revision from its annotation."""
        if meta.annotations(self.d).get(sets.REVISION) == number:
            return
        metadata = {**self.d["metadata"], "annotations": {**meta.annotations(self.d), sets.REVISION: number}}
        self.d = await self.client.update(DEPLOYMENTS, {**self.d, "metadata": metadata})

    async def _create_new(self, number: int) -> None:
        d = self.d
        name_hash = template_hash(d["spec"]["template"], self.collisions)
        template = d["spec"]["template"]
        labels = {**(template.get("metadata", {}).get("labels") or {}), sets.HASH_LABEL: name_hash}
        selector = d["spec"]["selector"]
        spec: Object = {
            "replicas": self._new_size(0),
            "selector": {
                **selector,
                "matchLabels": {**(selector.get("matchLabels") or {}), sets.HASH_LABEL: name_hash},
            },
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        }
        if d["spec"].get("minReadySeconds"):
            spec["minReadySeconds"] = d["spec"]["minReadySeconds"]
        new: Object = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta.name(d)}-{name_hash}",
                "namespace": meta.namespace(d),
                "labels": labels,
                "annotations": {**sets.set_annotations(d, {}, number, True), **sets.size_annotations(d)},
                "ownerReferences": [meta.owner_reference(d, "apps/v1", "Deployment")],
            },
            "spec": spec,
        }
        try:
            self.new = await self.client.create(REPLICASETS, new, meta.namespace(d))
        except AlreadyExists:
            await self._collided(new)
        except ApiError as error:
            self.create_error = error
            self.recorder.event(
                d,
                "Warning",
                "ReplicaSetCreateError",
                f'Failed to create new replica set "{new["metadata"]["name"]}": {error}',
            )
            return
        assert self.new is not None
        self.created_set = meta.name(self.new)
        if spec["replicas"]:
            self._tell_scaled(self.new, 0, spec["replicas"])
        await self._write_revision(meta.annotations(self.new)[sets.REVISION])

    async def _collided(self, wanted: Object) -> None:
        """The name is taken: by our own creation that we have not seen yet, or by another template's hash."""
        there = await self.client.get(REPLICASETS, wanted["metadata"]["name"], meta.namespace(self.d))
        if meta.controlled_by(there, self.d) and sets.equal_templates(
            there["spec"]["template"], self.d["spec"]["template"]
        ):
            self.new = there
            return
        self.collisions = (self.collisions or 0) + 1
        status = {**(self.d.get("status") or {}), "collisionCount": self.collisions}
        await self.client.update(DEPLOYMENTS, {**self.d, "status": status}, subresource="status")
        raise AlreadyExists(f'the hash of ReplicaSet "{meta.name(there)}" belongs to another template')

    def _new_size(self, present: int) -> int:
        """How many replicas the new set may have now."""
        wanted = sets.replicas(self.d)
        if sets.strategy(self.d) == "Recreate":
            return wanted
        surge, _ = sets.fences(self.d)
        room = wanted + surge - sets.wanted_total(self.all)
        if room <= 0:
            return present
        return present + min(room, wanted - present) if wanted > present else present

    # --- scaling ---

    async def _scale(self, s: Object, size: int) -> Object:
        """Write the size (and the annotations that remember what it was computed from)."""
        before = sets.replicas(s)
        annotations = {**meta.annotations(s), **sets.size_annotations(self.d)}
        if size == before and annotations == meta.annotations(s):
            return s
        changed = {
            **s,
            "metadata": {**s["metadata"], "annotations": annotations},
            "spec": {**s["spec"], "replicas": size},
        }
        written = await self.client.update(REPLICASETS, changed)
        if size != before:
            self._tell_scaled(s, before, size)
        if s is self.new:
            self.new = written
        else:
            self.old = [written if o is s else o for o in self.old]
        return written

    def _tell_scaled(self, s: Object, before: int, size: int) -> None:
        direction = "up" if size > before else "down"
        self.recorder.event(
            self.d,
            "Normal",
            "ScalingReplicaSet",
            f"Scaled {direction} replica set {meta.name(s)} from {before} to {size}",
        )

    async def roll(self) -> None:
        """RollingUpdate: the new set grows as far as maxSurge lets it, else old ones shrink by maxUnavailable."""
        if self.new is None:
            return
        present, wanted = sets.replicas(self.new), sets.replicas(self.d)
        size = wanted if present > wanted else self._new_size(present)
        if size != present:
            await self._scale(self.new, size)
            return
        if self.old:
            await self._shrink_old()

    async def _shrink_old(self) -> None:
        assert self.new is not None
        if not sets.wanted_total(self.old):
            return
        _, unavailable = sets.fences(self.d)
        minimum = sets.replicas(self.d) - unavailable
        not_ready_new = sets.replicas(self.new) - sets.status_of(self.new, "availableReplicas")
        room = sets.wanted_total(self.all) - minimum - not_ready_new
        if room <= 0:
            return
        room -= await self._drop_unhealthy(room)
        # a set's status may lag behind its size: `room`, which counts sizes, is the second bound
        surplus = min(sets.total(self.all, "availableReplicas") - minimum, room)
        for s in list(self.old):
            if surplus <= 0:
                break
            count = min(sets.replicas(s), surplus)
            if count:
                await self._scale(s, sets.replicas(s) - count)
                surplus -= count

    async def _drop_unhealthy(self, room: int) -> int:
        """Pods of old sets that are not available go first: nobody misses them."""
        dropped = 0
        for s in list(self.old):
            if dropped >= room:
                break
            size, available = sets.replicas(s), sets.status_of(s, "availableReplicas")
            count = min(size - available, room - dropped)
            if size and count > 0:
                await self._scale(s, size - count)
                dropped += count
        return dropped

    async def recreate(self, old_pods_left: bool) -> None:
        """Recreate: all old pods go first, then the new set gets its size."""
        shrunk = False
        for s in list(self.old):
            if sets.replicas(s):
                await self._scale(s, 0)
                shrunk = True
        if shrunk or old_pods_left:
            await self.find_new_set(create=False)
            return
        await self.find_new_set(create=True)
        if self.new is not None and sets.replicas(self.new) != sets.replicas(self.d):
            await self._scale(self.new, sets.replicas(self.d))

    def scaled_by_user(self) -> bool:
        """The deployment's size is not the one that its sets were made for."""
        for s in self.all:
            desired = sets.annotation_number(s, sets.DESIRED)
            if sets.replicas(s) and desired is not None and desired != sets.replicas(self.d):
                return True
        return False

    async def pause(self) -> None:
        """A paused deployment is scaled but not rolled out."""
        await self.find_new_set(create=False)
        await self.scale_proportionally()
        if not sets.wanted_total(self.all) and self.new is not None:
            await self.forget_old_sets()

    async def scale_proportionally(self) -> None:
        """Spread a change of size over the sets in proportion to theirs: a running rollout goes on as it was."""
        active = [s for s in self.all if sets.replicas(s)]
        if len(active) <= 1:
            only = active[0] if active else self.new or (self.old[-1] if self.old else None)
            if only is not None and (sets.replicas(only) != sets.replicas(self.d) or self.scaled_by_user()):
                await self._scale(only, sets.replicas(self.d))
            return
        if self.new is not None and _saturated(self.d, self.new):
            for s in self.old:
                if sets.replicas(s):
                    await self._scale(s, 0)
            return
        if sets.strategy(self.d) == "RollingUpdate":
            await self._spread(active)

    async def _spread(self, active: list[Object]) -> None:
        surge, _ = sets.fences(self.d)
        allowed = sets.replicas(self.d) + surge if sets.replicas(self.d) else 0
        change = allowed - sets.wanted_total(active)
        grow = change > 0
        # the biggest first; of equal ones the newest when growing, the oldest when shrinking
        active = sorted(sets.oldest_first(active), key=lambda s: sets.replicas(s)) if grow else active
        active = list(reversed(active)) if grow else sorted(active, key=lambda s: -sets.replicas(s))
        left = change
        sizes: list[int] = []
        for s in active:
            part = _fraction(self.d, s, change, left, surge) if change else 0
            sizes.append(sets.replicas(s) + part)
            left -= part
        if left and sizes:
            sizes[0] = max(sizes[0] + left, 0)
        for s, size in zip(active, sizes, strict=True):
            await self._scale(s, size)

    # --- afterwards ---

    async def forget_old_sets(self) -> None:
        """Delete empty old sets beyond revisionHistoryLimit, the oldest revisions first."""
        limit = self.d["spec"].get("revisionHistoryLimit")
        if limit is None:
            return
        candidates = sorted((s for s in self.old if not meta.deleting(s)), key=sets.revision)
        for s in candidates[: max(len(candidates) - limit, 0)]:
            status = s.get("status") or {}
            empty = not sets.replicas(s) and not status.get("replicas")
            if not empty or meta.generation(s) > status.get("observedGeneration", 0):
                continue
            try:
                await self.client.delete(
                    REPLICASETS, meta.name(s), meta.namespace(s), propagation="Background", uid=meta.uid(s)
                )
            except NotFound:
                pass
            self.old = [o for o in self.old if o is not s]


def _saturated(d: Object, new: Object) -> bool:
    wanted = sets.replicas(d)
    return (
        sets.replicas(new) == wanted
        and sets.annotation_number(new, sets.DESIRED) == wanted
        and sets.status_of(new, "availableReplicas") == wanted
    )


def _fraction(d: Object, s: Object, change: int, left: int, surge: int) -> int:
    """The share of `change` that falls to the set, at most what is `left`."""
    size = sets.replicas(s)
    if not sets.replicas(d):
        part = -size
    else:
        allowed = sets.replicas(d) + surge
        annotated = sets.annotation_number(s, sets.MAXIMUM) or sets.status_of(d, "replicas") or size
        new_size = size * allowed / annotated
        part = int(new_size + 0.5) - size
    return min(part, left) if change > 0 else max(part, left)
