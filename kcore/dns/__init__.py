"""The cluster's DNS server: what makes ``web.default.svc.cluster.local`` a name (CoreDNS).

What is answered is upstream's "Kubernetes DNS-Based Service Discovery", version 1.1.0. `kcore.dns.records` follows
Services, EndpointSlices and (if wanted) Pods, and knows the records; it knows nothing of packets, so that a server
over any DNS library, or a writer of hosts files, starts from it::

    records = Records(informers, "cluster.local", service="127.96.0.10")
    found = records.lookup("web.default.svc.cluster.local", "A")
    found.answers         # (Record("web.default.svc.cluster.local", "A", 5, "127.96.0.7"),)

`kcore.dns.service` makes the Service ``kube-system/kube-dns`` and the EndpointSlice behind it, so that people and
programs find the server by its usual name.

A provider of the slot `dns` opens to a `Dns`. Names here are lower case and end without a dot.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Protocol

import attrs

VERSION = "1.1.0"
"""Of the specification; ``dns-version.cluster.local`` tells it."""
NAMESPACE, NAME = "kube-system", "kube-dns"
"""Of the Service at which everybody looks for the cluster's DNS."""
PORT = 53

NOERROR, NXDOMAIN = "NOERROR", "NXDOMAIN"

Data = str | tuple[int, int, int, str] | tuple[str, str, int, int, int, int, int]
"""Of a record, by its type: an address (A, AAAA), a name (CNAME, PTR, NS), a text (TXT), (priority, weight, port,
target) of an SRV record, (server, mailbox, serial, refresh, retry, expire, minimum) of an SOA record."""


@attrs.frozen(slots=True)
class Record:
    """One resource record."""

    name: str
    type: str
    ttl: int  # seconds
    data: Data


@attrs.frozen(slots=True)
class Found:
    """What the cluster says of a name and type.

    NOERROR without answers: the name exists, but not with this type. `chase` is the name of another zone that the last
    answer, a CNAME, points to: whoever answers should add its records.
    """

    status: str
    answers: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    chase: str = ""


class Dns(Protocol):
    """What a provider of the slot `dns` opens to."""

    address: str
    """Of the Service kube-dns: what pods have in their resolv.conf."""

    def served(self) -> list[tuple[str, str, int]]:
        """(protocol, address, port) of every socket that answers now."""

    async def settled(self) -> None:
        """Return when every change that has reached this process so far is answered."""

    def notes(self) -> list[str]:
        """What a person should know: a port that had to be moved."""


def service_address(service_cidr: str) -> str:
    """The address that the Service kube-dns asks for: the tenth of the range, as everywhere."""
    return str(ipaddress.ip_network(service_cidr)[10])


def pod_servers(context: Any) -> tuple[str, ...]:
    """What resolv.conf of pods names when nothing else is configured: the address of this process's own DNS part.

    `context` is a `kcore.registry.Context`.
    """
    try:
        part: Dns = context.part("dns")
    except LookupError:
        return ()
    return (part.address,)
