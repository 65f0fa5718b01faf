"""From a question to its answer: the cluster's own, one that was kept, or another server's."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import attrs

from kcore_dns import replies, wire
from kcore_dns.answers import Answers, Prepared
from kcore_dns.forward import Forwarder
from kcore_dns.wire import AA, RA, Malformed, Query

MAX_CLIENTS = 10_000
"""Addresses of which it is remembered whether they may ask for everything."""
MAX_CHAIN = 8


class Resolver:
    """Answers queries; knows nothing of sockets."""

    def __init__(self, answers: Answers, forwarder: Forwarder, networks: Sequence[str], *, forwards: bool) -> None:
        """`networks` may ask for names outside the cluster; [] stands for private and loopback addresses."""
        self._answers, self._forwarder, self._forwards = answers, forwarder, forwards
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._known: dict[str, bool] = {}

    def quick(self, query: Query, limit: int, client: str) -> tuple[bytes | None, bool]:
        """(the answer, whether the name is the cluster's); no answer if others must be asked: `slow` does that."""
        if query.flags & wire.OPCODE:
            return wire.message(query, wire.NOTIMP, 0), True
        if not query.question:
            return wire.message(query, wire.FORMERR, 0), True
        if query.version:
            return wire.message(query, wire.BADVERS, 0), True
        if query.klass not in (wire.IN, wire.ANY_CLASS) or query.type in (wire.AXFR, wire.IXFR):
            return wire.message(query, wire.REFUSED, 0), True
        prepared = self._answers.find(query)
        if prepared is not None and not prepared.chase:
            return self._answers.render(query, prepared, limit), True
        if prepared is None:
            if not self._may_ask(client):
                return wire.message(query, wire.REFUSED, 0), False
            kept = self._forwarder.kept(query)
            return (kept if kept is None else _fitting(query, kept, limit)), False
        return None, True

    async def slow(self, query: Query, limit: int, client: str, *, tcp: bool) -> bytes:
        """The answer to what `quick` could not answer."""
        prepared = self._answers.find(query)
        if prepared is not None and prepared.chase:
            return _fitting(query, await self._chase(query, prepared, client), limit)
        reply = await self._forwarder.resolve(query, tcp=tcp)
        if reply is None:
            return wire.message(query, wire.SERVFAIL, RA)
        return _fitting(query, reply.answer(query), limit)

    async def _chase(self, query: Query, prepared: Prepared, client: str) -> bytes:
        """The alias of an ExternalName, and what it leads to; the alias alone if nobody can say."""
        found = list(prepared.answers)
        rcode = wire.NOERROR
        if self._may_ask(client):
            try:
                name = wire.wire_of(prepared.chase)
            except Malformed:
                return wire.message(query, wire.SERVFAIL, AA | RA)
            question = name + query.question[-4:]
            other = attrs.evolve(query, question=question, name=name, flags=query.flags | wire.RD)
            reply = await self._forwarder.resolve(other, tcp=True)
            if reply is None:
                return wire.message(query, wire.SERVFAIL, RA)
            rcode = reply.rcode
            try:
                found += replies.answers_of(reply, other)
            except Malformed:
                rcode = wire.SERVFAIL
        return wire.message(query, rcode, AA | RA, found)

    def _may_ask(self, client: str) -> bool:
        if not self._forwards:
            return False
        known = self._known.get(client)
        if known is None:
            address = ipaddress.ip_address(client.partition("%")[0])
            if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
                address = address.ipv4_mapped
            known = any(address in network for network in self._networks)
            if not known and not self._networks:
                known = address.is_private or address.is_loopback or address.is_link_local
            if len(self._known) >= MAX_CLIENTS:
                self._known.clear()
            self._known[client] = known
        return known


def _fitting(query: Query, answer: bytes, limit: int) -> bytes:
    return answer if len(answer) <= limit else wire.truncated(query, answer)
