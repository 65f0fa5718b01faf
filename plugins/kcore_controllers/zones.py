"""How healthy each zone is, and how quickly its nodes may be evicted (kube-controller-manager's defaults)."""

from __future__ import annotations

import attrs

RATE = 0.1  # nodes a second (--node-eviction-rate)
SECONDARY_RATE = 0.01  # in a big zone that is partly down (--secondary-node-eviction-rate)
UNHEALTHY = 0.55  # share of nodes not ready from which a zone is partly down (--unhealthy-zone-threshold)
SETTLE = 5.0  # seconds a node must be bad before it is evicted: whole zones fail node by node, too
LARGE = 50  # nodes; smaller ones that are partly down evict nothing (--large-cluster-size-threshold)


@attrs.define
class _Zone:
    good: set[str] = attrs.Factory(set)
    bad: dict[str, float] = attrs.Factory(dict)  # since when
    next_eviction: float = 0.0

    @property
    def state(self) -> str:
        size = len(self.good) + len(self.bad)
        if self.bad and not self.good:
            return "FullDisruption"
        if len(self.bad) > 2 and len(self.bad) / size >= UNHEALTHY:
            return "PartialDisruption"
        return "Normal"


class Zones:
    def __init__(self) -> None:
        self._zones: dict[str, _Zone] = {}
        self._zone_of: dict[str, str] = {}

    @property
    def all_down(self) -> bool:
        """No node anywhere is ready: then it is us who are cut off, and nobody is evicted."""
        return bool(self._zones) and all(z.state == "FullDisruption" for z in self._zones.values())

    def note(self, node: str, zone: str, bad: bool, now: float) -> bool:
        """Note a node's health; returns whether that changes what holds for other nodes."""
        before = self._summary()
        present = self._zones.get(self._zone_of.get(node, ""))
        since = present.bad.get(node, now) if present is not None else now
        self._drop(node)
        it = self._zones.setdefault(zone, _Zone())
        if bad:
            it.bad[node] = since
        else:
            it.good.add(node)
        self._zone_of[node] = zone
        return self._summary() != before

    def forget(self, node: str) -> None:
        self._drop(node)

    def wait_to_evict(self, node: str, now: float) -> float | None:
        """None: the bad node may be evicted now (which counts as one). Else seconds to wait; inf: not now."""
        zone = self._zone_of[node]
        it = self._zones[zone]
        rate = RATE
        if self.all_down:
            return float("inf")
        if it.state == "PartialDisruption":
            if len(it.good) + len(it.bad) <= LARGE:
                return float("inf")
            rate = SECONDARY_RATE
        earliest = max(it.next_eviction, it.bad[node] + SETTLE)
        if now < earliest:
            return earliest - now
        it.next_eviction = now + 1 / rate
        return None

    def _drop(self, node: str) -> None:
        zone = self._zone_of.pop(node, None)
        if zone is None:
            return
        it = self._zones[zone]
        it.good.discard(node)
        it.bad.pop(node, None)
        if not it.good and not it.bad:
            del self._zones[zone]

    def _summary(self) -> tuple[bool, tuple[tuple[str, str], ...]]:
        return self.all_down, tuple(sorted((name, z.state) for name, z in self._zones.items()))
