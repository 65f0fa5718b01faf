"""Real pods through the real kubectl: a cluster over a Docker daemon, on a machine of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcore.testing.running import RunningCluster, running
from kcore.testing.waiting import poll
from tests.dockerd import Daemon

from .docker import PAGE, machine, ready, run, settings, status


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-cluster") as found:
        yield found


@pytest.fixture(scope="module")
def cluster(daemon: Daemon) -> Iterator[RunningCluster]:
    with running("docker", set=settings(daemon)) as found:
        yield found


@pytest.fixture(scope="module")
def web(cluster: RunningCluster) -> str:
    run(cluster, "web", "sh", "-c", PAGE, flags=("--port=80", "--expose"))
    run(cluster, "shell", "sleep", "3600")
    for name in ("web", "shell"):
        ready(cluster, name)
    return "web"


def test_a_pod_has_an_address_of_its_node_and_is_a_container(
    cluster: RunningCluster, daemon: Daemon, web: str
) -> None:
    pod = cluster.get("pod", web)
    assert pod["status"]["podIP"].startswith("10.244.0.")
    assert pod["status"]["hostIP"] == "10.244.0.1"
    uid = pod["metadata"]["uid"]
    assert f"k8s_web_web_default_{uid}_0" in daemon.containers()
    node = cluster.get("node", "node-1")
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("docker://")


@pytest.mark.parametrize("name", ["web", "web.default", "web.default.svc.cluster.local"])
def test_pods_reach_services_by_name(cluster: RunningCluster, web: str, name: str) -> None:
    assert cluster.kubectl("exec", "shell", "--", "wget", "-qO-", f"http://{name}/") == "hello from web\n"


def test_the_machine_reaches_pods_and_services(cluster: RunningCluster, web: str) -> None:
    for address in (cluster.get("pod", web)["status"]["podIP"], cluster.get("service", web)["spec"]["clusterIP"]):
        said = subprocess.run(["busybox", "wget", "-qO-", f"http://{address}/"], capture_output=True, check=True)
        assert said.stdout == b"hello from web\n"


def test_commands_have_streams_and_exit_codes(cluster: RunningCluster, web: str) -> None:
    done = cluster.run_kubectl("exec", "-i", "shell", "--", "sh", "-c", "cat; exit 7", input="typed\n", check=False)
    assert done.stdout == "typed\n"
    assert done.returncode == 7
    done = cluster.run_kubectl("exec", "shell", "--", "/no/such/program", check=False)
    assert done.returncode != 0
    assert "no such file" in done.stderr


def test_files_are_copied_both_ways(cluster: RunningCluster, web: str, tmp_path: Path) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(300_000))
    cluster.kubectl("cp", str(sent), "shell:/tmp/file")
    cluster.kubectl("cp", "shell:/tmp/file", str(back))
    assert back.read_bytes() == sent.read_bytes()


def test_logs_are_the_containers_own(cluster: RunningCluster) -> None:
    run(cluster, "talker", "sh", "-c", "for i in 1 2 3; do echo line $i; done; sleep 3600")
    ready(cluster, "talker")
    assert cluster.kubectl("logs", "talker") == "line 1\nline 2\nline 3\n"
    assert cluster.kubectl("logs", "talker", "--tail=1") == "line 3\n"
    assert cluster.kubectl("logs", "talker", "--limit-bytes=8") == "line 1\nl"


def test_a_killed_container_is_back_within_seconds(cluster: RunningCluster, daemon: Daemon) -> None:
    run(cluster, "victim", "sleep", "3600")
    ready(cluster, "victim")
    uid = cluster.get("pod", "victim")["metadata"]["uid"]
    daemon.docker("kill", f"k8s_victim_victim_default_{uid}_0")
    found = poll(lambda: s if (s := status(cluster, "victim"))["restartCount"] == 1 and s["ready"] else None)
    assert found["lastState"]["terminated"]["exitCode"] == 137


def test_a_pod_that_takes_too_much_memory_is_killed_and_says_so(cluster: RunningCluster) -> None:
    limits = {"spec": {"containers": [{
        "name": "hog", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "tail /dev/zero"], "resources": {"limits": {"memory": "16Mi"}},
    }], "restartPolicy": "Never"}}  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hog"}, **limits}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod))
    ended = poll(lambda: status(cluster, "hog")["state"].get("terminated"))
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_metrics_are_those_of_the_kernel(cluster: RunningCluster, web: str) -> None:
    node = cluster.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/metrics/cadvisor")
    lines = [line for line in node.splitlines() if 'pod="web"' in line and 'container="web"' in line]
    used = [line for line in lines if line.startswith("container_memory_working_set_bytes")]
    assert float(used[0].split()[1]) > 0
