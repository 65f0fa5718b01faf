"""The conformance suite for cluster DNS servers: real questions over UDP and TCP, on loopback addresses.

class TestMyServer(DnsConformance):
    provider = my_provider                  # a kcore.registry.Provider

    def config(self, upstream: str) -> Any:   # "127.0.0.1#40123": the server for all other names
        return MyConfig(port=0, forward=[upstream])

What is asked and how answers are read is dnspython's, so that no server is judged by its own code.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio
import trio.testing

from kcore.dns import NAME, NAMESPACE, Dns, service_address
from kcore.objects import Object
from kcore.objects.resources import ENDPOINTSLICES, NAMESPACES, SERVICES
from kcore.registry import Cluster as Ranges
from kcore.registry import Provider
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient, cluster_client

ZONE = "cluster.local"
_numbers = itertools.count(1)


class Upstream:
    """A DNS server for the rest of the world, and what it was asked."""

    def __init__(self, sock: trio.socket.SocketType, tcp: trio.SocketListener) -> None:
        self._sock, self._tcp = sock, tcp
        self.asked: list[str] = []
        self.records: dict[tuple[str, str], list[str]] = {("www.example.com.", "A"): ["192.0.2.7"]}
        self.silent = False
        self.long: set[str] = set()
        """Names that are only told whole over TCP."""
        self.negative_ttl = 60

    @property
    def address(self) -> str:
        host, port = self._sock.getsockname()
        return f"{host}#{port}"

    def answer(self, packet: bytes, *, udp: bool) -> bytes | None:
        query = dns.message.from_wire(packet)
        name = query.question[0].name.to_text().lower()
        type = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append(f"{name} {type}")
        if self.silent:
            return None
        answer = dns.message.make_response(query, recursion_available=True)
        if udp and name in self.long:
            answer.flags |= dns.flags.TC
            return answer.to_wire()
        found = self.records.get((name, type))
        alias = self.records.get((name, "CNAME"))
        if alias is not None:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", alias[0]))
            found, name = self.records.get((alias[0], type)), alias[0]
        if found is not None:
            answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", type, found))
        elif alias is None:
            if not any(known == name for known, _ in self.records):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            soa = f"ns.example.com. admin.example.com. 1 2 3 4 {self.negative_ttl}"
            answer.authority.append(dns.rrset.from_text("example.com.", 60, "IN", "SOA", soa))
        return answer.to_wire()

    async def serve(self) -> None:
        with self._sock:
            await self._serve()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._connection, [self._tcp])
            while True:
                packet, client = await self._sock.recvfrom(4096)
                answer = self.answer(packet, udp=True)
                if answer is not None:
                    await self._sock.sendto(answer, client)

    async def _connection(self, stream: trio.SocketStream) -> None:
        packet = await _message(stream)
        answer = self.answer(packet, udp=False) if packet else None
        if answer is not None:
            await stream.send_all(len(answer).to_bytes(2, "big") + answer)


async def _upstream() -> Upstream:
    tcp = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    await sock.bind(tcp.socket.getsockname())
    return Upstream(sock, tcp)


async def _message(stream: trio.SocketStream) -> bytes:
    received = bytearray()
    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
        piece = await stream.receive_some(65536)
        if not piece:
            return b""
        received += piece
    return bytes(received[2:])


class Cluster:
    """A DNS server on a cluster with the namespaces default and kube-system, and a client."""

    def __init__(self, client: MemoryClient, dns: Dns, upstream: Upstream, address: str) -> None:
        self.client, self.dns, self.upstream, self.address = client, dns, upstream, address

    def at(self, protocol: str) -> tuple[str, int]:
        return next((host, port) for p, host, port in self.dns.served() if p == protocol)

    async def settled(self) -> None:
        await trio.testing.wait_all_tasks_blocked(0.005)
        await self.dns.settled()

    # --- what is in the cluster ---

    async def service(self, name: str, *ips: str, ports: dict[str, int] | None = None, **spec: Any) -> None:
        """`ips` are its ClusterIPs, none for a headless one; `ports` by name."""
        of = [{"name": n, "port": p, "protocol": "TCP"} for n, p in (ports or {"": 80}).items()]
        addresses = list(ips) or ["None"]
        if spec.get("type") != "ExternalName":
            spec = {"clusterIP": addresses[0], "clusterIPs": addresses, "ports": of, **spec}
        await self.client.create(SERVICES, {"metadata": {"name": name}, "spec": spec}, "default")
        await self.settled()

    async def slice(self, service: str, endpoints: list[Object], ports: dict[str, int] | None = None) -> str:
        """Endpoints of a headless service: {"addresses": [...], "hostname": "...", "conditions": {...}}."""
        name = f"{service}-{next(_numbers)}"
        family = "IPv6" if ":" in endpoints[0]["addresses"][0] else "IPv4"
        labels = {"kubernetes.io/service-name": service, "service.kubernetes.io/headless": ""}
        of = [{"name": n, "port": p, "protocol": "TCP"} for n, p in (ports or {"": 80}).items()]
        body = {"metadata": {"name": name, "labels": labels}, "addressType": family, "endpoints": endpoints}
        await self.client.create(ENDPOINTSLICES, {**body, "ports": of}, "default")
        await self.settled()
        return name

    # --- asking ---

    async def ask(self, name: str, type: str = "A", *, tcp: bool = False, edns: int = 0) -> dns.message.Message:
        """`name` without the final dot; `edns`: the size of datagrams that the client takes."""
        more: dict[str, Any] = {"use_edns": 0, "payload": edns} if edns else {"use_edns": False}
        query = dns.message.make_query(f"{name}.", type, **more)
        answer = dns.message.from_wire(await self.exchange(query.to_wire(), tcp=tcp))
        assert query.is_response(answer)
        assert answer.flags & dns.flags.RA
        return answer

    async def exchange(self, packet: bytes, *, tcp: bool = False) -> bytes:
        with trio.fail_after(10):
            if tcp:
                async with await trio.open_tcp_stream(*self.at("TCP")) as stream:
                    await stream.send_all(len(packet).to_bytes(2, "big") + packet)
                    return await _message(stream)
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
                await sock.connect(self.at("UDP"))
                await sock.send(packet)
                return await sock.recv(65535)

    async def data(self, name: str, type: str = "A", **how: Any) -> set[str]:
        """What the answer's records of this type say; the rest of the answer is as it should be of a name that is."""
        answer = await self.ask(name, type, **how)
        assert answer.rcode() == dns.rcode.NOERROR, answer
        wanted = dns.rdatatype.from_text(type)
        return {item.to_text() for rrset in answer.answer if rrset.rdtype == wanted for item in rrset}

    async def missing(self, name: str, type: str = "A") -> None:
        """There is no such name, and the answer may be remembered."""
        answer = await self.ask(name, type)
        assert answer.rcode() == dns.rcode.NXDOMAIN, answer
        assert not answer.answer
        assert answer.flags & dns.flags.AA
        assert [r.rdtype for r in answer.authority] == [dns.rdatatype.SOA]

    async def nothing(self, name: str, type: str = "A") -> None:
        """The name exists, but not with this type, and the answer may be remembered."""
        answer = await self.ask(name, type)
        assert answer.rcode() == dns.rcode.NOERROR, answer
        assert not answer.answer
        assert [r.rdtype for r in answer.authority] == [dns.rdatatype.SOA]


class DnsConformance:
    """Inherit, name your provider, and pytest does the rest."""

    provider: ClassVar[Provider[Dns]]

    def config(self, upstream: str) -> Any:
        """Settings of the provider, so that it listens anywhere and asks `upstream` (ADDRESS#PORT) for other names."""
        raise NotImplementedError

    @asynccontextmanager
    async def cluster(self, tmp_path: Path) -> AsyncIterator[Cluster]:
        cidr = f"127.{40 + os.getpid() % 20}.{next(_numbers) % 250}.0/24"  # other tests, other processes have others
        async with cluster_client() as client, trio.open_nursery() as nursery:
            for namespace in ("default", NAMESPACE):
                await client.create(NAMESPACES, {"metadata": {"name": namespace}})
            upstream = await _upstream()
            nursery.start_soon(upstream.serve)
            context = TestContext(tmp_path, api=client, name="dns", cluster=Ranges(service_cidr=cidr))
            async with self.provider.open(context, self.config(upstream.address)) as part:
                cluster = Cluster(client, part, upstream, service_address(cidr))
                await cluster.settled()
                yield cluster
            nursery.cancel_scope.cancel()

    # --- services ---

    async def test_a_service_has_its_address(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9")
            assert await c.data(f"web.default.svc.{ZONE}") == {"127.40.9.9"}
            assert await c.data(f"web.default.svc.{ZONE}", tcp=True) == {"127.40.9.9"}
            answer = await c.ask(f"web.default.svc.{ZONE}")
            assert answer.flags & dns.flags.AA

    async def test_names_are_compared_without_case_and_told_as_asked(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9")
            answer = await c.ask(f"WeB.Default.SVC.{ZONE}")
            assert answer.answer[0].name.to_text() == f"WeB.Default.SVC.{ZONE}."
            assert answer.question[0].name.to_text() == f"WeB.Default.SVC.{ZONE}."

    async def test_a_dual_stack_service_has_both_addresses(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9", "fd00::9")
            assert await c.data(f"web.default.svc.{ZONE}") == {"127.40.9.9"}
            assert await c.data(f"web.default.svc.{ZONE}", "AAAA") == {"fd00::9"}

    async def test_a_named_port_has_an_srv_record_and_an_unnamed_one_has_none(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9", ports={"http": 80, "admin": 81})
            await c.service("plain", "127.40.9.8")
            answer = await c.ask(f"_http._tcp.web.default.svc.{ZONE}", "SRV")
            (record,) = answer.answer[0]
            assert (record.port, record.target.to_text()) == (80, f"web.default.svc.{ZONE}.")
            assert [r[0].to_text() for r in answer.additional] == ["127.40.9.9"]
            await c.missing(f"_https._tcp.web.default.svc.{ZONE}", "SRV")
            await c.missing(f"_http._udp.web.default.svc.{ZONE}", "SRV")
            await c.missing(f"_http._tcp.plain.default.svc.{ZONE}", "SRV")

    async def test_an_address_of_a_service_leads_back_to_its_name(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9", "fd00::9")
            assert await c.data("9.9.40.127.in-addr.arpa", "PTR") == {f"web.default.svc.{ZONE}."}
            nibbles = ".".join(reversed(f"fd00{'0' * 27}9"))
            assert await c.data(f"{nibbles}.ip6.arpa", "PTR") == {f"web.default.svc.{ZONE}."}

    async def test_what_does_not_exist_is_told_from_what_has_no_such_record(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9")
            await c.nothing(f"web.default.svc.{ZONE}", "AAAA")
            await c.nothing(f"web.default.svc.{ZONE}", "MX")
            await c.nothing(f"default.svc.{ZONE}")
            await c.nothing(f"svc.{ZONE}")
            await c.missing(f"nope.default.svc.{ZONE}")
            await c.missing(f"web.nowhere.svc.{ZONE}")
            await c.missing(f"x.web.default.svc.{ZONE}")
            await c.missing(f"www.example.com.default.svc.{ZONE}")  # as search paths make of every other name
            await c.missing(f"nope.{ZONE}")
            assert not c.upstream.asked

    async def test_a_name_appears_changes_and_goes_with_its_service(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            name = f"web.default.svc.{ZONE}"
            await c.missing(name)
            await c.service("web", "127.40.9.9")
            assert await c.data(name) == {"127.40.9.9"}
            change = {"spec": {"type": "ExternalName", "externalName": "www.example.com", "clusterIPs": None}}
            await c.client.patch(SERVICES, "web", change, "default")
            await c.settled()
            assert await c.data(name, "CNAME") == {"www.example.com."}
            await c.client.delete(SERVICES, "web", "default")
            await c.settled()
            await c.missing(name)

    # --- headless services ---

    async def test_a_headless_service_has_the_addresses_of_its_ready_endpoints(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("db")
            await c.nothing(f"db.default.svc.{ZONE}")
            off = {"addresses": ["10.1.0.3"], "conditions": {"ready": False}}
            await c.slice("db", [{"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"]}, off])
            await c.slice("db", [{"addresses": ["fd01::1"], "conditions": {"ready": True}}])
            assert await c.data(f"db.default.svc.{ZONE}") == {"10.1.0.1", "10.1.0.2"}
            assert await c.data(f"db.default.svc.{ZONE}", "AAAA") == {"fd01::1"}

    async def test_endpoints_that_are_not_ready_are_published_on_request(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("db", publishNotReadyAddresses=True)
            await c.slice("db", [{"addresses": ["10.1.0.3"], "conditions": {"ready": False}}])
            assert await c.data(f"db.default.svc.{ZONE}") == {"10.1.0.3"}

    async def test_an_endpoint_has_a_name_by_its_host_name_or_its_address(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("db")
            await c.slice("db", [{"addresses": ["10.1.0.1"], "hostname": "db-0"}, {"addresses": ["10.1.0.2"]}])
            assert await c.data(f"db-0.db.default.svc.{ZONE}") == {"10.1.0.1"}
            assert await c.data(f"10-1-0-2.db.default.svc.{ZONE}") == {"10.1.0.2"}
            assert await c.data("1.0.1.10.in-addr.arpa", "PTR") == {f"db-0.db.default.svc.{ZONE}."}
            await c.missing(f"db-1.db.default.svc.{ZONE}")

    async def test_srv_records_of_a_headless_service_name_its_endpoints(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("db", ports={"sql": 5432})
            pods = [{"addresses": [f"10.1.0.{i}"], "hostname": f"db-{i}"} for i in range(3)]
            await c.slice("db", pods, {"sql": 15432})
            answer = await c.ask(f"_sql._tcp.db.default.svc.{ZONE}", "SRV", edns=1232)
            told = {(r.port, r.target.to_text()) for r in answer.answer[0]}
            assert told == {(15432, f"db-{i}.db.default.svc.{ZONE}.") for i in range(3)}
            assert {r[0].to_text() for r in answer.additional} == {f"10.1.0.{i}" for i in range(3)}

    async def test_clients_that_take_the_first_address_spread_over_all(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("db")
            await c.slice("db", [{"addresses": [f"10.1.0.{i}"]} for i in range(4)])
            first = {(await c.ask(f"db.default.svc.{ZONE}")).answer[0][0].to_text() for _ in range(40)}
            assert len(first) > 1

    # --- ExternalName, pods, the zone ---

    async def test_an_external_name_is_an_alias_that_is_followed(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9")
            await c.service("there", type="ExternalName", externalName="www.example.com")
            await c.service("here", type="ExternalName", externalName=f"web.default.svc.{ZONE}")
            assert await c.data(f"there.default.svc.{ZONE}", "CNAME") == {"www.example.com."}
            assert await c.data(f"there.default.svc.{ZONE}") == {"192.0.2.7"}
            assert await c.data(f"here.default.svc.{ZONE}") == {"127.40.9.9"}
            answer = await c.ask(f"here.default.svc.{ZONE}")
            assert [r.rdtype for r in answer.answer] == [dns.rdatatype.CNAME, dns.rdatatype.A]

    async def test_external_names_in_a_circle_are_given_up(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            for one, other in (("a", "b"), ("b", "a")):
                await c.service(one, type="ExternalName", externalName=f"{other}.default.svc.{ZONE}")
            await c.ask(f"a.default.svc.{ZONE}", tcp=True)
            await c.service("web", "127.40.9.9")
            assert await c.data(f"web.default.svc.{ZONE}") == {"127.40.9.9"}

    async def test_a_pod_has_a_name_by_its_address(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            assert await c.data(f"10-1-0-7.default.pod.{ZONE}") == {"10.1.0.7"}
            assert await c.data(f"fd00--7.default.pod.{ZONE}", "AAAA") == {"fd00::7"}
            await c.missing(f"10-1-0-7.nowhere.pod.{ZONE}")
            await c.missing(f"10-1-0-777.default.pod.{ZONE}")

    async def test_the_zone_tells_its_version_and_its_server(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            assert await c.data(f"dns-version.{ZONE}", "TXT") == {'"1.1.0"'}
            (server,) = await c.data(ZONE, "NS")
            assert await c.data(server.rstrip(".")) == {c.address}
            assert len(await c.data(ZONE, "SOA")) == 1

    async def test_the_service_kube_dns_has_the_tenth_address_and_leads_to_the_server(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            assert c.dns.address == c.address
            service = await c.client.get(SERVICES, NAME, NAMESPACE)
            assert service["spec"]["clusterIP"] == c.address
            assert {(p["port"], p["protocol"]) for p in service["spec"]["ports"]} >= {(53, "UDP"), (53, "TCP")}
            assert await c.data(f"kube-dns.kube-system.svc.{ZONE}") == {c.address}
            slices = await c.client.list(
                ENDPOINTSLICES, NAMESPACE, label_selector=f"kubernetes.io/service-name={NAME}"
            )
            behind = {
                (p["protocol"], e["addresses"][0], p["port"])
                for s in slices.items
                for e in s["endpoints"]
                for p in s["ports"]
            }
            assert behind == set(c.dns.served())

    # --- packets ---

    async def test_what_is_too_long_for_a_datagram_is_cut_and_told_over_tcp(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("db")
            everyone = {f"10.1.{i // 100}.{i % 100}" for i in range(300)}
            await c.slice("db", [{"addresses": [a]} for a in sorted(everyone)])
            packet = dns.message.make_query(f"db.default.svc.{ZONE}.", "A", use_edns=False).to_wire()
            cut = await c.exchange(packet)
            assert len(cut) <= 512
            assert cut[2] & 0x02  # TC
            assert await c.data(f"db.default.svc.{ZONE}", tcp=True) == everyone

    async def test_a_client_with_edns_gets_longer_datagrams(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("db")
            everyone = {f"10.1.0.{i}" for i in range(50)}
            await c.slice("db", [{"addresses": [a]} for a in sorted(everyone)])
            assert await c.data(f"db.default.svc.{ZONE}", edns=1232) == everyone
            answer = await c.ask(f"db.default.svc.{ZONE}", edns=1232)
            assert answer.edns == 0
            assert (await c.ask("web.default.svc.nowhere")).edns == -1

    async def test_rubbish_is_no_harm(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9")
            good = dns.message.make_query(f"web.default.svc.{ZONE}.", "A").to_wire()
            bad = [good[:i] for i in range(len(good))] + [b"\xff" * 600, good[:12] + b"\xc0\x0c" + good[-4:]]
            bad += [good[:5] + b"\xff" + good[6:], bytes(65000), good + b"\0" * 40]
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
                await sock.connect(c.at("UDP"))
                for packet in bad:
                    await sock.send(packet)
            for packet in (b"\0", b"\0\x05abc", b"\xff\xff" + b"x" * 300, b"\0\x0c" + b"\0" * 12):
                async with await trio.open_tcp_stream(*c.at("TCP")) as stream:
                    await stream.send_all(packet)
            assert await c.data(f"web.default.svc.{ZONE}") == {"127.40.9.9"}
            assert await c.data(f"web.default.svc.{ZONE}", tcp=True) == {"127.40.9.9"}

    async def test_questions_of_other_kinds_are_refused_by_name(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:

            async def rcode(change: Callable[[Any], None], type: str = "A") -> str:
                query = dns.message.make_query(f"web.default.svc.{ZONE}.", type)
                change(query)
                return dns.rcode.to_text(dns.message.from_wire(await c.exchange(query.to_wire())).rcode())

            assert await rcode(lambda q: q.set_opcode(2)) == "NOTIMP"
            assert await rcode(lambda q: setattr(q.question[0], "rdclass", 3)) == "REFUSED"
            assert await rcode(lambda q: q.use_edns(1)) == "BADVERS"
            assert await rcode(lambda q: None, "AXFR") == "REFUSED"

    async def test_one_connection_carries_many_questions(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service("web", "127.40.9.9")
            packets = [dns.message.make_query(f"web.default.svc.{ZONE}.", "A", id=i).to_wire() for i in range(50)]
            async with await trio.open_tcp_stream(*c.at("TCP")) as stream:
                await stream.send_all(b"".join(len(p).to_bytes(2, "big") + p for p in packets))
                received = b""
                with trio.fail_after(10):
                    while received.count(b"\x7f\x28\x09\x09") < 50:  # the address, in each answer
                        received += await stream.receive_some(65536)

    # --- other names ---

    async def test_other_names_are_asked_elsewhere_once(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            for _ in range(3):
                assert await c.data("www.example.com") == {"192.0.2.7"}
            assert await c.data("WWW.example.com") == {"192.0.2.7"}
            assert c.upstream.asked == ["www.example.com. A"]

    async def test_what_others_say_does_not_exist_is_remembered_too(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            for _ in range(3):
                assert (await c.ask("nope.example.com")).rcode() == dns.rcode.NXDOMAIN
                answer = await c.ask("www.example.com", "AAAA")
                assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
            assert sorted(c.upstream.asked) == ["nope.example.com. A", "www.example.com. AAAA"]

    async def test_nobody_answering_is_a_failure_that_is_told(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            c.upstream.silent = True
            assert (await c.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL
            await c.service("web", "127.40.9.9")
            assert await c.data(f"web.default.svc.{ZONE}") == {"127.40.9.9"}

    async def test_a_long_answer_of_others_is_told_over_tcp(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            everyone = [f"192.0.2.{i}" for i in range(200)]
            c.upstream.records["many.example.com.", "A"] = everyone
            c.upstream.long.add("many.example.com.")
            assert (await c.exchange(dns.message.make_query("many.example.com.", "A").to_wire()))[2] & 0x02
            assert await c.data("many.example.com", tcp=True) == set(everyone)

    async def test_an_alias_of_others_is_followed_by_them(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            c.upstream.records["alias.example.com.", "CNAME"] = ["www.example.com."]
            await c.service("there", type="ExternalName", externalName="alias.example.com")
            answer = await c.ask(f"there.default.svc.{ZONE}")
            names = [rrset.name.to_text() for rrset in answer.answer]
            assert names == [f"there.default.svc.{ZONE}.", "alias.example.com.", "www.example.com."]

    async def test_many_ask_the_same_at_once(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c, trio.open_nursery() as nursery:
            await c.service("web", "127.40.9.9")
            for _ in range(50):
                nursery.start_soon(c.data, f"web.default.svc.{ZONE}")
                nursery.start_soon(c.data, "www.example.com")
