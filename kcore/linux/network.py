"""The network of one node's pods on this machine: a bridge, and a pair of interfaces for each pod.

::

    pod's namespace          this machine
    eth0 10.0.1.5/24 ---- kc3f2a90a000105 --+
    eth0 10.0.1.6/24 ---- kc3f2a90a000106 --+-- kcore-3f2a91c4 10.0.1.1 --- routes, masquerade

The bridge has the first address of the node's podCIDR; pods reach everything through it. Names are made of the node's
name and of addresses, so several nodes may share a machine, and what was made before a crash is found and used again.

Rules of iptables stand in chains of the node's own (``KCORE-...``), each entered by one rule with a comment; nobody
else's rules are looked at. Opening twice, attaching twice and detaching what is gone are no errors.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from kcore.errors import KcoreError
from kcore.linux.commands import CommandFailed, run
from kcore.runtime import Port

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class NetworkFailure(KcoreError):
    """The network of a pod, or of the node, cannot be made. The message is for an event."""


@attrs.frozen
class Traffic:
    """What has gone through a pod's interface: bytes and packets."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@attrs.define(eq=False)
class PodNetwork:
    """Made by `open`."""

    node: str
    cidr: ipaddress.IPv4Network
    mtu: int
    masquerade: bool
    cluster_cidr: str
    _free: deque[str]
    _used: set[str] = attrs.Factory(set)
    _published: dict[str, tuple[Port, ...]] = attrs.Factory(dict)

    @classmethod
    async def open(
        cls, node: str, pod_cidr: str, *, mtu: int = 0, masquerade: bool = True, cluster_cidr: str = ""
    ) -> PodNetwork:
        """Make the bridge and the node's rules, or take those that are there.

        `mtu`: 0 leaves the kernel's. With `masquerade`, what leaves for beyond `cluster_cidr` (all pods of the
        cluster; "" for this node's alone) has the machine's address. Raises NetworkFailure.
        """
        cidr = ipaddress.IPv4Network(pod_cidr)
        if cidr.num_addresses < 4:
            raise NetworkFailure(f"the pod CIDR {pod_cidr} has no room for pods")
        free = deque(str(address) for address in list(cidr.hosts())[1:])
        network = cls(node, cidr, mtu, masquerade, cluster_cidr or pod_cidr, free)
        try:
            await network._make_bridge()
            await network._write_rules()
        except (CommandFailed, OSError) as error:
            raise NetworkFailure(f"the network of node {node} cannot be made: {error}") from error
        return network

    @property
    def gateway(self) -> str:
        return str(self.cidr[1])

    @property
    def bridge(self) -> str:
        return f"kcore-{_short(self.node, 8)}"

    # --- addresses ---------------------------------------------------------------------------------------------------

    def reserve(self, address: str = "", *, ports: Sequence[Port] = ()) -> str:
        """A free address, or this one, which a pod was found with. What was freed last is used last.

        `ports` of an address that was found are published since before. Raises NetworkFailure.
        """
        if not address:
            while self._free and self._free[0] in self._used:
                self._free.popleft()
            if not self._free:
                raise NetworkFailure(f"no address is free in {self.cidr}")
            address = self._free.popleft()
        self._used.add(address)
        self._remember(address, ports)
        return address

    def release(self, address: str) -> None:
        if address in self._used:
            self._used.remove(address)
            self._free.append(address)

    # --- pods --------------------------------------------------------------------------------------------------------

    async def attach(self, netns: str, address: str, *, ports: Sequence[Port] = ()) -> None:
        """Give the network namespace `netns` (``/proc/PID/ns/net``) its interface. Raises NetworkFailure."""
        pair = self.interface(address)
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        here = [
            f"link add {pair}{mtu} type veth peer name eth0{mtu} netns {_pid(netns)}",
            f"link set {pair} master {self.bridge}",
            f"link set {pair} type bridge_slave hairpin on",
            f"link set {pair} up",
        ]
        there = [
            "link set lo up",
            f"addr add {address}/{self.cidr.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {self.gateway}",
        ]
        try:
            await self.detach(address)
            await run(["ip", "-batch", "-"], "\n".join(here))
            await run(["nsenter", f"--net={netns}", "ip", "-batch", "-"], "\n".join(there))
            if self._remember(address, ports):
                await self._write_rules()
        except CommandFailed as error:
            raise NetworkFailure(f"the network of the pod cannot be made: {error}") from error

    async def detach(self, address: str) -> None:
        """Take the interface away; it goes by itself with the namespace."""
        if _exists(self.interface(address)):
            try:
                await run(["ip", "link", "delete", self.interface(address)])
            except CommandFailed:
                pass  # gone with its namespace meanwhile
        if self._published.pop(address, ()):
            await self._write_rules()

    def interface(self, address: str) -> str:
        """The name of a pod's interface on the machine's side: 15 characters, the most that there may be."""
        return f"kc{_short(self.node, 5)}{int(ipaddress.IPv4Address(address)):08x}"

    async def close(self, *, remove: bool) -> None:
        """With `remove`, the bridge and the rules go too; without, pods go on."""
        if not remove:
            return
        for command in self._unhooks():
            try:
                await run(command)
            except CommandFailed:
                pass  # it was not there
        try:
            await run(["ip", "link", "delete", self.bridge])
        except CommandFailed:
            pass

    # --- what it is made of ------------------------------------------------------------------------------------------

    async def _make_bridge(self) -> None:
        if not _exists(self.bridge):
            await run(["ip", "link", "add", self.bridge, "type", "bridge"])
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        lines = [
            f"addr replace {self.gateway}/{self.cidr.prefixlen} dev {self.bridge}",
            f"link set {self.bridge}{mtu} up",
        ]
        await run(["ip", "-batch", "-"], "\n".join(lines))
        _forward()

    def _remember(self, address: str, ports: Sequence[Port]) -> bool:
        wanted = tuple(port for port in ports if port.host_port)
        if self._published.get(address, ()) == wanted:
            return False
        self._published[address] = wanted
        return True

    async def _write_rules(self) -> None:
        await run(["iptables-restore", "--noflush", "--wait"], self._rules())
        for table, chain, rule in self._hooks():
            try:
                await run(["iptables", "--wait", "-t", table, "-C", chain, *rule])
            except CommandFailed:
                # ahead of others: whoever drops what is forwarded by default means strangers
                await run(["iptables", "--wait", "-t", table, "-I", chain, "1", *rule])

    @property
    def _chains(self) -> tuple[str, str, str]:
        """Names of the node's chains: what leaves, what is published, what is forwarded."""
        mark = _short(self.node, 8).upper()
        return f"KCORE-MASQ-{mark}", f"KCORE-HOSTPORT-{mark}", f"KCORE-FORWARD-{mark}"

    def _rules(self) -> str:
        leaving, published, forwarded = self._chains
        lines = ["*nat", f":{leaving} - [0:0]", f":{published} - [0:0]"]
        if self.masquerade:
            lines.append(f"-A {leaving} -s {self.cidr} ! -d {self.cluster_cidr} -j MASQUERADE")
        for address, ports in self._published.items():
            for port in ports:
                match = f"-p {port.protocol.lower()} --dport {port.host_port}"
                if port.host_ip and port.host_ip != "0.0.0.0":
                    match = f"-d {port.host_ip} {match}"
                lines.append(f"-A {published} {match} -j DNAT --to-destination {address}:{port.port}")
                own = f"-s {address} -d {address} -p {port.protocol.lower()} --dport {port.port}"
                lines.append(f"-A {leaving} {own} -j MASQUERADE")
        lines += ["COMMIT", "*filter", f":{forwarded} - [0:0]"]
        lines += [f"-A {forwarded} -s {self.cidr} -j ACCEPT", f"-A {forwarded} -d {self.cidr} -j ACCEPT", "COMMIT", ""]
        return "\n".join(lines)

    def _hooks(self) -> list[tuple[str, str, list[str]]]:
        """(table, chain, rule): where the node's chains are entered."""
        leaving, published, forwarded = self._chains
        said = ["-m", "comment", "--comment", f"kcore node {self.node}"]
        local = ["-m", "addrtype", "--dst-type", "LOCAL"]
        return [
            ("nat", "POSTROUTING", [*said, "-j", leaving]),
            ("nat", "PREROUTING", [*said, *local, "-j", published]),
            ("nat", "OUTPUT", [*said, *local, "-j", published]),
            ("filter", "FORWARD", [*said, "-j", forwarded]),
        ]

    def _unhooks(self) -> list[list[str]]:
        leaving, published, forwarded = self._chains
        out = [["iptables", "--wait", "-t", table, "-D", chain, *rule] for table, chain, rule in self._hooks()]
        for table, chain in (("nat", leaving), ("nat", published), ("filter", forwarded)):
            out += [["iptables", "--wait", "-t", table, flag, chain] for flag in ("-F", "-X")]
        return out


@asynccontextmanager
async def local_range(cidr: str) -> AsyncIterator[None]:
    """While it lasts, every address of `cidr` is this machine's own, and may be listened on. Raises NetworkFailure."""
    route = ["local", cidr, "dev", "lo"]
    try:
        await run(["ip", "route", "replace", *route])
    except CommandFailed as error:
        raise NetworkFailure(f"the addresses {cidr} cannot be made this machine's own: {error}") from error
    try:
        yield
    finally:
        try:
            await run(["ip", "route", "delete", *route])
        except CommandFailed:
            pass  # gone


def traffic(pid: int) -> Traffic:
    """What has gone through eth0 in the network namespace of a process; nothing if it has none, or is gone."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
    except OSError:
        return Traffic()
    for line in lines:
        name, _, rest = line.partition(":")
        if name.strip() == "eth0":
            n = [int(word) for word in rest.split()]
            return Traffic(n[0], n[1], n[2], n[3], n[8], n[9], n[10], n[11])
    return Traffic()


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
        return True
    except OSError:
        return False


def _forward() -> None:
    """Let the machine pass on what is not for itself."""
    if _FORWARDING.read_text().strip() != "1":
        _FORWARDING.write_text("1\n")


def _short(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _pid(netns: str) -> str:
    """Of ``/proc/PID/ns/net`` the PID; a name for what `ip netns` made."""
    parts = netns.split("/")
    return parts[2] if netns.startswith("/proc/") else parts[-1]
