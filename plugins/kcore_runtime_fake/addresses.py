"""Addresses of pods: each node hands out those of its slice, the least recently used first."""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address, IPv4Network

from kcore.runtime import RuntimeFailure


class Addresses:
    """The pool of one node. The network's first two addresses (itself, the gateway) and its last are left out."""

    def __init__(self, cidr: str) -> None:
        network = IPv4Network(cidr)
        self._cidr = cidr
        self._next = int(network.network_address) + 2
        self._end = int(network.broadcast_address)
        self._free: deque[str] = deque()

    def take(self) -> str:
        """Raises RuntimeFailure when all are in use."""
        if self._next < self._end:
            self._next += 1
            return str(IPv4Address(self._next - 1))
        if not self._free:
            raise RuntimeFailure(f"no IP addresses available in range set: {self._cidr}")
        return self._free.popleft()

    def give_back(self, address: str) -> None:
        self._free.append(address)
