"""Bytes in, bytes out: what dnspython writes is read, what is written dnspython reads, and rubbish is refused."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kcore_dns import replies, wire
from kcore_dns.wire import Malformed

from kcore.dns import Record

LABEL = st.text("abcXYZ019-_", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=8).map(".".join)
QUESTION = dns.message.make_query("web.default.svc.cluster.local.", "A", use_edns=0).to_wire()


def asked(name: str, type: str = "A") -> wire.Query:
    return wire.parse(dns.message.make_query(f"{name}.", type, use_edns=False).to_wire())


@given(NAME, st.sampled_from(["A", "AAAA", "SRV", "PTR", "TXT", "ANY"]), st.booleans(), st.integers(0, 5000))
def test_a_question_is_read_as_it_was_meant(name: str, type: str, edns: bool, size: int) -> None:
    query = dns.message.make_query(f"{name}.", type, use_edns=0 if edns else False, payload=size)
    read = wire.parse(query.to_wire())
    assert (read.id, read.text, wire.TYPES[read.type]) == (query.id, name.lower(), type)
    assert (read.edns, read.size) == (edns, max(512, min(size, 1232)) if edns else 512)


@given(NAME)
def test_a_name_survives_being_written(name: str) -> None:
    assert wire.text_of(wire.wire_of(name)) == name
    assert dns.name.from_wire(wire.wire_of(name), 0)[0].to_text() == f"{name}."


@given(st.binary(max_size=600))
def test_any_bytes_are_a_question_or_malformed(packet: bytes) -> None:
    try:
        wire.parse(packet)
    except Malformed:
        pass


@given(st.integers(0, len(QUESTION) - 1), st.integers(0, 255), st.binary(max_size=30))
def test_a_damaged_question_is_a_question_or_malformed(at: int, byte: int, tail: bytes) -> None:
    packet = QUESTION[:at] + bytes((byte,)) + QUESTION[at + 1 :] + tail
    try:
        query = wire.parse(packet)
    except Malformed:
        return
    dns.message.from_wire(wire.message(query, 0, 0)) if query.klass else None
    assert wire.wire_of(query.text) == query.name


@given(st.binary(max_size=300), st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_any_answer_of_others_is_read_or_malformed(sections: bytes, counts: list[int]) -> None:
    query = asked("www.example.com")
    packet = wire.HEADER.pack(7, wire.QR, 1, *counts) + query.question + sections
    try:
        reply = replies.read(packet, 7, query)
        replies.answers_of(reply, query)
    except Malformed:
        pass


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (Record("web.x", "A", 5, "10.0.0.1"), "web.x. 5 IN A 10.0.0.1"),
        (Record("web.x", "AAAA", 5, "fd00::1"), "web.x. 5 IN AAAA fd00::1"),
        (Record("web.x", "CNAME", 5, "www.example.com"), "web.x. 5 IN CNAME www.example.com."),
        (Record("web.x", "SRV", 5, (0, 100, 80, "a.web.x")), "web.x. 5 IN SRV 0 100 80 a.web.x."),
        (Record("web.x", "TXT", 5, "1.1.0"), 'web.x. 5 IN TXT "1.1.0"'),
        (Record("web.x", "SOA", 5, ("n.x", "h.x", 1, 2, 3, 4, 5)), "web.x. 5 IN SOA n.x. h.x. 1 2 3 4 5"),
    ],
)
def test_a_record_is_written_as_others_read_it(record: Record, text: str) -> None:
    query = asked("web.x", record.type)
    packet = wire.message(query, 0, wire.AA, [wire.encode(record, b"\xc0\x0c")])
    assert dns.message.from_wire(packet).answer[0].to_text() == text


def test_an_answer_is_never_taken_for_a_question() -> None:
    answer = dns.message.make_response(dns.message.from_wire(QUESTION))
    with pytest.raises(Malformed):
        wire.parse(answer.to_wire())


@pytest.mark.parametrize("name", ["", "a" * 64, ".".join(["abcdefgh"] * 40), "a..b"])
def test_a_name_that_cannot_be_is_not_written(name: str) -> None:
    if not name:
        assert wire.wire_of(name) == b"\0"
        return
    with pytest.raises(Malformed):
        wire.wire_of(name)


def test_a_pointer_that_leads_in_a_circle_is_malformed() -> None:
    query = asked("www.example.com")
    end = 12 + len(query.question)
    loop = bytes((0xC0, end)) + wire.FIXED.pack(wire.A, 1, 60, 4) + b"\1\2\3\4"
    reply = replies.read(wire.HEADER.pack(7, wire.QR, 1, 1, 0, 0) + query.question + loop, 7, query)
    with pytest.raises(Malformed):
        replies.answers_of(reply, query)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: b"\0\x08" + p[2:],  # another number
        lambda p: p[:2] + b"\0\0" + p[4:],  # no answer
        lambda p: p[:13] + b"X" + p[14:],  # another name
        lambda p: p[:4] + b"\0\0" + p[6:],  # no question
        lambda p: p[:6] + b"\xff\xff" + p[8:],  # more records than can be
        lambda p: p[:-1],
    ],
)
def test_an_answer_to_something_else_is_not_taken(change: object) -> None:
    query = asked("www.example.com")
    record = Record("www.example.com", "A", 60, "192.0.2.1")
    good = wire.HEADER.pack(7, wire.QR, 1, 1, 0, 0) + query.question + wire.encode(record, b"\xc0\x0c")
    assert replies.read(good, 7, query).keep == 60
    with pytest.raises(Malformed):
        replies.read(change(good), 7, query)  # type: ignore[operator]
