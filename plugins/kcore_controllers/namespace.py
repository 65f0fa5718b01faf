"""Namespace life cycle: empties a namespace that is being deleted, tells in conditions what is left, lets it go."""

from __future__ import annotations

from collections import Counter

import attrs

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.controller.resources import Resources
from kcore.errors import ApiError, MethodNotAllowed, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import APISERVICES, CUSTOMRESOURCEDEFINITIONS, GVR, NAMESPACES, PODS

FINALIZER = "kubernetes"
LOOK_FIRST, LOOK_MAX = 0.5, 15.0  # seconds between looks while something is left, doubling


@attrs.define
class _Left:
    """What is still in a namespace after deleting everything."""

    counts: Counter[str] = attrs.Factory(Counter)  # by resource
    finalizers: Counter[str] = attrs.Factory(Counter)
    errors: list[str] = attrs.Factory(list)
    undiscovered: dict[str, str] = attrs.Factory(dict)  # why, by group and version

    def __bool__(self) -> bool:
        return bool(self.counts or self.errors or self.undiscovered)


class NamespaceController(Reconciler):
    name = "namespace"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.namespaces = self.watch(NAMESPACES, self.enqueue)
        self.pods = self.watch(PODS, self._pod_changed)
        self.resources = Resources(self.watch(CUSTOMRESOURCEDEFINITIONS, outline=True), self.watch(APISERVICES))
        self._stops.append(self.resources.stop)
        self._looks: Counter[str] = Counter()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None or old is None or self.pods.index_size("namespace", meta.namespace(old)):
            return
        namespace = self.namespaces.get(meta.namespace(old))
        if namespace is not None and meta.deleting(namespace):  # the last pod may be what it waits for
            self.queue.add(meta.namespace(old))

    async def reconcile(self, key: str) -> float | None:
        namespace = self.namespaces.get(key)
        if namespace is None:
            del self._looks[key]
            return None
        if not meta.deleting(namespace) or FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return None
        left = await self._empty(key)
        if left:
            self._looks[key] += 1
            await self._write_status(namespace, left)
            return float(min(LOOK_FIRST * 2.0 ** (self._looks[key] - 1), LOOK_MAX))
        spec = {**namespace["spec"], "finalizers": [f for f in namespace["spec"]["finalizers"] if f != FINALIZER]}
        try:
            fresh = await self.client.get(NAMESPACES, key)
            await self.client.update(NAMESPACES, {**fresh, "spec": spec}, subresource="finalize")
        except NotFound:
            pass
        return None

    async def _empty(self, namespace: str) -> _Left:
        left = _Left()
        await self._delete_all(PODS, namespace, left)
        if left.counts or left.errors:
            left.counts = Counter({PODS.resource: left.counts[PODS.resource]})
            return left  # what pods may still need goes after them
        if self.resources.elsewhere:
            left.undiscovered = await self.resources.discover(self.client)
        for resource in self.resources.namespaced():
            if resource is not PODS and self.resources.can(resource, "delete"):
                await self._delete_all(resource, namespace, left)
        return left

    async def _delete_all(self, resource: GVR, namespace: str, left: _Left) -> None:
        try:
            if self.resources.can(resource, "deletecollection"):
                await self.client.delete_collection(resource, namespace, propagation="Background")
            else:
                await self._delete_each(resource, namespace)
            remaining = (await self.client.list(resource, namespace)).items
        except (NotFound, MethodNotAllowed):
            return  # not served here
        except (ApiError, OSError) as error:
            left.errors.append(str(error))
            return
        if remaining:
            left.counts[str(resource) if resource.group else resource.resource] += len(remaining)
            for obj in remaining:
                left.finalizers.update(obj["metadata"].get("finalizers") or ())

    async def _delete_each(self, resource: GVR, namespace: str) -> None:
        for obj in (await self.client.list(resource, namespace)).items:
            try:
                await self.client.delete(resource, meta.name(obj), namespace, propagation="Background")
            except NotFound:
                pass

    async def _write_status(self, namespace: Object, left: _Left) -> None:
        old = namespace.get("status") or {}
        status = {**old, "phase": "Terminating", "conditions": [dict(c) for c in old.get("conditions") or ()]}
        pods_only = set(left.counts) == {PODS.resource} and not left.finalizers
        shown = _Left(errors=left.errors, undiscovered=left.undiscovered) if pods_only else left
        for condition in _conditions(shown):
            meta.set_condition(status, condition)
        if status != old:
            await self.client.update(NAMESPACES, {**namespace, "status": status}, subresource="status")


def _conditions(left: _Left) -> list[Object]:
    def one(type: str, bad: bool, reasons: tuple[str, str], messages: tuple[str, str]) -> Object:
        return {"type": type, "status": str(bad), "reason": reasons[bad], "message": messages[bad]}

    resources = ", ".join(_instances(f"{r}." if "." not in r else r, n) for r, n in sorted(left.counts.items()))
    finalizers = ", ".join(f"{f} in {n} resource instances" for f, n in sorted(left.finalizers.items()))
    groups = ", ".join(f"{group}: {why}" for group, why in sorted(left.undiscovered.items()))
    return [
        one(
            "NamespaceDeletionDiscoveryFailure",
            bool(left.undiscovered),
            ("ResourcesDiscovered", "DiscoveryFailed"),
            (
                "All resources successfully discovered",
                f"Discovery failed for some groups, {len(left.undiscovered)} failing: unable to retrieve the complete "
                f"list of server APIs: {groups}",
            ),
        ),
        one(
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            ("ParsedGroupVersions", ""),
            ("All legacy kube types successfully parsed", ""),
        ),
        one(
            "NamespaceDeletionContentFailure",
            bool(left.errors),
            ("ContentDeleted", "ContentDeletionFailed"),
            (
                "All content successfully deleted, may be waiting on finalization",
                f"Failed to delete all resource types, {len(left.errors)} remaining: {', '.join(left.errors)}",
            ),
        ),
        one(
            "NamespaceContentRemaining",
            bool(left.counts),
            ("ContentRemoved", "SomeResourcesRemain"),
            ("All content successfully removed", f"Some resources are remaining: {resources}"),
        ),
        one(
            "NamespaceFinalizersRemaining",
            bool(left.finalizers),
            ("ContentHasNoFinalizers", "SomeFinalizersRemain"),
            (
                "All content-preserving finalizers finished",
                f"Some content in the namespace has finalizers remaining: {finalizers}",
            ),
        ),
    ]


def _instances(resource: str, count: int) -> str:
    return f"{resource} has {count} resource instances"
