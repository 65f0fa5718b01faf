"""The graph of the garbage collector: every object by uid, with its owners and its dependents."""

from __future__ import annotations

import attrs

from kcore.objects import Object
from kcore.objects.resources import GVR

_NO_DEPENDENTS: set[str] = set()


@attrs.frozen(slots=True)
class Reference:
    uid: str
    api_version: str
    kind: str
    name: str
    blocking: bool


@attrs.define(slots=True)
class Node:
    resource: GVR
    namespace: str
    name: str
    uid: str
    owners: tuple[Reference, ...]
    deleting: bool
    state: str
    """``foregroundDeletion`` or ``orphan`` while the owner waits for the collector to do that, else ""."""
    dependents: set[str] = attrs.field(factory=set, eq=False)

    def blocks(self, owner: str) -> bool:
        """The owner's foreground deletion must wait for this one."""
        return any(r.uid == owner and r.blocking for r in self.owners)

    def may_own(self, dependent: Node, ref: Reference) -> bool:
        """The reference fits: an owner is cluster-wide or in the same namespace, of that kind and name."""
        return (
            (not self.namespace or self.namespace == dependent.namespace)
            and self.name == ref.name
            and self.resource.kind == ref.kind
        )


class Graph:
    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._waiting: dict[str, set[str]] = {}  # uid of an owner not seen (yet) -> its dependents

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def waiting_for(self, group: str, kind: str) -> list[str]:
        """What refers to owners of a kind that have not been seen."""
        found = []
        for owner, dependents in self._waiting.items():
            for uid in dependents:
                node = self._nodes.get(uid)
                for ref in node.owners if node is not None else ():
                    if ref.uid == owner and ref.kind == kind and ref.api_version.rpartition("/")[0] == group:
                        found.append(uid)
        return found

    def put(self, resource: GVR, obj: Object) -> tuple[Node | None, Node]:
        """Note an object; returns the node as it was and as it is."""
        m = obj["metadata"]
        uid = m["uid"]
        owners = tuple(
            Reference(r["uid"], r["apiVersion"], r["kind"], r["name"], bool(r.get("blockOwnerDeletion")))
            for r in m.get("ownerReferences") or ()
        )
        deleting = bool(m.get("deletionTimestamp"))
        old = self._nodes.get(uid)
        dependents = old.dependents if old is not None else self._waiting.pop(uid, None)
        node = Node(
            resource,
            m.get("namespace", ""),
            m["name"],
            uid,
            owners,
            deleting,
            _state(m) if deleting else "",
            set() if dependents is None else dependents,
        )
        self._nodes[uid] = node
        if old is None or old.owners != owners:
            self._unlink(old)
            for ref in owners:
                self._dependents_of(ref.uid).add(uid)
        return old, node

    def remove(self, uid: str) -> Node | None:
        node = self._nodes.pop(uid, None)
        self._unlink(node)
        if node is not None and node.dependents:
            self._waiting[uid] = node.dependents
        return node

    def _dependents_of(self, uid: str) -> set[str]:
        owner = self._nodes.get(uid)
        return owner.dependents if owner is not None else self._waiting.setdefault(uid, set())

    def _unlink(self, node: Node | None) -> None:
        for ref in node.owners if node is not None else ():
            dependents = self._dependents_of(ref.uid)
            dependents.discard(node.uid)  # type: ignore[union-attr]  # the loop runs only with a node
            if not dependents:
                self._waiting.pop(ref.uid, None)


def _state(metadata: Object) -> str:
    finalizers = metadata.get("finalizers") or ()
    for state in ("orphan", "foregroundDeletion"):
        if state in finalizers:
            return state
    return ""
