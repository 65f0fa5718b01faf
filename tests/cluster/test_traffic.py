"""Service traffic while the pods behind it change: no request fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from kcore.testing.load import load
from kcore.testing.running import RunningCluster, running
from kcore.testing.waiting import poll


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    with running("memory") as cluster:
        yield cluster


@pytest.fixture
def web(cluster: RunningCluster) -> Iterator[tuple[str, int]]:
    """The address of a service of four pods, named ``web``."""
    cluster.kubectl("create", "deployment", "web", "--image=nginx:1", "--port=8080", "--replicas=4")
    cluster.kubectl("expose", "deployment", "web", "--port=8080")
    cluster.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    yield cluster.get("service", "web")["spec"]["clusterIP"], 8080
    cluster.kubectl("delete", "deployment/web", "service/web")


def pods(cluster: RunningCluster, labels: str) -> set[str]:
    return {p["metadata"]["name"] for p in cluster.get("pods", "-l", labels)["items"]}


def test_a_rolling_update_under_load_fails_no_request(cluster: RunningCluster, web: tuple[str, int]) -> None:
    before = pods(cluster, "app=web")
    with load(*web, seconds=2.0) as sent:
        for image in ("nginx:2", "nginx:3"):
            cluster.kubectl("set", "image", "deployment/web", f"nginx={image}")
            cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
        assert poll(lambda: len(pods(cluster, "app=web")) == 4, seconds=40)
    assert sent.failures == []
    assert before < set(sent.by_pod), "the old pods were asked as well as the new"


def test_scaling_down_and_up_under_load_fails_no_request(cluster: RunningCluster, web: tuple[str, int]) -> None:
    with load(*web) as sent:
        for replicas in (1, 5, 2):
            cluster.kubectl("scale", "deployment/web", f"--replicas={replicas}")
            assert poll(lambda n=replicas: len(pods(cluster, "app=web")) == n, seconds=40)  # type: ignore[misc]
    assert sent.failures == []


def test_draining_a_node_under_load_fails_no_request(cluster: RunningCluster, web: tuple[str, int]) -> None:
    with load(*web) as sent:
        cluster.kubectl("drain", "node-1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=40s")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    cluster.kubectl("uncordon", "node-1")
    assert sent.failures == []


def test_session_affinity_keeps_a_client_at_one_pod(cluster: RunningCluster, web: tuple[str, int]) -> None:
    cluster.kubectl("patch", "service", "web", "-p", json.dumps({"spec": {"sessionAffinity": "ClientIP"}}))

    def stuck() -> bool:
        with load(*web, seconds=0.2) as sent:
            pass
        return len(sent.by_pod) == 1 and not sent.failures

    assert poll(stuck)
    clients = []
    for i in range(4):
        with load(*web, seconds=0.1, source=f"127.{cluster.slice}.126.{i + 1}") as sent:
            pass
        clients.append(set(sent.by_pod))
    assert all(len(c) == 1 for c in clients)
    assert len(set.union(*clients)) == 4, "each client is at a pod of its own"


def test_a_node_port_answers_at_every_node_and_nowhere_twice(cluster: RunningCluster, web: tuple[str, int]) -> None:
    cluster.kubectl("patch", "service", "web", "-p", json.dumps({"spec": {"type": "NodePort"}}))
    port = cluster.get("service", "web")["spec"]["ports"][0]["nodePort"]
    nodes = cluster.get("nodes")["items"]
    addresses = [a["address"] for n in nodes for a in n["status"]["addresses"] if a["type"] == "InternalIP"]
    assert len(addresses) == 3
    for address in addresses:
        assert poll(lambda a=address: _connects(a, port))  # type: ignore[misc]
        with load(address, port, seconds=0.2) as sent:
            pass
        assert sent.failures == []
        assert len(sent.by_pod) == 4


def test_a_udp_service_answers_from_its_own_address(cluster: RunningCluster) -> None:
    port = {"name": "dns", "containerPort": 5353, "protocol": "UDP"}
    spec = {"containers": [{"name": "c", "image": "echo", "ports": [port]}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "echo", "labels": {"app": "echo"}}, "spec": spec}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod))
    cluster.kubectl("expose", "pod", "echo", "--port=5300", "--target-port=5353", "--protocol=UDP")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/echo", "--timeout=20s")
    ip = cluster.get("service", "echo")["spec"]["clusterIP"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)

        def echoed() -> bool:
            try:
                client.sendto(b"hello", (ip, 5300))
                return client.recvfrom(100) == (b"hello", (ip, 5300))
            except OSError:
                return False

        assert poll(echoed)
    cluster.kubectl("delete", "pod/echo", "service/echo", "--now")


def _connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True
