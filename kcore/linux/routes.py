"""Ways from this machine to the pods of other machines.

Two modes. ``routes``: what is for another node's podCIDR goes to that node's address; the machines must be neighbours
of one link, or whatever is between them must know the podCIDRs too. ``vxlan``: it goes in UDP packets to that
address, over any network that lets them through. The interface of the tunnel has the network address of the own
podCIDR, and a hardware address that follows from the node's address, so that no machine needs to ask another.

All routes carry a protocol number of their own, by which they are found again after a crash.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping

import attrs

from kcore.linux.commands import CommandFailed, run
from kcore.linux.network import NetworkFailure

DIRECT, VXLAN = "routes", "vxlan"
INTERFACE = "kcore-vxlan"
PROTOCOL = "107"  # of routes: none that iproute2 has a name for
PORT = 4789  # of VXLAN, by IANA
NETWORK_ID = 107
OVERHEAD = 50  # bytes of each packet that the tunnel takes


@attrs.define(eq=False)
class PodRoutes:
    """The routes of one node, with the address `own` and the podCIDR `pod_cidr`."""

    mode: str
    own: str
    pod_cidr: str
    _peers: dict[str, str] = attrs.Factory(dict)

    async def open(self) -> None:
        """Make the tunnel, if there is to be one, and learn what routes are there. Raises NetworkFailure."""
        try:
            if self.mode == VXLAN:
                await self._make_tunnel()
            for route in json.loads(await run(["ip", "-json", "route", "show", "proto", PROTOCOL]) or "[]"):
                self._peers[str(ipaddress.IPv4Network(route["dst"]))] = ""  # whether it is right is not known
        except (CommandFailed, OSError) as error:
            raise NetworkFailure(f"routes between nodes cannot be made: {error}") from error

    async def apply(self, peers: Mapping[str, str]) -> list[str]:
        """Let these be the ways: podCIDR -> address of its node. Only what changed is done.

        Returns what failed, in words; it is tried again with the next call.
        """
        failed = []
        for cidr in [cidr for cidr in self._peers if cidr not in peers]:
            try:
                await run(["ip", "route", "delete", cidr, "proto", PROTOCOL])
            except CommandFailed:
                pass  # gone with its interface
            await self._forget(cidr, self._peers.pop(cidr))
        for cidr, address in peers.items():
            if self._peers.get(cidr) == address:
                continue
            try:
                await self._forget(cidr, self._peers.get(cidr, ""))
                await self._route(cidr, address)
                self._peers[cidr] = address
            except CommandFailed as error:
                failed.append(f"no route to the pods {cidr} by {address}: {error}")
        return failed

    async def close(self) -> None:
        """Nothing of it is left."""
        await self.apply({})
        if self.mode == VXLAN:
            try:
                await run(["ip", "link", "delete", INTERFACE])
            except CommandFailed:
                pass  # gone

    async def _route(self, cidr: str, address: str) -> None:
        if self.mode == DIRECT:
            await run(["ip", "route", "replace", cidr, "via", address, "proto", PROTOCOL])
            return
        far, mac = _first(cidr), hardware(address)
        await run(["bridge", "fdb", "replace", mac, "dev", INTERFACE, "dst", address, "self", "permanent"])
        await run(["ip", "neigh", "replace", far, "lladdr", mac, "dev", INTERFACE, "nud", "permanent"])
        await run(["ip", "route", "replace", cidr, "via", far, "dev", INTERFACE, "onlink", "proto", PROTOCOL])

    async def _forget(self, cidr: str, address: str) -> None:
        if self.mode != VXLAN or not address:
            return
        for command in (
            ["ip", "neigh", "delete", _first(cidr), "dev", INTERFACE],
            ["bridge", "fdb", "delete", hardware(address), "dev", INTERFACE, "dst", address, "self"],
        ):
            try:
                await run(command)
            except CommandFailed:
                pass  # gone

    async def _make_tunnel(self) -> None:
        try:
            await run(["ip", "link", "delete", INTERFACE])  # of another address, perhaps
        except CommandFailed:
            pass
        kind = ["type", "vxlan", "id", str(NETWORK_ID), "dstport", str(PORT), "local", self.own, "nolearning"]
        await run(["ip", "link", "add", INTERFACE, "address", hardware(self.own), *kind])
        await run(["ip", "addr", "replace", f"{_first(self.pod_cidr)}/32", "dev", INTERFACE])
        await run(["ip", "link", "set", INTERFACE, "up"])


def hardware(address: str) -> str:
    """The hardware address of a node's end of the tunnel: locally administered, and the node's address."""
    return "0a:6b:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)


def _first(cidr: str) -> str:
    return str(ipaddress.IPv4Network(cidr).network_address)
