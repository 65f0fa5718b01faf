"""The iptables proxy between machines: what a client outside, the node and its pods get for their packets."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from kcore_proxy_iptables import IptablesConfig, names, open_iptables
from kcore_proxy_iptables.backend import IptablesBackend

from kcore.metrics import Metrics
from kcore.proxy import Endpoint, Route
from kcore.testing import TestContext
from tests.hosts import entered
from tests.needs import needs

CLIENT, NODE = "192.0.2.2", "192.0.2.1"
_numbers = itertools.count(1)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@attrs.define
class Site:
    """A client, a node that forwards, and pods behind it, each in a namespace."""

    prefix: str
    servers: list[socket.socket] = attrs.Factory(list)

    def named(self, what: str) -> str:
        return f"{self.prefix}-{what}"

    def socket(self, where: str, kind: int, family: int = socket.AF_INET) -> socket.socket:
        """A socket of that namespace: it stays there, whoever uses it."""
        with entered(self.named(where)):
            sock = socket.socket(family, kind)
        sock.settimeout(2)
        return sock

    def pod(self, number: int) -> str:
        return f"10.77.0.{number + 1}"

    def tcp(self, where: str, to: tuple[str, int]) -> str:
        """What a server says who it is, and whom it sees: ``pod1 10.77.0.2``; raises OSError."""
        family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
        with self.socket(where, socket.SOCK_STREAM, family) as sock:
            sock.connect(to)
            return sock.recv(200).decode()

    def who(self, where: str, to: tuple[str, int]) -> str:
        return self.tcp(where, to).split()[0]


@pytest.fixture
def site() -> Iterator[Site]:
    needs("ip", "iptables", "ip6tables", "conntrack", root=True)
    site = Site(f"kp{os.getpid() % 10000}x{next(_numbers)}")
    spaces = [site.named(what) for what in ("node", "client", "pod1", "pod2", "pod3")]
    try:
        for name in spaces:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        node = spaces[0]
        ip("-n", node, "link", "add", "br0", "type", "bridge")
        ip("-n", node, "addr", "add", "10.77.0.1/24", "dev", "br0")
        ip("-n", node, "addr", "add", "fd77::1/64", "dev", "br0", "nodad")
        ip("-n", node, "link", "set", "br0", "up")
        for number, name in enumerate(spaces[1:]):
            near = f"v{number}"
            ip("-n", node, "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", node, "link", "set", near, "up")
            if name == site.named("client"):
                ip("-n", node, "addr", "add", f"{NODE}/24", "dev", near)
                ip("-n", node, "addr", "add", "fd99::1/64", "dev", near, "nodad")
                mine, gateways = (f"{CLIENT}/24", "fd99::2/64"), (NODE, "fd99::1")
            else:
                ip("-n", node, "link", "set", near, "master", "br0")
                ip("-n", node, "link", "set", near, "type", "bridge_slave", "hairpin", "on")
                mine = (f"{site.pod(number)}/24", f"fd77::{number + 1}/64")
                gateways = ("10.77.0.1", "fd77::1")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "addr", "add", mine[0], "dev", "eth0")
            ip("-n", name, "addr", "add", mine[1], "dev", "eth0", "nodad")
            ip("-n", name, "route", "add", "default", "via", gateways[0])
            ip("-n", name, "-6", "route", "add", "default", "via", gateways[1])
        ip("-n", node, "route", "add", "default", "via", CLIENT)
        ip("-n", node, "-6", "route", "add", "default", "via", "fd99::2")
        with entered(node):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        yield site
    finally:
        for name in spaces:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@asynccontextmanager
async def serving(site: Site, *pods: int) -> AsyncIterator[None]:
    """In each of the pods a server at port 8080, TCP and UDP, of both families."""

    async def tell(stream: trio.SocketStream, name: str) -> None:
        async with stream:
            peer = stream.socket.getpeername()[0]
            await stream.send_all(f"{name} {peer}".encode())

    async def answer(sock: trio.socket.SocketType, name: str) -> None:
        with sock:
            while True:
                _, peer = await sock.recvfrom(200)
                await sock.sendto(name.encode(), peer)

    async with trio.open_nursery() as nursery:
        for number in pods:
            name = f"pod{number}"
            for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                sock = site.socket(name, socket.SOCK_STREAM, family)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((anywhere, 8080))
                sock.listen(100)
                sock.setblocking(False)
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
                nursery.start_soon(trio.serve_listeners, lambda s, n=name: tell(s, n), [listener])
            udp = site.socket(name, socket.SOCK_DGRAM)
            udp.bind(("0.0.0.0", 8080))
            udp.setblocking(False)
            nursery.start_soon(answer, trio.socket.from_stdlib_socket(udp), name)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def node(site: Site, **config: Any) -> AsyncIterator[IptablesBackend]:
    with entered(site.named("node")):
        settings = IptablesConfig(cluster_cidr="10.77.0.0/24,fd77::/64", **config)
        yield await IptablesBackend.open(settings, logging.getLogger("kcore.test"), Metrics("test"))


VIP = "10.96.0.10"


def route(site: Site, *pods: int, **extra: Any) -> Route:
    endpoints = tuple(Endpoint(site.pod(p), 8080, "n") for p in pods)
    known: dict[str, Any] = {"cluster_endpoints": endpoints, "local_endpoints": endpoints}
    known |= {"served_anywhere": bool(pods), "addresses": (VIP,)}
    return Route(**{"service": "default/web", "port_name": "http", "protocol": "TCP", "port": 80} | known | extra)


async def call(site: Site, where: str, to: tuple[str, int]) -> str:
    return await trio.to_thread.run_sync(site.tcp, where, to)


async def names_of(site: Site, where: str, to: tuple[str, int], count: int = 30) -> Counter[str]:
    """Who answered how often."""
    return Counter([(await trio.to_thread.run_sync(site.who, where, to)) for _ in range(count)])


def at_node(site: Site, *command: str) -> str:
    """What a program of the node printed."""
    words = ["ip", "netns", "exec", site.named("node"), *command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def saved(site: Site, family: str = "iptables") -> str:
    return at_node(site, f"{family}-save")


async def test_a_cluster_ip_spreads_over_endpoints_and_pods_keep_their_address(site: Site) -> None:
    async with node(site) as backend, serving(site, 1, 2, 3):
        r = route(site, 1, 2, 3)
        await backend.apply({r.key: r})
        assert set(await names_of(site, "client", (VIP, 80), 60)) == {"pod1", "pod2", "pod3"}
        one = attrs.evolve(r, cluster_endpoints=r.cluster_endpoints[:1], local_endpoints=r.local_endpoints[:1])
        await backend.apply({r.key: one})
        assert await call(site, "pod2", (VIP, 80)) == f"pod1 {site.pod(2)}"
        assert (await call(site, "client", (VIP, 80))) == "pod1 10.77.0.1"  # from elsewhere: masqueraded


async def test_a_pod_reaches_itself_by_its_service(site: Site) -> None:
    async with node(site) as backend, serving(site, 1):
        r = route(site, 1)
        await backend.apply({r.key: r})
        assert await call(site, "pod1", (VIP, 80)) == "pod1 10.77.0.1"


async def test_a_service_without_endpoints_refuses_at_once(site: Site) -> None:
    async with node(site) as backend:
        r = route(site, node_port=30080, external_addresses=("198.51.100.7",))
        await backend.apply({r.key: r})
        for where, to in (("pod1", (VIP, 80)), ("client", (NODE, 30080)), ("client", ("198.51.100.7", 80))):
            with pytest.raises(ConnectionRefusedError):
                await call(site, where, to)


async def test_node_ports_external_addresses_and_load_balancers_lead_to_endpoints(site: Site) -> None:
    async with node(site) as backend, serving(site, 1, 2):
        extra = {"external_addresses": ("198.51.100.7",), "balancer_addresses": ("203.0.113.9",)}
        r = route(site, 1, 2, node_port=30080, **extra)
        await backend.apply({r.key: r})
        for to in ((NODE, 30080), ("198.51.100.7", 80), ("203.0.113.9", 80)):
            assert set(await names_of(site, "client", to)) == {"pod1", "pod2"}
            assert (await call(site, "client", to)).endswith(" 10.77.0.1")
        assert await call(site, "node", ("127.0.0.1", 30080))
        with pytest.raises(ConnectionRefusedError):
            await call(site, "client", (NODE, 80))


async def test_external_policy_local_keeps_the_client_address_and_drops_where_no_pod_is(site: Site) -> None:
    async with node(site) as backend, serving(site, 1, 2):
        r = route(site, 1, 2, node_port=30080, external_local=True)
        here = attrs.evolve(r, local_endpoints=r.cluster_endpoints[1:])
        await backend.apply({r.key: here})
        assert await call(site, "client", (NODE, 30080)) == f"pod2 {CLIENT}"
        assert set(await names_of(site, "node", (NODE, 30080))) == {"pod1", "pod2"}  # the node itself: anywhere
        assert set(await names_of(site, "pod1", (VIP, 80))) == {"pod1", "pod2"}
        await backend.apply({r.key: attrs.evolve(r, local_endpoints=())})
        with pytest.raises(TimeoutError):
            await call(site, "client", (NODE, 30080))


async def test_internal_policy_local_keeps_to_this_node(site: Site) -> None:
    async with node(site) as backend, serving(site, 1, 2):
        r = route(site, 1, 2, internal_local=True)
        await backend.apply({r.key: attrs.evolve(r, local_endpoints=r.cluster_endpoints[:1])})
        assert set(await names_of(site, "pod2", (VIP, 80))) == {"pod1"}
        await backend.apply({r.key: attrs.evolve(r, local_endpoints=())})
        with pytest.raises(TimeoutError):
            await call(site, "pod2", (VIP, 80))


async def test_source_ranges_let_in_whom_they_name_only(site: Site) -> None:
    async with node(site) as backend, serving(site, 1):
        r = route(site, 1, balancer_addresses=("203.0.113.9",), source_ranges=("192.0.2.0/25",))
        await backend.apply({r.key: r})
        assert await names_of(site, "client", ("203.0.113.9", 80), 3) == {"pod1": 3}
        await backend.apply({r.key: attrs.evolve(r, source_ranges=("192.0.2.128/25",))})
        with pytest.raises(TimeoutError):
            await call(site, "client", ("203.0.113.9", 80))
        assert await call(site, "pod1", (VIP, 80))  # the cluster IP is not meant


async def test_affinity_sticks_and_ends_when_the_client_was_silent(site: Site) -> None:
    async with node(site) as backend, serving(site, 1, 2, 3):
        r = route(site, 1, 2, 3, affinity_seconds=1)
        await backend.apply({r.key: r})
        first = await names_of(site, "pod1", (VIP, 80), 15)
        assert len(first) == 1
        long = attrs.evolve(r, affinity_seconds=10800)
        await backend.apply({r.key: long})
        (kept,) = await names_of(site, "pod1", (VIP, 80), 15)
        left = [e for e in r.cluster_endpoints if e.address != site.pod(int(kept[-1]))]
        await backend.apply({r.key: attrs.evolve(long, cluster_endpoints=tuple(left))})
        assert kept not in await names_of(site, "pod1", (VIP, 80), 5)
        await backend.apply({r.key: r})
        seen = set()
        with trio.fail_after(60):
            while len(seen) < 2:  # after more than a second of silence any may be chosen
                await trio.sleep(1.1)
                seen.add(await trio.to_thread.run_sync(site.who, "pod1", (VIP, 80)))


async def test_ipv6_has_rules_of_its_own(site: Site) -> None:
    async with node(site) as backend, serving(site, 1):
        both = (Endpoint(site.pod(1), 8080), Endpoint("fd77::2", 8080))
        r = route(site, 1, addresses=(VIP, "fd96::10"), cluster_endpoints=both, local_endpoints=both, node_port=30080)
        await backend.apply({r.key: r})
        assert await call(site, "client", ("fd96::10", 80)) == "pod1 fd77::1"
        assert await call(site, "client", ("fd99::1", 30080)) == "pod1 fd77::1"
        assert await call(site, "pod1", ("fd96::10", 80)) == "pod1 fd77::1"
        assert await call(site, "client", (VIP, 80))
        await backend.remove()
        assert "KUBE" not in saved(site, "ip6tables")


async def test_a_udp_client_that_keeps_its_port_follows_the_endpoints(site: Site) -> None:
    async with node(site) as backend, serving(site, 1, 2):
        r = route(site, protocol="UDP", port=53)
        await backend.apply({r.key: r})
        sock = site.socket("client", socket.SOCK_DGRAM)
        sock.settimeout(1)

        def ask(tries: int = 5) -> str:
            for _ in range(tries):
                try:
                    sock.send(b"?")
                    return sock.recv(100).decode()
                except OSError:
                    continue
            return ""

        with sock:
            sock.connect((VIP, 53))
            assert await trio.to_thread.run_sync(ask, 1) == ""
            for pod in (1, 2):
                now = route(site, pod, protocol="UDP", port=53)
                await backend.apply({r.key: now})
                assert await trio.to_thread.run_sync(ask) == f"pod{pod}"


async def test_only_what_changed_is_written_and_the_rest_keeps_its_counters(site: Site) -> None:
    async with node(site) as backend, serving(site, 1, 2):
        one = route(site, 1, 2)
        other = route(site, 1, service="default/other", addresses=("10.96.0.11",))
        await backend.apply({r.key: r for r in (one, other)})
        await call(site, "pod2", ("10.96.0.11", 80))
        fewer = attrs.evolve(one, cluster_endpoints=one.cluster_endpoints[:1], local_endpoints=())
        await backend.apply({one.key: fewer})
        counted = at_node(site, "iptables", "-t", "nat", "-vnxL", names.of_route("KUBE-SVC-", other))
        assert counted.splitlines()[-1].split()[0] == "1"
        assert names.of_endpoint(one, one.cluster_endpoints[1]) not in saved(site)
        await backend.apply({one.key: None, other.key: None})
        assert "KUBE-SVC-" not in saved(site)
        assert "KUBE-SEP-" not in saved(site)


async def test_applying_again_and_starting_again_change_nothing(site: Site) -> None:
    r = route(site, 1, 2, 3, node_port=30080, affinity_seconds=10, balancer_addresses=("203.0.113.9",))

    def rules() -> list[str]:
        return [line for line in saved(site).splitlines() if not line.startswith(("#", ":"))]

    async with node(site) as backend:
        await backend.apply({r.key: r})
        first = rules()
        await backend.apply({r.key: r})
        assert rules() == first
    async with node(site) as backend:
        await backend.apply({r.key: r})
        assert rules() == first


async def test_what_a_crash_left_behind_is_deleted_at_the_start(site: Site) -> None:
    async with node(site) as backend:
        old = route(site, 1, service="default/gone", addresses=("10.96.0.99",))
        await backend.apply({old.key: old})
    async with node(site) as backend:
        r = route(site, 1)
        await backend.apply({r.key: r})
    assert "default/gone" not in saved(site)
    assert "default/web" in saved(site)
    async with node(site) as backend:
        await backend.apply({})
    assert "default/web" not in saved(site)


@pytest.mark.parametrize("flush", [["-F"], ["-t", "nat", "-F"], ["-t", "nat", "-F", "KUBE-PROXY-CANARY"]])
async def test_rules_that_somebody_flushed_are_written_again(site: Site, flush: list[str]) -> None:
    async with node(site) as backend, serving(site, 1):
        r = route(site, 1)
        await backend.apply({r.key: r})
        before = saved(site)
        assert not await backend.heal()
        at_node(site, "iptables", *flush)
        assert await backend.heal()
        assert sorted(x for x in saved(site).splitlines() if x[0] == "-") == sorted(
            x for x in before.splitlines() if x[0] == "-"
        )
        assert await call(site, "pod1", (VIP, 80))


async def test_a_change_after_somebody_deleted_a_chain_writes_everything(site: Site) -> None:
    async with node(site) as backend, serving(site, 1, 2):
        r = route(site, 1)
        await backend.apply({r.key: r})
        for flag in ("-F", "-X"):
            at_node(site, "iptables", "-t", "nat", flag)
        await backend.apply({r.key: route(site, 2)})
        await backend.heal()
        assert await names_of(site, "pod1", (VIP, 80), 3) == {"pod2": 3}


async def test_cleanup_removes_ours_and_nobody_elses(site: Site) -> None:
    theirs = ["-A INPUT -p tcp -m tcp --dport 9 -j DROP", "-A KUBE-FIREWALL -j RETURN", "-A OURS -j ACCEPT"]
    for command in ("-N KUBE-FIREWALL", "-N OURS", *theirs):
        at_node(site, "iptables", *command.split())
    async with node(site) as backend:
        r = route(site, 1, node_port=30080)
        await backend.apply({r.key: r})
    assert "removed" in at_node(site, sys.executable, "-m", "kcore", "proxy", "cleanup")
    left = [line for line in saved(site).splitlines() if line.startswith("-A")]
    assert left == theirs


async def test_the_part_follows_the_cluster(site: Site, tmp_path: Path) -> None:
    from kcore.objects.resources import ENDPOINTSLICES, SERVICES
    from kcore.testing.client import cluster_client

    spec = {"clusterIP": VIP, "clusterIPs": [VIP], "ports": [{"port": 80, "protocol": "TCP"}]}
    piece = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [site.pod(1)], "conditions": {"ready": True}}],
    }
    async with cluster_client() as client, serving(site, 1):
        await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "default")
        await client.create(ENDPOINTSLICES, piece, "default")
        with entered(site.named("node")):
            async with open_iptables(TestContext(tmp_path, api=client), IptablesConfig()) as proxy:
                await proxy.settled()
                assert (await call(site, "client", (VIP, 80))).startswith("pod1 ")
        assert (await call(site, "client", (VIP, 80))).startswith("pod1 ")  # the rules outlive the part


def test_names_are_those_of_kube_proxy() -> None:
    def chain(service: str, port: str, protocol: str) -> str:
        return names.of_route("KUBE-SVC-", Route(service, port, protocol, (VIP,), 1))

    assert chain("default/kubernetes", "https", "TCP") == "KUBE-SVC-NPX46M4PTMTKRN6Y"
    assert chain("kube-system/kube-dns", "dns", "UDP") == "KUBE-SVC-TCOU7JCQXEZGVUNU"
    assert chain("kube-system/kube-dns", "dns-tcp", "TCP") == "KUBE-SVC-ERIFXISQEP7F7OF4"
