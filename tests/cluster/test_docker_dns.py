"""Names as programs in real containers look them up, with the resolver of their own C library."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from kcore.testing.running import RunningCluster, running
from kcore.testing.waiting import poll
from tests.dockerd import Daemon

from .docker import PAGE, machine, ready, run, settings

OUTSIDE = "www.example.com."


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-dns") as found:
        yield found


@contextmanager
def upstream() -> Iterator[tuple[str, list[str]]]:
    """A server that knows one name: (ADDRESS#PORT, what it is asked)."""
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while len(packet := (got := sock.recvfrom(4096))[0]) > 1:
                query = dns.message.from_wire(packet)
                name = query.question[0].name.to_text()
                asked.append(name)
                answer = dns.message.make_response(query, recursion_available=True)
                if name != OUTSIDE:
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                elif query.question[0].rdtype == dns.rdatatype.A:
                    answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.7"))
                sock.sendto(answer.to_wire(), got[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1#{sock.getsockname()[1]}", asked
        finally:
            sock.sendto(b".", sock.getsockname())
            thread.join()


@pytest.fixture(scope="module")
def world(daemon: Daemon) -> Iterator[tuple[RunningCluster, list[str]]]:
    """A cluster, and what its DNS server asks of others."""
    with upstream() as (address, seen), running("docker", set={**settings(daemon), "dns.forward": [address]}) as found:
        run(found, "web", "sh", "-c", PAGE, flags=("--port=80", "--expose"))
        run(found, "shell", "sleep", "3600")
        for name in ("web", "shell"):
            ready(found, name)
        yield found, seen


@pytest.fixture
def cluster(world: tuple[RunningCluster, list[str]]) -> RunningCluster:
    return world[0]


def sh(cluster: RunningCluster, command: str, pod: str = "shell") -> str:
    done = cluster.run_kubectl("exec", pod, "--", "sh", "-c", command, check=False)
    return done.stdout + done.stderr


def test_a_pod_has_the_clusters_server_search_domains_and_ndots(cluster: RunningCluster) -> None:
    lines = sh(cluster, "cat /etc/resolv.conf").splitlines()
    assert "nameserver 10.96.0.10" in lines
    assert "options ndots:5" in lines
    assert any(ln.startswith("search default.svc.cluster.local svc.cluster.local cluster.local") for ln in lines)


def test_a_name_with_few_dots_is_first_sought_in_the_cluster_and_never_leaks(
    world: tuple[RunningCluster, list[str]],
) -> None:
    cluster, seen = world
    seen.clear()
    said = sh(cluster, "ping -c1 -W1 www.example.com")
    assert "192.0.2.7" in said
    assert set(seen) == {OUTSIDE}  # with each search domain behind it the name is the cluster's, and missing there
    seen.clear()
    assert "bad address" in sh(cluster, "ping -c1 -W1 no.such.name.example.com")
    assert all(name.endswith("example.com.") for name in seen)


@pytest.mark.parametrize("name", ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local."])
def test_a_service_is_found_however_much_of_its_name_is_given(cluster: RunningCluster, name: str) -> None:
    ip = cluster.get("service", "web")["spec"]["clusterIP"]
    assert f"({ip})" in sh(cluster, f"ping -c1 -W1 {name}")


def test_other_kinds_of_records_are_found_too(cluster: RunningCluster) -> None:
    ip = cluster.get("service", "kubernetes")["spec"]["clusterIP"]
    said = sh(cluster, "nslookup -type=srv _https._tcp.kubernetes.default.svc.cluster.local")
    assert "443 kubernetes.default.svc.cluster.local" in said
    assert "kubernetes.default.svc.cluster.local" in sh(cluster, f"nslookup {ip}")


def test_an_external_name_leads_out_of_the_cluster(cluster: RunningCluster) -> None:
    cluster.kubectl("create", "service", "externalname", "away", "--external-name", "www.example.com")
    assert poll(lambda: "192.0.2.7" in sh(cluster, "ping -c1 -W1 away"))


def test_a_pod_of_a_subdomain_knows_its_full_name(cluster: RunningCluster) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peers"}}
    service["spec"] = {"clusterIP": "None", "selector": {"run": "peer"}, "ports": [{"port": 80}]}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(service))
    overrides = json.dumps({"spec": {"hostname": "first", "subdomain": "peers"}})
    run(cluster, "peer", "sleep", "3600", flags=(f"--overrides={overrides}",))
    ready(cluster, "peer")
    assert sh(cluster, "hostname -f", "peer").strip() == "first.peers.default.svc.cluster.local"
