"""The cluster's own answers as bytes, made once for each question and put together anew for each client."""

from __future__ import annotations

import attrs

from kcore.dns import NXDOMAIN, Found, Record
from kcore.dns.records import Records
from kcore_dns import wire
from kcore_dns.wire import AA, RA, TC, Query

MAX_PREPARED = 20_000
"""Questions whose answers are kept until something changes."""


@attrs.define(slots=True)
class Prepared:
    """Everything of an answer that does not depend on the client."""

    rcode: int
    answers: list[bytes]
    authority: list[bytes]
    additional: list[bytes]
    size: int
    chase: str = ""
    turns: int = 0
    single: bytes = b""  # the usual case, all sections joined: nothing to be put in another order
    alike: bool = True  # all answers are of one type: their order means nothing


class Answers:
    """Answers from `Records`."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._prepared: dict[tuple[bytes, int], Prepared] = {}
        self._missing: Prepared | None = None  # names that do not exist are endless, and all answered alike
        records.on_change(self._forget)

    def _forget(self) -> None:
        self._prepared.clear()
        self._missing = None

    def find(self, query: Query) -> Prepared | None:
        """None: the name is of no zone of the cluster."""
        key = query.name, query.type
        try:
            return self._prepared[key]
        except KeyError:
            pass
        found = self._records.lookup(query.text, wire.TYPES.get(query.type, f"TYPE{query.type}"))
        if not self._records.synced:
            if found is not None and not found.answers:
                return Prepared(wire.SERVFAIL, [], [], [], 0)  # it may yet turn up
            return None if found is None else _prepare(query, found)
        if found is not None and found.status == NXDOMAIN:
            if self._missing is None:
                self._missing = _prepare(query, found)
            return self._missing
        if len(self._prepared) >= MAX_PREPARED:
            self._prepared.clear()
        prepared = None if found is None else _prepare(query, found)
        if prepared is not None:  # what is not the cluster's is endless too
            self._prepared[key] = prepared
        return prepared

    def render(self, query: Query, prepared: Prepared, limit: int) -> bytes:
        """The answer in at most `limit` bytes, cut as RFC 2181 has it: what is additional goes first, and silently."""
        room = limit - 12 - len(query.question) - (11 if query.edns else 0)
        if prepared.single and prepared.size <= room:
            # Written out for speed: what `wire.message` does, with one bytes object for all the sections.
            answers, authority = len(prepared.answers), len(prepared.authority)
            flags = wire.QR | AA | RA | query.flags & (wire.RD | wire.CD) | prepared.rcode
            if not query.edns:
                head = wire.HEADER.pack(query.id, flags, 1, answers, authority, 0)
                return head + query.question + prepared.single
            head = wire.HEADER.pack(query.id, flags, 1, answers, authority, 1)
            return head + query.question + prepared.single + wire.opt(query)
        answers_ = prepared.answers
        if len(answers_) > 1 and prepared.alike:  # by turns, so that clients that take the first spread over all
            first = prepared.turns = (prepared.turns + 1) % len(answers_)
            answers_ = answers_[first:] + answers_[:first]
        if prepared.size <= room:
            return wire.message(query, prepared.rcode, AA | RA, answers_, prepared.authority, prepared.additional)
        room -= sum(map(len, answers_)) + sum(map(len, prepared.authority))
        if room >= 0:
            return wire.message(query, prepared.rcode, AA | RA, answers_, prepared.authority)
        return wire.message(query, prepared.rcode, AA | RA | TC)


def _prepare(query: Query, found: Found) -> Prepared:
    own = query.text
    owners: dict[str, bytes] = {own: b"\xc0\x0c"}

    def encoded(records: tuple[Record, ...]) -> list[bytes]:
        for record in records:
            if record.name not in owners:
                owners[record.name] = wire.wire_of(record.name)
        return [wire.encode(record, owners[record.name]) for record in records]

    try:
        answers, additional = encoded(found.answers), encoded(found.additional)
    except wire.Malformed:  # an ExternalName that no packet can carry
        return Prepared(wire.SERVFAIL, [], [], [], 0)
    authority = encoded(found.authority)
    rcode = wire.NXDOMAIN if found.status == NXDOMAIN else wire.NOERROR
    size = sum(map(len, answers + authority + additional))
    alike = len({r.type for r in found.answers}) < 2
    plain = len(answers) < 2 and not additional and not found.chase
    single = b"".join(answers + authority) if plain else b""
    return Prepared(rcode, answers, authority, additional, size, found.chase, single=single, alike=alike)
