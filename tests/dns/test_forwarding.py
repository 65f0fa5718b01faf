"""Whom the built-in server asks for other names, and what it keeps of what they say."""

from __future__ import annotations

import logging
from pathlib import Path

import dns.message
import pytest
import trio
from kcore_dns import DnsConfig, replies, wire
from kcore_dns.forward import Forwarder
from kcore_dns.measures import Measures
from kcore_dns.replies import Cache, Reply

from kcore.dns import Record

LOG = logging.getLogger("kcore.test")


def asked(name: str = "www.example.com", type: str = "A") -> wire.Query:
    return wire.parse(dns.message.make_query(f"{name}.", type, use_edns=False).to_wire())


def told(query: wire.Query, ttl: int, *, answers: int = 1) -> Reply:
    record = Record("www.example.com", "A", ttl, "192.0.2.1")
    soa = Record("example.com", "SOA", 100, ("n.x", "h.x", 1, 2, 3, 4, ttl))
    sections = [wire.encode(record, b"\xc0\x0c")] * answers or [wire.encode(soa, wire.wire_of("example.com"))]
    head = wire.HEADER.pack(7, wire.QR | wire.RA, 1, answers, 0 if answers else 1, 0)
    return replies.read(head + query.question + b"".join(sections), 7, query)


def forwarder(servers: list[str], stubs: dict[str, list[str]] | None = None, **more: object) -> Forwarder:
    settings: dict[str, object] = {"seconds": 1.0, "limit": 10, "own": set, **more}
    return Forwarder(
        servers,
        stubs or {},
        cache=Cache(10, 30),
        measures=Measures(),
        log=LOG,
        **settings,  # type: ignore[arg-type]
    )


async def test_what_is_kept_counts_down_and_ends(autojump_clock: trio.testing.MockClock) -> None:
    cache, query = Cache(10, 30), asked()
    cache.keep(query, told(query, 20))
    await trio.sleep(15)
    found = cache.find(query)
    assert found is not None
    assert dns.message.from_wire(found).answer[0].ttl == 5
    await trio.sleep(6)
    assert cache.find(query) is None
    assert len(cache) == 0


async def test_nothing_is_kept_longer_than_allowed(autojump_clock: trio.testing.MockClock) -> None:
    cache, query = Cache(10, 30), asked()
    cache.keep(query, told(query, 86400))
    await trio.sleep(31)
    assert cache.find(query) is None


async def test_a_negative_answer_is_kept_as_long_as_its_authority_says(autojump_clock: trio.testing.MockClock) -> None:
    cache, query = Cache(10, 30), asked()
    cache.keep(query, told(query, 10, answers=0))
    await trio.sleep(9)
    assert cache.find(query) is not None
    await trio.sleep(2)
    assert cache.find(query) is None


async def test_what_was_not_asked_for_longest_makes_room() -> None:
    cache = Cache(3, 30)
    queries = [asked(f"www{i}.example.com") for i in range(4)]
    for query in queries[:3]:
        cache.keep(query, told(query, 60))
    cache.find(queries[0])
    cache.keep(queries[3], told(queries[3], 60))
    assert [cache.find(q) is not None for q in queries] == [True, False, True, True]


async def test_a_resolv_conf_is_read_again_when_it_changes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# comment\nsearch x\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver\n")
    asking = forwarder([str(path)])
    assert asking.servers(b"\0") == [("192.0.2.1", 53), ("192.0.2.2", 53)]
    path.write_text("nameserver 192.0.2.333\nnameserver 192.0.2.4\n")
    await trio.sleep(6)
    assert ("192.0.2.4", 53) in asking.servers(b"\0")
    path.unlink()
    await trio.sleep(6)
    assert asking.servers(b"\0") == []


async def test_the_server_never_asks_itself() -> None:
    asking = forwarder(["127.0.0.1#53", "127.96.0.10", "192.0.2.9"], own=lambda: {("127.96.0.10", 53)})
    assert asking.servers(b"\0") == [("127.0.0.1", 53), ("192.0.2.9", 53)]


async def test_a_domain_may_have_servers_of_its_own() -> None:
    asking = forwarder(["192.0.2.1"], {"consul.local": ["192.0.2.7#8600"]})
    assert asking.servers(wire.wire_of("db.consul.local")) == [("192.0.2.7", 8600)]
    assert asking.servers(wire.wire_of("notconsul.local")) == [("192.0.2.1", 53)]


async def test_without_anybody_to_ask_there_is_no_answer() -> None:
    assert await forwarder([]).resolve(asked(), tcp=False) is None


async def test_a_flood_of_questions_is_bounded() -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as silent:
        await silent.bind(("127.0.0.1", 0))
        asking = forwarder([f"127.0.0.1#{silent.getsockname()[1]}"], limit=3, seconds=0.05)
        async with trio.open_nursery() as nursery:
            for i in range(10):

                async def ask(i: int = i) -> None:
                    assert await asking.resolve(asked(f"www{i}.example.com"), tcp=False) is None

                nursery.start_soon(ask)
        assert asking.measures.rejects == 7


async def test_the_next_server_answers_for_one_that_does_not() -> None:
    query = asked()
    with (
        trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as silent,
        trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as good,
    ):
        await silent.bind(("127.0.0.1", 0))
        await good.bind(("127.0.0.1", 0))

        async def serve() -> None:
            while True:
                packet, client = await good.recvfrom(512)
                await good.sendto(b"rubbish", client)
                forged = bytes((packet[0] ^ 1,)) + packet[1:2] + b"\x84\0" + packet[4:]
                await good.sendto(forged, client)
                await good.sendto(dns.message.make_response(dns.message.from_wire(packet)).to_wire(), client)

        ports = [s.getsockname()[1] for s in (silent, good)]
        asking = forwarder([f"127.0.0.1#{port}" for port in ports], seconds=0.1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            reply = await asking.resolve(query, tcp=False)
            assert reply is not None
            assert asking.servers(b"\0")[0][1] == ports[1]  # first from now on
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("settings", [{"forward": ["nonsense"]}, {"address": "x"}, {"clients": ["10.0.0.0/33"]}])
def test_a_setting_that_is_no_address_is_told(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"address|appear"):
        DnsConfig(**settings)  # type: ignore[arg-type]
