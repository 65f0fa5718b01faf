"""How the endpoints of one service are laid out over its EndpointSlices."""

from __future__ import annotations

from typing import Any

import attrs

from kcore.controller.hashing import canonical
from kcore.objects import Object, meta
from kcore_controllers import members

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
REMEMBERED = 1000  # own writes, of which all but the latest have been seen
TRIGGERED = "endpoints.kubernetes.io/last-change-trigger-time"
CAPACITY = 100  # endpoints in a slice (--max-endpoints-per-slice)


@attrs.frozen
class Group:
    """Endpoints of one slice have one address family and the same ports."""

    family: str
    ports: bytes

    @staticmethod
    def of(family: str, ports: list[Object]) -> Group:
        return Group(family, canonical(sorted(ports, key=lambda p: (p.get("name") or "", p["port"]))))

    def port_list(self) -> list[Object]:
        import msgspec

        return list(msgspec.json.decode(self.ports))


@attrs.define(eq=False)
class _Slice:
    group: Group
    endpoints: dict[str, Object]  # by pod key
    present: Object | None  # as last written; None: it must be created
    dirty: bool = False


class Layout:
    """The slices of one service: as they are, and as they should be after some `place` calls."""

    def __init__(self, service: Object, present: list[Object], manager: str):
        self.service = service
        self.triggered = ""
        """When what is written next came about, for whoever measures how long it takes to be heeded; "": not known."""
        self._manager = manager
        self._slices: list[_Slice] = []
        self._where: dict[tuple[str, str], _Slice] = {}  # (pod key, address family) -> slice
        self._versions: dict[str, None] = {}  # resource versions of our own writes, whose events are no news; ordered
        self._removed: set[str] = set()
        self._creating: list[tuple[Object, _Slice]] = []
        for obj in present:
            self._load(obj)
        for s in self._slices:
            s.dirty = s.dirty or self._metadata(s.present) != _relevant(s.present)

    def _load(self, obj: Object) -> None:
        group = Group.of(obj["addressType"], obj.get("ports") or [])
        s = _Slice(group, {}, obj)
        for endpoint in obj.get("endpoints") or ():
            target = endpoint.get("targetRef") or {}
            key = f"{target.get('namespace')}/{target.get('name')}"
            if (key, group.family) in self._where:
                s.dirty = True  # twice: written by a predecessor that was cut off
                continue
            s.endpoints[key] = endpoint
            self._where[key, group.family] = s
        self._slices.append(s)

    def pods(self) -> set[str]:
        """Keys of all pods that stand in a slice."""
        return {pod for pod, _ in self._where}

    def expected(self, old: Object | None, new: Object | None) -> bool:
        """Whether an event of a slice tells only what we wrote ourselves."""
        if new is None:
            known = old is not None and meta.name(old) in self._removed
            self._removed.discard(meta.name(old or {}))
            return known
        if meta.resource_version(new) in self._versions:
            return True
        # the event of a write may come before its answer
        endpoints = new.get("endpoints") or []
        for s in self._slices:
            if s.present is not None and meta.name(s.present) == meta.name(new):
                return endpoints == list(s.endpoints.values())
        return any(obj["endpoints"] == endpoints for obj, _ in self._creating)

    def place(self, pod: str, endpoints: dict[Group, Object]) -> None:
        """Put the pod's endpoints where they belong; {} takes it out."""
        families = {group.family: (group, endpoint) for group, endpoint in endpoints.items()}
        for family in ("IPv4", "IPv6"):
            at = self._where.get((pod, family))
            wanted = families.get(family)
            if at is not None and (wanted is None or at.group != wanted[0]):
                del at.endpoints[pod]
                del self._where[pod, family]
                at.dirty = True
                at = None
            if wanted is None:
                continue
            if at is None:
                at = self._room(wanted[0])
                self._where[pod, family] = at
            if at.endpoints.get(pod) != wanted[1]:
                at.endpoints[pod] = wanted[1]
                at.dirty = True

    def _room(self, group: Group) -> _Slice:
        """A slice with room: one that is written anyway, else the fullest, else a new one."""
        best: _Slice | None = None
        for s in self._slices:
            if s.group != group or len(s.endpoints) >= CAPACITY:
                continue
            if best is None or (s.dirty, len(s.endpoints)) > (best.dirty, len(best.endpoints)):
                best = s
        if best is None:
            best = _Slice(group, {}, None, True)
            self._slices.append(best)
        return best

    # --- what to write ---

    def to_create(self) -> list[Object]:
        if not any(s.endpoints for s in self._slices) and not any(s.present for s in self._slices):
            families = self.service["spec"].get("ipFamilies") or ["IPv4"]
            self._slices = [_Slice(Group.of(f, []), {}, None, True) for f in families]  # empty, to show we looked
        return [self._object(s) for s in self._slices if s.present is None]

    def to_update(self) -> list[Object]:
        return [self._object(s) for s in self._slices if s.dirty and s.present is not None and not self._useless(s)]

    def to_delete(self) -> list[str]:
        return [meta.name(s.present) for s in self._slices if s.present is not None and self._useless(s)]

    def _useless(self, s: _Slice) -> bool:
        """Empty, and not the one that stays to show that there are none."""
        if s.endpoints:
            return False
        same = [o for o in self._slices if o.group.family == s.group.family]
        return any(o.endpoints for o in same) or s is not same[0]

    def written(self, result: Object, wanted: Object) -> None:
        self._versions[meta.resource_version(result)] = None
        if len(self._versions) > REMEMBERED:
            del self._versions[next(iter(self._versions))]
        created = [s for obj, s in self._creating if obj is wanted]
        self._creating = [pair for pair in self._creating if pair[0] is not wanted]
        for s in created or self._slices:
            if created or (s.present is not None and meta.name(s.present) == meta.name(result)):
                s.present, s.dirty = result, False
                return

    def removed(self, name: str) -> None:
        self._removed.add(name)
        self._slices = [s for s in self._slices if s.present is None or meta.name(s.present) != name]

    def _object(self, s: _Slice) -> Object:
        endpoints = list(s.endpoints.values())
        metadata = self._metadata(s.present)
        if s.present is not None:
            own = {**s.present["metadata"], **metadata}
            notes = {k: v for k, v in (own.pop("annotations", None) or {}).items() if k != TRIGGERED}
            if self.triggered:
                notes[TRIGGERED] = self.triggered
            if notes:
                own["annotations"] = notes
            return {**s.present, "metadata": own, "endpoints": endpoints, "ports": s.group.port_list()}
        obj: Object = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{meta.name(self.service)}-",
                "namespace": meta.namespace(self.service),
                **metadata,
            },
            "addressType": s.group.family,
            "endpoints": endpoints,
            "ports": s.group.port_list(),
        }
        if self.triggered:
            obj["metadata"]["annotations"] = {TRIGGERED: self.triggered}
        self._creating.append((obj, s))
        return obj

    def _metadata(self, present: Object | None) -> Object:
        labels = {k: v for k, v in meta.labels(self.service).items() if k not in (HEADLESS, SERVICE_NAME, MANAGED_BY)}
        labels[SERVICE_NAME] = meta.name(self.service)
        labels[MANAGED_BY] = self._manager
        if members.headless(self.service):
            labels[HEADLESS] = ""
        reference = meta.owner_reference(self.service, "v1", "Service")
        return {"labels": labels, "ownerReferences": [reference]}


def _relevant(present: Object | None) -> dict[str, Any]:
    metadata = (present or {}).get("metadata") or {}
    return {"labels": metadata.get("labels") or {}, "ownerReferences": metadata.get("ownerReferences") or []}
