"""The cluster's names, asked of whole clusters: swapped, restarted, unprivileged, carried by a proxy, measured."""

from __future__ import annotations

import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.query
import pytest

from kcore.testing.running import RunningCluster, free_port, running
from kcore.testing.waiting import poll

DNS = {"dns.use": "server"}
API = "kubernetes.default.svc.cluster.local."


def dns_address(cluster: RunningCluster) -> str:
    ip: str = cluster.get("service", "-n", "kube-system", "kube-dns")["spec"]["clusterIP"]
    return ip


def first_address(cluster: RunningCluster) -> str:
    return f"127.{cluster.slice}.0.1"


def look(at: str, name: str = API, type: str = "A", *, port: int = 53, tries: int = 3, tcp: bool = False) -> list[str]:
    """As a resolver does: asks again when nothing comes."""
    query = dns.message.make_query(name, type)
    for left in reversed(range(tries)):
        try:
            answer = (dns.query.tcp if tcp else dns.query.udp)(query, at, port=port, timeout=2)
            return sorted(item.to_text() for rrset in answer.answer for item in rrset)
        except (dns.exception.Timeout, ConnectionError):
            if not left:
                raise
    return []


@contextmanager
def asking(at: str) -> Iterator[list[object]]:
    """Questions without a pause while the block runs; what went wrong."""
    failures: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                found = look(at)
            except Exception as error:
                failures.append(error)
            else:
                if not found:
                    failures.append("no answer")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        thread.join()


def test_the_server_is_swapped_while_clients_ask() -> None:
    with running("memory", set=DNS) as cluster:
        at = dns_address(cluster)
        with asking(at) as failures:
            for ttl in (7, 8, 9):
                cluster.kcore("swap", "dns", "server", "--set", f"ttl={ttl}")
        assert failures == []
        answer = dns.query.udp(dns.message.make_query(API, "A"), at, timeout=2)
        assert answer.answer[0].ttl == 9
        assert {p["slot"]: p["restarts"] for p in cluster.status()["parts"]}["dns"] == 0
        assert cluster.said == ""


def test_the_server_is_there_after_a_crash_and_at_the_same_address(tmp_path: Path) -> None:
    with running("dev", directory=tmp_path) as cluster:
        assert look(dns_address(cluster)) == [first_address(cluster)]
        cluster.stop(signal.SIGKILL)
    with running("dev", directory=tmp_path) as cluster:
        at = dns_address(cluster)
        assert look(at)
        slices = cluster.get("endpointslices", "-n", "kube-system")["items"]
        assert [(s["metadata"]["name"], s["endpoints"][0]["addresses"]) for s in slices] == [("kube-dns-kcore", [at])]


def test_names_of_pods_of_a_stateful_set() -> None:
    with running("memory", set=DNS) as cluster:
        cluster.kubectl("create", "-f", "-", input=STATEFUL)
        cluster.kubectl("rollout", "status", "statefulset/db", "--timeout=20s")
        at = dns_address(cluster)
        pods = {p["metadata"]["name"]: p["status"]["podIP"] for p in cluster.get("pods", "-l", "app=db")["items"]}
        for name, ip in pods.items():
            assert poll(lambda name=name: look(at, f"{name}.db.default.svc.cluster.local.")) == [ip]  # type: ignore[misc]
        assert look(at, "db.default.svc.cluster.local.", tcp=True) == sorted(pods.values())
        found = look(at, "_http._tcp.db.default.svc.cluster.local.", "SRV")
        assert found == [f"0 50 8080 {name}.db.default.svc.cluster.local." for name in sorted(pods)]


def test_a_proxy_carries_the_service_to_a_server_elsewhere() -> None:
    with running("memory", set={**DNS, "dns.address": "127.0.0.1", "dns.port": free_port()}) as cluster:
        at = dns_address(cluster)
        assert at == f"127.{cluster.slice}.0.10"
        assert poll(lambda: look(at)) == [first_address(cluster)]
        assert look(at, tcp=True) == [first_address(cluster)]


def test_a_dns_server_that_somebody_deployed_is_left_alone() -> None:
    with running("memory", set=DNS) as cluster:
        change = '{"spec": {"selector": {"k8s-app": "kube-dns"}}}'
        cluster.kubectl("patch", "service", "-n", "kube-system", "kube-dns", "-p", change)
        cluster.kubectl("delete", "endpointslice", "-n", "kube-system", "kube-dns-kcore")
        cluster.kcore("swap", "dns", "server", "--set", "ttl=7")
        poll(lambda: "selects pods of its own" in cluster.said)
        names = [s["metadata"]["name"] for s in cluster.get("endpointslices", "-n", "kube-system")["items"]]
        assert "kube-dns-kcore" not in names


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_unprivileged_user_is_told_where_it_answers() -> None:
    with running("dev", as_user=65534) as cluster:
        at = dns_address(cluster)
        assert look(at, port=8053) == [first_address(cluster)]
        notes = [n for p in cluster.status()["parts"] if p["slot"] == "dns" for n in p["notes"]]
        assert notes == [f"cluster DNS answers at {at}:8053: this user may not listen on 53, or it is taken"]


def test_what_the_server_does_is_measured_under_the_names_of_core_dns() -> None:
    with running("memory", set={**DNS, "dns.forward": []}) as cluster:
        at = dns_address(cluster)
        look(at)
        look(at, "nope.default.svc.cluster.local.", tcp=True)
        look(at, "www.example.com.")
        with urllib.request.urlopen(f"http://127.{cluster.slice}.127.254:9153/metrics", timeout=5) as answer:
            text = answer.read().decode()
        request = 'coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone='
        assert f'{request}"cluster.local."}} 1.0' in text
        assert 'rcode="NXDOMAIN",server="dns://:53",view="",zone="cluster.local."} 1.0' in text
        assert 'rcode="REFUSED",server="dns://:53",view="",zone="."} 1.0' in text
        for name in ("request_duration_seconds_bucket", "request_size_bytes_sum", "response_size_bytes_count"):
            assert f"coredns_dns_{name}{{" in text
        assert "coredns_cache_entries{" in text
        assert "coredns_build_info{" in text


STATEFUL = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 8080}]}]}
"""
