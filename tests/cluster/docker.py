"""A cluster with real pods, over a Docker daemon on a machine of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kcore.testing.running import RunningCluster
from tests.dockerd import Daemon, dockerd
from tests.hosts import inside
from tests.needs import needs

PAGE = "mkdir -p /www; echo hello from $HOSTNAME > /www/index.html; exec httpd -f -p 80 -h /www"
RUN = ["--image=busybox:latest", "--image-pull-policy=IfNotPresent"]


def settings(daemon: Daemon) -> dict[str, Any]:
    """On a machine of its own the cluster has the addresses that conf/docker.toml gives it."""
    return {
        "nodes.runtime.socket": daemon.socket,
        "nodes.runtime.cgroup_parent": groups(daemon),
        "cluster.service_cidr": "10.96.0.0/16",
        "cluster.node_cidr": "10.244.0.0/16",
        "cluster.pod_cidr": "10.244.0.0/16",
        "metrics.address": "127.0.0.1",
    }


def groups(daemon: Daemon) -> str:
    """The control group of the machine's pods: that file system is one for all machines here."""
    return f"/kcore-test-{daemon.process.pid}"


def assert_clean(daemon: Daemon) -> None:
    """Nothing of a cluster is left on the machine."""
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in links.splitlines()] == ["lo"]
    assert "KCORE" not in rules
    assert not list(Path("/sys/fs/cgroup").glob(f"*{groups(daemon)}"))
    assert daemon.containers() == []
    assert "/nodes/node-1/pods/" not in Path("/proc/self/mountinfo").read_text()


def run(cluster: RunningCluster, name: str, *command: str, flags: tuple[str, ...] = ()) -> None:
    cluster.kubectl("run", name, *RUN, *flags, "--", *command)


def ready(cluster: RunningCluster, name: str) -> None:
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=20s")


def status(cluster: RunningCluster, name: str) -> Any:
    return cluster.get("pod", name)["status"]["containerStatuses"][0]


@contextmanager
def machine(name: str) -> Iterator[Daemon]:
    """A machine with a daemon, for clusters one after the other; at its end nothing may be left of them."""
    needs("dockerd", "docker", "busybox", "iptables", "ip", root=True)
    # a path of its own: that of a test is too long for the sockets in it
    with tempfile.TemporaryDirectory(prefix="kcore-") as made, inside(name), dockerd(Path(made) / "d") as daemon:
        yield daemon
        assert_clean(daemon)
