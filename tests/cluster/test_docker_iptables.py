"""Real pods whose services the kernel routes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from kcore.testing.running import RunningCluster, running
from tests.dockerd import Daemon

from .docker import PAGE, machine, ready, run, settings


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-iptables") as found:
        yield found


@pytest.fixture(scope="module")
def cluster(daemon: Daemon) -> Iterator[RunningCluster]:
    own = {"proxy.use": "iptables", "proxy.cluster_cidr": "10.244.0.0/16", "proxy.remove_on_close": True}
    with running("docker", set=settings(daemon) | own) as found:
        yield found
    assert "KUBE-" not in rules()


def rules() -> str:
    return subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout


def test_pods_find_services_and_the_api_by_name_and_node_ports_answer(cluster: RunningCluster) -> None:
    run(cluster, "web", "sh", "-c", PAGE, flags=("--port=80",))
    cluster.kubectl("expose", "pod", "web", "--port=80", "--type=NodePort")
    run(cluster, "shell", "sleep", "3600")
    for name in ("web", "shell"):
        ready(cluster, name)
    assert cluster.kubectl("exec", "shell", "--", "wget", "-qO-", "http://web/") == "hello from web\n"
    assert cluster.kubectl("exec", "web", "--", "wget", "-qO-", "http://web/") == "hello from web\n"  # itself
    tried = cluster.run_kubectl(
        "exec", "shell", "--", "nc", "-w", "3", "kubernetes.default", "443", input="", check=False
    )
    assert tried.returncode == 0
    port = cluster.get("service", "web")["spec"]["ports"][0]["nodePort"]
    for host in ("127.0.0.1", "10.244.0.1"):
        said = subprocess.run(["busybox", "wget", "-qO-", f"http://{host}:{port}/"], capture_output=True, check=True)
        assert said.stdout == b"hello from web\n"
    assert "default/web" in rules()
