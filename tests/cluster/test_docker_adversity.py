"""Real pods while things go wrong beneath them: the engine, the process, the disk, names and images."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kcore.testing.running import RunningCluster, process, running
from kcore.testing.waiting import poll
from tests.dockerd import IMAGE, Daemon

from .docker import machine, ready, run, settings, status

TEN = [f"ten-{n}" for n in range(10)]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-adverse") as found:
        yield found


def pods(cluster: RunningCluster) -> dict[str, Any]:
    return {pod["metadata"]["name"]: pod for pod in cluster.get("pods")["items"]}


def pod(name: str, image: str = IMAGE, **spec: Any) -> str:
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def all_ready(cluster: RunningCluster, names: list[str]) -> bool:
    found = pods(cluster)
    return all(any(s["ready"] for s in found[name]["status"].get("containerStatuses", ())) for name in names)


def alive(daemon: Daemon) -> Counter[str]:
    """How many containers run, by their name without the attempt."""
    names = daemon.docker("ps", "--format", "{{.Names}}").split()
    return Counter(name.rpartition("_")[0] for name in names)


def test_pods_are_back_after_the_engine_was_killed(daemon: Daemon) -> None:
    with running("docker", set=settings(daemon)) as cluster:
        for name in ("one", "two"):
            run(cluster, name, "sleep", "3600")
        for name in ("one", "two"):
            ready(cluster, name)
        before = {name: status(cluster, name)["containerID"] for name in ("one", "two")}
        daemon.kill()
        time.sleep(1)
        daemon.start()
        poll(
            lambda: all(
                s["ready"] and s["containerID"] != before[name]
                for name in before
                for s in pods(cluster)[name]["status"]["containerStatuses"]
            ),
            seconds=60,
        )
        assert set(alive(daemon).values()) == {1}
        for name in before:
            assert cluster.kubectl("exec", name, "--", "hostname") == f"{name}\n"
        run(cluster, "three", "sleep", "3600")
        ready(cluster, "three")


@pytest.mark.parametrize("delay", [0.3, 1.0])
def test_a_cluster_killed_while_it_makes_ten_pods_makes_each_once(
    daemon: Daemon, tmp_path: Path, delay: float
) -> None:
    with process("docker", tmp_path, 250, set=settings(daemon)) as first:
        first.kubectl("apply", "-f", "-", input="\n---\n".join(pod(name) for name in TEN))
        time.sleep(delay)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with process("docker", tmp_path, 250, set=settings(daemon)) as second:
        assert poll(lambda: all_ready(second, TEN), seconds=60), second.kubectl("describe", "pods")
        # a pod may be called ready from before the kill, while what was half made of it is made anew
        poll(lambda: len(alive(daemon)) == 20, seconds=60)
        counts = alive(daemon)
        assert (len(counts), set(counts.values())) == (20, {1}), counts
        addresses = [found["status"]["podIP"] for found in pods(second).values()]
        assert len(set(addresses)) == 10
        links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.split()
        assert len([link for link in links if link.startswith("kc") and "@" in link]) == 10
        second.kubectl("delete", "pod", *TEN, "--wait")
        assert poll(lambda: not daemon.containers(), seconds=60), daemon.docker("ps", "-a")


def test_a_name_that_is_taken_is_freed(daemon: Daemon) -> None:
    with running("docker", set=settings(daemon)) as cluster:
        cluster.kubectl("apply", "-f", "-", input=pod("held", schedulingGates=[{"name": "example.com/wait"}]))
        uid = cluster.get("pod", "held")["metadata"]["uid"]
        for name in (f"k8s_POD_held_default_{uid}_0", f"k8s_main_held_default_{uid}_0"):
            daemon.docker("create", "--name", name, IMAGE)
        cluster.kubectl(
            "patch", "pod", "held", "--type=json", "-p", '[{"op":"remove","path":"/spec/schedulingGates"}]'
        )
        ready(cluster, "held")


def test_an_image_that_cannot_be_had_is_told_and_tried_again(daemon: Daemon) -> None:
    with running("docker", set=settings(daemon)) as cluster:
        cluster.kubectl("apply", "-f", "-", input=pod("missing", "127.0.0.1:1/no/such:1"))
        cluster.kubectl("apply", "-f", "-", input=pod("wrong", "Not//An:Image:At all"))
        waiting = poll(lambda: status(cluster, "missing")["state"]["waiting"]["reason"] == "ImagePullBackOff")
        assert waiting
        assert poll(lambda: status(cluster, "wrong")["state"]["waiting"]["reason"] == "InvalidImageName")
        daemon.docker("tag", IMAGE, "127.0.0.1:1/no/such:1")
        ready(cluster, "missing")


def test_a_full_disk_is_told_and_gone_on_from(daemon: Daemon) -> None:
    """The engine's directory is on a small file system of its own here."""
    daemon.kill()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(daemon.directory / "data")], check=True)
    daemon.start()
    from tests.dockerd import busybox

    daemon.docker("import", "-", IMAGE, input=busybox())
    filler = daemon.directory / "data" / "filler"
    with running("docker", set=settings(daemon)) as cluster:
        run(cluster, "first", "sleep", "3600")
        ready(cluster, "first")
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], capture_output=True, check=False)
        cluster.kubectl("apply", "-f", "-", input=pod("second"))
        said = poll(lambda: s if "no space left" in (s := cluster.kubectl("describe", "pod", "second")) else "")
        assert "no space left" in said
        filler.unlink()
        cluster.kubectl("wait", "--for=condition=Ready", "pod/second", "--timeout=60s")
