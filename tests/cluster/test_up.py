"""``kcore up`` and what a person does with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcore.testing.running import RunningCluster, kcore_of, running, settings

KCORE = kcore_of()


def run(*arguments: str, timeout: float = 30, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KCORE, *arguments], capture_output=True, text=True, timeout=timeout, check=False, **more)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    with running("dev") as cluster:
        yield cluster


def test_a_second_one_on_the_same_directory_says_who_is_there(cluster: RunningCluster) -> None:
    again = run("up", "-c", "dev", "--data-dir", str(cluster.directory))
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert f"(process {cluster.process.pid})" in again.stderr


def test_a_busy_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("up", "-c", "memory", "--data-dir", str(tmp_path / "d"), "--set", f"api.port={port}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"kcore: cannot listen on 127.0.0.1:{port}: the port is in use; "
        "stop the program that has it, or choose another port"
    ]


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("up", "--data-dir", str(tmp_path / "file" / "d"))
    assert done.returncode == 1
    assert "choose one with --data-dir" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_damaged_database_is_one_line_and_left_alone(tmp_path: Path) -> None:
    damaged = tmp_path / "state.db"
    damaged.write_bytes(b"this is no database" * 100)
    done = run("up", "-c", "dev", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "state.db" in done.stderr
    assert done.stderr.count("\n") == 1
    assert damaged.read_bytes() == b"this is no database" * 100


def test_a_bad_config_names_every_mistake_and_exits_with_2(tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_text('[store]\nuse = "sqlite"\npth = "x"\n[api]\nuse = "http"\nport = "6443"\n')
    done = run("up", "-c", str(config), "--data-dir", str(tmp_path / "d"))
    assert done.returncode == 2
    assert "store.pth: no such setting; did you mean 'path'?" in done.stderr
    assert "api.port: '6443' is not a whole number" in done.stderr
    assert not (tmp_path / "d" / "state.db").exists()


def test_status_tells_of_every_part_for_people_and_for_scripts(cluster: RunningCluster) -> None:
    told = cluster.kcore("status").stdout
    assert "sqlite" in told
    assert "userspace" in told
    status = cluster.status()
    assert status["pid"] == cluster.process.pid
    assert {p["slot"]: p["provider"] for p in status["parts"]}["nodes"] == "embedded"


def test_status_without_a_cluster_says_how_to_start_one(tmp_path: Path) -> None:
    done = run("status", "--data-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "kcore up" in done.stderr


def test_plugins_marks_what_is_in_use(cluster: RunningCluster) -> None:
    seams = {s["seam"]: s["installed"] for s in json.loads(cluster.kcore("plugins", "-o", "json").stdout)}
    assert {o["name"]: o["inUse"] for o in seams["store"]} == {"memory": False, "sqlite": True}
    assert {o["name"] for o in seams["runtime"] if o["inUse"]} == {"fake"}
    assert all(seams[s] for s in seams if s != "command")


def test_kubectl_passes_through(cluster: RunningCluster) -> None:
    done = cluster.kcore("kubectl", "--", "get", "nodes", "-o", "name")
    assert done.stdout.split() == ["node/node-1", "node/node-2", "node/node-3"]


def test_the_kubeconfig_is_printed_and_is_private(cluster: RunningCluster) -> None:
    assert cluster.kcore("kubeconfig").stdout == cluster.kubeconfig.read_text()
    assert cluster.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_state_survives_a_restart_and_a_kill(tmp_path: Path) -> None:
    for how in (signal.SIGINT, signal.SIGKILL):
        with running("dev", directory=tmp_path) as cluster:
            cluster.kubectl("create", "configmap", f"before-{how.name.lower()}", "--from-literal=a=b")
            cluster.stop(how)
    with running("dev", directory=tmp_path) as cluster:
        names = cluster.kubectl("get", "configmaps", "-o", "name").split()
        assert {"configmap/before-sigint", "configmap/before-sigkill"} <= set(names)


def test_ctrl_c_closes_everything_in_order_and_exits_with_0() -> None:
    with running("dev") as cluster:
        began = time.monotonic()
        assert cluster.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 5, "the promise is two seconds; five is broken on any machine"
        assert (cluster.directory / "output").read_text() == ""
        assert not (cluster.directory / "control.sock").exists()


def test_detached_and_down(tmp_path: Path) -> None:
    sets = [a for s in settings(251) for a in ("--set", s)]
    up = run("up", "-c", "memory", "--data-dir", str(tmp_path), "--detach", "--wait", *sets)
    try:
        assert up.returncode == 0, up.stderr
        assert "3 nodes ready" in up.stdout
    finally:
        down = run("down", "--data-dir", str(tmp_path))
    assert down.returncode == 0, down.stderr
    assert "no cluster is running" in run("status", "--data-dir", str(tmp_path)).stderr


def test_a_detached_cluster_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        setting = f"api.port={taken.getsockname()[1]}"
        done = run("up", "-c", "memory", "--data-dir", str(tmp_path / "d"), "--detach", "--set", setting)
    assert done.returncode == 1
    assert "the port is in use" in done.stderr


def test_a_kubeconfig_entry_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    config = tmp_path / "config"
    other = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kcore-memory", "cluster": {"server": "https://example.invalid"}}],
        "users": [],
        "contexts": [],
    }
    config.write_text(json.dumps(other))
    done = run("up", "-c", "memory", "--data-dir", str(tmp_path / "d"), "--kubeconfig", str(config))
    assert done.returncode == 1
    assert "kcore-memory" in done.stderr
    assert json.loads(config.read_text()) == other


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_everything_works_as_an_unprivileged_user() -> None:
    with running("dev", as_user=65534) as cluster:
        cluster.kubectl("create", "deployment", "web", "--image=nginx", "--port=79", "--replicas=2")
        cluster.kubectl("expose", "deployment", "web", "--port=79")
        cluster.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
        ip = cluster.get("service", "web")["spec"]["clusterIP"]
        notes = [n for p in cluster.status()["parts"] for n in p["notes"]]
        assert any("8079" in n for n in notes), notes
        answered = {_pod_that_answers(ip, 8079) for _ in range(20)}
        assert len(answered) == 2


def _pod_that_answers(ip: str, port: int) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://{ip}:{port}/", timeout=5) as answer:
        pod: str = json.load(answer)["pod"]
        return pod


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell: str) -> None:
    script = run("completion", shell).stdout
    assert "status" in script
    assert "--data-dir" in script


def test_config_show_has_the_defaults_and_can_be_read_back(tmp_path: Path) -> None:
    shown = run("config", "show", "memory")
    assert shown.returncode == 0, shown.stderr
    copy = tmp_path / "copy.toml"
    copy.write_text(shown.stdout)
    assert run("config", "check", str(copy)).returncode == 0


def test_config_init_never_overwrites(tmp_path: Path) -> None:
    assert run("config", "init", "my.toml", cwd=tmp_path).returncode == 0
    assert run("config", "check", "my.toml", cwd=tmp_path).returncode == 0
    again = run("config", "init", "my.toml", cwd=tmp_path)
    assert again.returncode == 1
    assert "exists already" in again.stderr


@pytest.mark.parametrize("address", ["0.0.0.0", "127.251.64.1"])
def test_a_kubelet_port_that_is_taken_is_one_line(tmp_path: Path, address: str) -> None:
    sets = [a for s in settings(251) if not s.startswith("nodes.port") for a in ("--set", s)]
    with socket.create_server((address, 0)) as taken:
        port = taken.getsockname()[1]
        done = run("up", "-c", "memory", "--data-dir", str(tmp_path / "d"), *sets, "--set", f"nodes.port={port}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"kcore: node node-1: cannot listen on 127.251.64.1:{port}: 127.251.64.1:{port} is in use; "
        "stop the program that has it, or choose another port with nodes.port"
    ]
