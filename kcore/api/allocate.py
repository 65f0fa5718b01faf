"""Addresses and ports of Services: taken before the Service is written, given back when it goes or changes.

A ClusterIP is taken by creating its IPAddress object, which only one writer can do, however many API servers there
are; an IPAddress whose Service does not exist is what a crash left behind, and is taken over. NodePorts are those
that no Service in the cache has and no write in flight has reserved.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from typing import Any

import trio

from kcore import clock, errors
from kcore.api import fields, layout
from kcore.api.cache import Cache, Entry
from kcore.api.served import Served
from kcore.api.storage import Hooks, Reservation, Storage
from kcore.errors import Cause, CompareFailed
from kcore.objects import Object
from kcore.registry import Cluster

ADDRESSES = "networking.k8s.io/ipaddresses"
_LABELS = {"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
_TRIES = 64  # random picks before the range is searched from its start


class ServiceAllocator(Hooks):
    """The hooks of core/services."""

    def __init__(self, storage: Storage, served: Callable[[], Served | None], cluster: Cluster) -> None:
        self._storage, self._served = storage, served
        self._network = ipaddress.ip_network(cluster.service_cidr)
        low, _, high = cluster.node_ports.partition("-")
        self._ports = range(int(low), int(high) + 1)
        self._random = random.Random()
        self._taken_addresses: set[str] = set()  # by writes in flight
        self._taken_ports: set[int] = set()

    async def reserve(self, obj: Object, old: Object | None, dry_run: bool) -> Reservation:
        """Fill in what the Service needs. Raises Invalid for an address or port that cannot be had."""
        refused = self._family_problems(obj["spec"])
        if refused:
            raise errors.invalid("Service", obj["metadata"]["name"], refused)
        reservation = _Reserved(self)
        try:
            await self._addresses(obj, old, dry_run, reservation)
            self._node_ports(obj, old, reservation)
        except BaseException:
            with trio.CancelScope(shield=True):
                await reservation.undo()
            raise
        if old is not None:
            kept = set(_addresses_of(obj))
            reservation.freed = [address for address in _addresses_of(old) if address not in kept]
        return reservation

    def _family_problems(self, spec: Object) -> list[Cause]:
        """A cluster has one family of addresses. A headless service without a selector may say what it likes."""
        if spec.get("type") == "ExternalName" or (spec.get("clusterIP") == "None" and not spec.get("selector")):
            return []
        found = []
        policy = spec.get("ipFamilyPolicy")
        if policy == "RequireDualStack":
            why = "this cluster is not configured for dual-stack services"
            found.append(fields.invalid("spec.ipFamilyPolicy", policy, why))
        if self._network.version == 4:
            for i, family in enumerate(spec.get("ipFamilies") or ()):
                if family != "IPv4":
                    found.append(fields.invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
        return found

    async def deleted(self, obj: Object) -> None:
        for address in _addresses_of(obj):
            await self.release(address, obj["metadata"])

    async def release(self, address: str, owner: Object) -> None:
        """Delete the IPAddress unless somebody else has taken it since."""
        entry = self._cache().get("", address)
        if entry is None or not _owned_by(entry, owner):
            return
        try:
            await self._storage.store.delete(layout.key(ADDRESSES, "", address), expect=entry.revision)
        except CompareFailed:
            pass

    # --- addresses ----------------------------------------------------------------------------------------------

    def _cache(self) -> Cache:
        return self._storage.feed.cache(ADDRESSES)

    async def _addresses(self, obj: Object, old: Object | None, dry_run: bool, reservation: _Reserved) -> None:
        spec, meta = obj["spec"], obj["metadata"]
        if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
            return
        kept = set(_addresses_of(old)) if old is not None else set()
        wanted = [a for a in spec.get("clusterIPs") or [spec.get("clusterIP", "")] if a] or [""]
        await self._storage.feed.caught_up()
        got = []
        for address in wanted:
            if address in kept:
                got.append(address)
            elif address:
                why = self._problem(address) or await self._take(address, meta, dry_run, reservation)
                if why:
                    raise _invalid(obj, _cannot(wanted, address, why))
                got.append(address)
            else:
                got.append(await self._any(obj, dry_run, reservation))
        spec["clusterIP"], spec["clusterIPs"] = got[0], got

    def _problem(self, address: str) -> str:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return "not a valid IP"
        return "" if parsed in self._network else "the provided network does not match the current range"

    async def _any(self, obj: Object, dry_run: bool, reservation: _Reserved) -> str:
        size = self._network.num_addresses
        # the lower part is left to those who ask for an address by name, as upstream does
        first = min(max(16, size // 16), 256) if size > 64 else 2
        entries = self._cache().entries
        picks = (self._random.randrange(first, size - 1) for _ in range(_TRIES))
        for offset in (*picks, *range(first, size - 1), *range(2, first)):
            address = str(self._network[offset])
            if address in entries and self._parent_lives(entries[address]):
                continue
            if not await self._take(address, obj["metadata"], dry_run, reservation):
                return address
        cause = Cause("InternalError", "failed to allocate a serviceIP: range is full", "spec.clusterIPs")
        raise errors.InternalError(f"Internal error occurred: {cause.message}")

    async def _take(self, address: str, owner: Object, dry_run: bool, reservation: _Reserved) -> str:
        """Why the address cannot be had; "" once it is ours."""
        taken = "provided IP is already allocated"
        if address in self._taken_addresses:
            return taken
        entry = self._cache().get("", address)
        if entry is not None and self._parent_lives(entry):
            return taken
        self._taken_addresses.add(address)
        reservation.addresses.append(address)
        if dry_run:
            return ""
        value = layout.encode(_ip_address(address, owner))
        try:
            await self._storage.store.put(
                layout.key(ADDRESSES, "", address), value, expect=entry.revision if entry else 0
            )
        except CompareFailed:
            reservation.addresses.remove(address)
            self._taken_addresses.discard(address)
            return taken
        reservation.written.append((address, owner))
        return ""

    def _parent_lives(self, entry: Entry) -> bool:
        """The Service that an IPAddress is for exists, or is being made."""
        if entry.name in self._taken_addresses:
            return True
        parent = layout.decode_json(b"{" + entry.tail).get("spec", {}).get("parentRef") or {}
        served = self._served()
        if parent.get("resource") != "services" or served is None:
            return True
        found = served.cache.get(parent.get("namespace", ""), parent.get("name", ""))
        return found is not None and entry.name in _addresses_of(served.object(found))

    # --- node ports ---------------------------------------------------------------------------------------------

    def _node_ports(self, obj: Object, old: Object | None, reservation: _Reserved) -> None:
        spec = obj["spec"]
        kept = _ports_of(old) if old is not None else set()
        used = self._used_ports(obj)
        if _wants_node_ports(spec):
            by_number: dict[int, int] = {}  # TCP and UDP of one port share a node port
            for at, port in enumerate(spec.get("ports") or ()):
                number = port.get("nodePort") or 0
                if number and number not in kept and number not in reservation.ports:
                    self._claim(obj, f"spec.ports[{at}].nodePort", number, used, reservation)
                elif not number:
                    shared = by_number.get(port.get("port", 0))
                    port["nodePort"] = shared or self._free(used, kept, reservation)
                by_number.setdefault(port.get("port", 0), port["nodePort"])
        if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            number = spec.get("healthCheckNodePort")
            if not number:
                spec["healthCheckNodePort"] = self._free(used, kept, reservation)
            elif number not in kept:
                self._claim(obj, "spec.healthCheckNodePort", number, used, reservation)

    def _used_ports(self, obj: Object) -> set[int]:
        served = self._served()
        used = set(self._taken_ports)
        if served is None:
            return used
        own = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        for entry in served.cache.entries.values():
            if b'odePort":' in entry.tail and (entry.namespace, entry.name) != own:
                used |= _ports_of(served.object(entry))
        return used

    def _claim(self, obj: Object, field: str, number: int, used: set[int], reservation: _Reserved) -> None:
        why = ""
        if number not in self._ports:
            shown = f"{self._ports[0]}-{self._ports[-1]}"
            why = f"provided port is not in the valid range. The range of valid ports is {shown}"
        elif number in used:
            why = "provided port is already allocated"
        if why:
            raise _invalid(obj, fields.invalid(field, number, why))
        used.add(number)
        self._taken_ports.add(number)
        reservation.ports.append(number)

    def _free(self, used: set[int], kept: set[int], reservation: _Reserved) -> int:
        picks = (self._random.choice(self._ports) for _ in range(_TRIES))
        for number in (*picks, *self._ports):
            if number in used or number in kept:
                continue
            used.add(number)
            self._taken_ports.add(number)
            reservation.ports.append(number)
            return int(number)
        raise errors.InternalError("Internal error occurred: failed to allocate a nodePort: range is full")

    def let_go(self, reservation: _Reserved) -> None:
        self._taken_addresses.difference_update(reservation.addresses)
        self._taken_ports.difference_update(reservation.ports)


class _Reserved(Reservation):
    """What one write has taken."""

    def __init__(self, allocator: ServiceAllocator) -> None:
        self._allocator = allocator
        self.addresses: list[str] = []
        self.written: list[tuple[str, Object]] = []  # IPAddress objects made, and for whom
        self.ports: list[int] = []
        self.freed: list[str] = []  # what the Service had and has no more
        self.owner: Object = {}

    async def undo(self) -> None:
        self._allocator.let_go(self)
        await self._allocator._storage.feed.caught_up()
        for address, owner in self.written:
            await self._allocator.release(address, owner)
        self.written.clear()

    async def done(self, obj: Object) -> None:
        await self._allocator._storage.feed.caught_up()  # the cache knows the Service now: reservations may end
        self._allocator.let_go(self)
        for address in self.freed:
            await self._allocator.release(address, obj["metadata"])


def _invalid(obj: Object, cause: Cause) -> errors.Invalid:
    return errors.invalid("Service", obj["metadata"]["name"], [cause])


def _cannot(wanted: list[str], address: str, why: str) -> Cause:
    return fields.invalid("spec.clusterIPs", wanted, f"failed to allocate IP {address}: {why}")


def _wants_node_ports(spec: Object) -> bool:
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def _addresses_of(obj: Object) -> list[str]:
    spec = obj.get("spec") or {}
    return [a for a in spec.get("clusterIPs") or [spec.get("clusterIP")] if a and a != "None"]


def _ports_of(obj: Object) -> set[int]:
    spec = obj.get("spec") or {}
    found = {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}
    if spec.get("healthCheckNodePort"):
        found.add(spec["healthCheckNodePort"])
    return found


def _owned_by(entry: Entry, owner: Object) -> bool:
    parent: Any = layout.decode_json(b"{" + entry.tail).get("spec", {}).get("parentRef") or {}
    return bool(parent.get("name") == owner.get("name") and parent.get("namespace") == owner.get("namespace"))


def _ip_address(address: str, owner: Object) -> Object:
    import uuid

    labels = dict(_LABELS)
    if ":" in address:
        labels["ipaddress.kubernetes.io/ip-family"] = "IPv6"
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": clock.timestamp(),
            "labels": labels,
        },
        "spec": {"parentRef": {"resource": "services", "namespace": owner["namespace"], "name": owner["name"]}},
    }
