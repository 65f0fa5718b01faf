"""Addresses for Services of type LoadBalancer, from pools that the config names.

No balancer is made: the service proxy of every node serves the addresses (``ipMode: VIP``), and the network around
the cluster brings their traffic to a node. What is given away is read from the status of the services, so that a
restart finds it again. Without a pool the controller does nothing, as upstream without a cloud.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import Conflict, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import SERVICES
from kcore_controllers.catalogue import LoadBalancerConfig
from kcore_controllers.pools import Pool


class _NoneFree(Exception):
    """The text is for the event."""


class LoadBalancerController(Reconciler):
    name = "service-lb"
    max_workers = 1
    """An address is given away once."""

    def __init__(self, context: ControllerContext, config: LoadBalancerConfig):
        super().__init__(context)
        self._class = config.load_balancer_class
        self._pools = [Pool.parse(text) for text in config.pools]
        self._given: dict[str, str] = {}  # address -> service: what may not be in the informer yet
        self.services = self.watch(SERVICES, self.enqueue)
        self.services.add_index("address", _addresses)

    async def reconcile(self, key: str) -> float | None:
        service = self.services.get(key)
        if service is None or meta.deleting(service):
            self._forget(key)
            return None
        held = _addresses(service)
        try:
            wanted = self._choose(key, service, held) if self._ours(service) else []
        except _NoneFree as none:
            why = f"Error syncing load balancer: failed to ensure load balancer: {none}"
            self.recorder.event(service, "Warning", "SyncLoadBalancerFailed", why)
            return 60.0  # one may have become free
        if wanted == held or not (wanted or self._was_ours(held)):
            return None
        balancer = {"ingress": [{"ip": address, "ipMode": "VIP"} for address in wanted]} if wanted else {}
        status = {**(service.get("status") or {}), "loadBalancer": balancer}
        self._forget(key)
        self._given |= dict.fromkeys(wanted, key)
        try:
            await self.client.update(SERVICES, {**service, "status": status}, subresource="status")
        except (Conflict, NotFound):
            self._forget(key)
            return None  # it has changed: that change brings it here again
        said = (
            ("EnsuredLoadBalancer", "Ensured load balancer")
            if wanted
            else ("DeletedLoadBalancer", "Deleted load balancer")
        )
        self.recorder.event(service, "Normal", *said)
        return None

    def _ours(self, service: Object) -> bool:
        spec = service["spec"]
        return (
            bool(self._pools)
            and spec.get("type") == "LoadBalancer"
            and spec.get("loadBalancerClass", "") == self._class
        )

    def _was_ours(self, held: list[str]) -> bool:
        """A status that somebody else has written stays."""
        return any(ipaddress.ip_address(address) in pool for address in held for pool in self._pools)

    def _forget(self, key: str) -> None:
        for address in [a for a, holder in self._given.items() if holder == key]:
            del self._given[address]

    def _choose(self, key: str, service: Object, held: list[str]) -> list[str]:
        """An address of each of the service's families that has a pool; those that it holds stay.

        Raises _NoneFree.
        """
        asked = service["spec"].get("loadBalancerIP") or ""
        families = [6 if family == "IPv6" else 4 for family in service["spec"].get("ipFamilies") or ("IPv4",)]
        chosen = []
        for version in families:
            pools = [pool for pool in self._pools if pool.version == version]
            if pools:
                chosen.append(self._one(key, pools, held, asked if _version(asked) == version else ""))
        if not chosen:
            raise _NoneFree(f"no pool has addresses of the family IPv{families[0]}")
        return chosen

    def _one(self, key: str, pools: list[Pool], held: list[str], asked: str) -> str:
        if asked:
            if not any(ipaddress.ip_address(asked) in pool for pool in pools):
                raise _NoneFree(f"the address {asked} is in no pool")
            if not self._free(asked, key):
                raise _NoneFree(f"the address {asked} is taken")
            return asked
        for address in held:
            if any(ipaddress.ip_address(address) in pool for pool in pools):
                return address
        for address in _each(pools):
            if self._free(address, key):
                return address
        raise _NoneFree("all addresses of the pools are taken")

    def _free(self, address: str, key: str) -> bool:
        holders = {meta.key(service) for service in self.services.indexed("address", address)}
        holders.add(self._given.get(address, key))
        return holders == {key}


def _each(pools: list[Pool]) -> Iterator[str]:
    for pool in pools:
        yield from pool


def _version(address: str) -> int:
    return ipaddress.ip_address(address).version if address else 0


def _addresses(service: Object) -> list[str]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [entry["ip"] for entry in ingress if entry.get("ip")]
