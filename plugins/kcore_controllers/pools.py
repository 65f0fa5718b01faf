"""Addresses to give away: ``192.0.2.0/28``, or ``192.0.2.10-192.0.2.20``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import attrs

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@attrs.frozen
class Pool:
    """All addresses from `first` to `last`."""

    first: Address
    last: Address

    @staticmethod
    def parse(text: str) -> Pool:
        """Raises ValueError. Of an IPv4 network neither its own address nor its broadcast is given away."""
        first, dash, last = text.partition("-")
        if dash:
            pool = Pool(ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip()))
            if pool.first.version != pool.last.version or int(pool.first) > int(pool.last):
                raise ValueError(f"{text!r} is no range: the first address must come before the last")
            return pool
        network = ipaddress.ip_network(text.strip())
        edge = 1 if network.version == 4 and network.prefixlen < 31 else 0
        return Pool(network[edge], network[-1 - edge])

    @property
    def version(self) -> int:
        return self.first.version

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, Address) or address.version != self.version:
            return False
        return int(self.first) <= int(address) <= int(self.last)

    def __iter__(self) -> Iterator[str]:
        make = type(self.first)
        return (str(make(number)) for number in range(int(self.first), int(self.last) + 1))
