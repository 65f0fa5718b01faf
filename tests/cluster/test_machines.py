"""One cluster on two machines: a Docker daemon and a process with a node on each, and a cable between them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

from kcore.testing.running import RunningCluster, process
from kcore.testing.waiting import poll
from tests.dockerd import Daemon, dockerd
from tests.hosts import Lan, Machine, lan
from tests.needs import needs

from .docker import PAGE, RUN, ready, settings

LAN = "192.0.2.0/24"


@attrs.frozen
class Site:
    """The cluster, as it is seen on the first machine, and its machines."""

    cluster: RunningCluster
    machines: tuple[Machine, ...]
    daemons: tuple[Daemon, ...]


@pytest.fixture(scope="module", params=["routes", "vxlan"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    needs("dockerd", "docker", "busybox", "iptables", "ip", root=True)
    with (
        tempfile.TemporaryDirectory(prefix="kcore-") as made,
        lan("kcore-site", LAN, 2) as found,
        opened(Path(made), found, request.param) as site,
    ):
        yield site


class opened(ExitStack):
    """The cluster: all parts on the first machine, a node and its proxy on the second."""

    def __init__(self, root: Path, found: Lan, mode: str) -> None:
        super().__init__()
        self.root, self.lan, self.mode = root, found, mode

    def __enter__(self) -> Site:  # type: ignore[override]
        super().__enter__()
        one, two = self.lan.hosts
        daemons = [
            self.enter_context(dockerd(self.root / name, netns=host.netns)) for name, host in (("1", one), ("2", two))
        ]
        own = [
            settings(daemon) | {"cluster.node_cidr": LAN, "nodes.pod_routes": self.mode, "nodes.heartbeat": 2}
            for daemon in daemons
        ]
        (self.root / "one").mkdir()
        (self.root / "two").mkdir()
        self.enter_context(one.entered())
        first = own[0] | {"api.address": one.address, "controller_manager.settings.nodelifecycle.grace_period": 8.0}
        cluster = self.enter_context(process("docker", self.root / "one", 251, set=first))
        proxy = self._kubeconfig(cluster, "proxy", "system:kube-proxy")
        second: dict[str, Any] = own[1] | {
            "nodes.first": 2,
            "nodes.runtime.use": "docker",
            "nodes.cluster_dns": ["10.96.0.10"],
            "connect.kubeconfig": self._kubeconfig(cluster, "node", "system:node:node-2", "--group", "system:nodes"),
            "connect.parts.proxy": proxy,
            "nodes.pod_routes_kubeconfig": proxy,
            "connect.keys": str(self.root / "one"),
        }
        del second["metrics.address"]
        with two.entered():
            far = process("processes/node", self.root / "two", 252, set=second)
            self.enter_context(far)
        return Site(cluster, self.lan.hosts, tuple(daemons))

    def _kubeconfig(self, cluster: RunningCluster, name: str, user: str, *more: str) -> str:
        path = self.root / f"{name}.kubeconfig"
        path.write_text(cluster.kcore("kubeconfig", "--user", user, *more).stdout)
        return str(path)


def pinned(cluster: RunningCluster, name: str, node: str, *command: str, flags: tuple[str, ...] = ()) -> None:
    """A pod on that node."""
    override = json.dumps({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 0}})
    cluster.kubectl("run", name, *RUN, f"--overrides={override}", *flags, "--", *command)


def test_pods_and_services_reach_across_machines_and_so_do_logs_and_commands(site: Site) -> None:
    cluster = site.cluster
    pinned(cluster, "web", "node-2", "sh", "-c", PAGE, flags=("--port=80", "--expose"))
    pinned(cluster, "shell", "node-1", "sleep", "3600")
    pinned(cluster, "back", "node-1", "sh", "-c", PAGE)
    pinned(cluster, "far", "node-2", "sh", "-c", "echo I am far; sleep 3600")
    for name in ("web", "shell", "back", "far"):
        ready(cluster, name)
    address = {name: cluster.get("pod", name)["status"]["podIP"] for name in ("web", "back")}
    assert address["web"].startswith("10.244.1.")
    for host in (address["web"], "web"):
        assert cluster.kubectl("exec", "shell", "--", "wget", "-qO-", f"http://{host}/") == "hello from web\n"
    url = f"http://{address['back']}/"
    assert cluster.kubectl("exec", "far", "--", "wget", "-qO-", url) == "hello from back\n"
    assert cluster.kubectl("logs", "far") == "I am far\n"
    here = subprocess.run(["busybox", "wget", "-qO-", f"http://{address['web']}/"], capture_output=True)
    assert here.stdout == b"hello from web\n"
    cluster.kubectl("delete", "pod", "web", "shell", "back", "far", "--wait=false")


def test_pods_of_a_machine_that_is_cut_off_are_replaced_on_the_other(site: Site) -> None:
    cluster = site.cluster
    cluster.kubectl("create", "-f", "-", input=json.dumps(DEPLOYMENT))
    cluster.kubectl("rollout", "status", "deployment/twins", "--timeout=30s")
    assert {pod["spec"]["nodeName"] for pod in pods(cluster)} == {"node-1", "node-2"}
    site.machines[1].link(up=False)
    try:
        poll(lambda: not_ready(cluster, "node-2"), seconds=40)
        poll(lambda: running_on(cluster, "node-1") == 2, seconds=40)
    finally:
        site.machines[1].link(up=True)
    cluster.kubectl("wait", "--for=condition=Ready", "node/node-2", "--timeout=40s")
    poll(lambda: len(pods(cluster)) == 2, seconds=40)  # the lost ones are ended there, and gone
    cluster.kubectl("delete", "deployment", "twins")


def pods(cluster: RunningCluster) -> list[Any]:
    items: list[Any] = cluster.get("pods", "-l", "app=twins")["items"]
    return items


def running_on(cluster: RunningCluster, node: str) -> int:
    here = [pod for pod in pods(cluster) if pod["spec"].get("nodeName") == node]
    return sum(c["type"] == "Ready" and c["status"] == "True" for pod in here for c in pod["status"]["conditions"])


def not_ready(cluster: RunningCluster, node: str) -> bool:
    conditions = cluster.get("node", node)["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "Unknown" for c in conditions)


_SOON = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    for key in ("not-ready", "unreachable")
]
_SPREAD = {
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": {"app": "twins"}},
}
_CONTAINER = {
    "name": "web",
    "image": "busybox:latest",
    "imagePullPolicy": "IfNotPresent",
    "command": ["sh", "-c", PAGE],
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "twins"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "twins"}},
        "template": {
            "metadata": {"labels": {"app": "twins"}},
            "spec": {
                "containers": [_CONTAINER],
                "tolerations": _SOON,
                "topologySpreadConstraints": [_SPREAD],
                "terminationGracePeriodSeconds": 0,
            },
        },
    },
}
