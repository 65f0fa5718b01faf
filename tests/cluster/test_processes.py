"""API, scheduler, controllers and a node, each a process of its own, over HTTPS with client certificates."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kcore import config
from kcore.testing.running import RunningCluster, own_addresses, process

COMPONENTS = {
    "scheduler": ("system:kube-scheduler", ""),
    "controllers": ("system:kube-controller-manager", ""),
    "proxy": ("system:kube-proxy", ""),
    "node": ("system:node:node-1", "system:nodes"),
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningCluster]]:
    root = tmp_path_factory.mktemp("processes")
    with ExitStack() as stack:
        number = stack.enter_context(own_addresses())
        (root / "api").mkdir()
        api = stack.enter_context(process("processes/api", root / "api", number))
        running = {"api": api}
        for name, (user, group) in COMPONENTS.items():
            more = ["--group", group] if group else []
            kubeconfig = root / f"{name}.kubeconfig"
            kubeconfig.write_text(api.kcore("kubeconfig", "--user", user, *more).stdout)
            if name == "proxy":
                continue  # lives with the node
            home = root / name
            home.mkdir()
            settings = {"connect.kubeconfig": str(kubeconfig)}
            connect = config.read(f"processes/{name}").tables["connect"]
            if "keys" in connect:
                settings["connect.keys"] = str(api.directory)
            for part in connect.get("parts", ()):
                settings[f"connect.parts.{part}"] = str(root / f"{part}.kubeconfig")
            running[name] = stack.enter_context(process(f"processes/{name}", home, number, set=settings))
        yield running


def test_a_deployment_becomes_ready_and_its_service_answers(processes: dict[str, RunningCluster]) -> None:
    api = processes["api"]
    api.kubectl("wait", "--for=condition=Ready", "node/node-1", "--timeout=20s")
    api.kubectl("create", "deployment", "web", "--image=nginx", "--port=8080", "--replicas=2")
    api.kubectl("expose", "deployment", "web", "--port=8080")
    api.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    ip = api.get("service", "web")["spec"]["clusterIP"]
    deadline = time.monotonic() + 20
    while True:  # a proxy in another process follows the endpoints within moments, not at once
        try:
            assert len({_pod(ip) for _ in range(20)}) == 2
            break
        except (OSError, AssertionError):
            if time.monotonic() > deadline:
                raise


def test_logs_and_exec_reach_the_node_of_another_process(processes: dict[str, RunningCluster]) -> None:
    api = processes["api"]
    api.kubectl("run", "shell", "--image=busybox", "--", "sh", "-c", "echo started; sleep 1000")
    api.kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=20s")
    assert api.kubectl("logs", "shell") == "started\n"
    assert api.kubectl("exec", "shell", "--", "hostname") == "shell\n"


def test_components_are_who_their_certificates_say(processes: dict[str, RunningCluster]) -> None:
    api = processes["api"]
    api.kubectl("create", "configmap", "who", "--from-literal=a=b")
    holders = {lease["metadata"]["name"] for lease in api.get("leases", "-n", "kube-system")["items"]}
    assert {"kube-scheduler", "kube-controller-manager"} <= holders
    kubeconfig = str(processes["api"].directory.parent / "scheduler.kubeconfig")
    refused = api.run_kubectl("delete", "configmap", "who", "--kubeconfig", kubeconfig, check=False)
    assert 'User "system:kube-scheduler" cannot delete resource "configmaps"' in refused.stderr


def test_a_component_that_is_killed_and_started_again_goes_on(processes: dict[str, RunningCluster]) -> None:
    api, scheduler = processes["api"], processes["scheduler"]
    scheduler.stop(signal.SIGKILL)
    api.kubectl("run", "later", "--image=nginx")
    kubeconfig = str(api.directory.parent / "scheduler.kubeconfig")
    settings = {"connect.kubeconfig": kubeconfig, "scheduler.leader_elect": False}
    with process("processes/scheduler", Path(scheduler.directory), scheduler.slice, set=settings):
        api.kubectl("wait", "--for=condition=Ready", "pod/later", "--timeout=20s")


def _pod(ip: str) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://{ip}:8080/", timeout=5) as answer:
        pod: str = json.load(answer)["pod"]
        return pod
