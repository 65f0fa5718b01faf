"""`kcore image load`, and what `kcore up -c docker` says where it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcore.testing.running import RunningCluster, running
from tests.dockerd import Daemon, dockerd
from tests.needs import needs

from .docker import machine, settings


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-images") as found:
        yield found


@pytest.fixture(scope="module")
def cluster(daemon: Daemon) -> Iterator[RunningCluster]:
    with running("docker", set=settings(daemon)) as found:
        yield found


def load(cluster: RunningCluster, source: str, *, host: str = "/nowhere") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "kcore", "image", "load", source, "--data-dir", str(cluster.directory)]
    env = {"DOCKER_HOST": f"unix://{host}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)


def saved(daemon: Daemon, name: str, file: Path) -> None:
    """An archive of an image that the daemon has no more."""
    daemon.docker("tag", "busybox:latest", name)
    daemon.docker("save", "-o", str(file), name)
    daemon.docker("rmi", name)


def test_an_archive_is_loaded_and_can_be_run(cluster: RunningCluster, daemon: Daemon, tmp_path: Path) -> None:
    saved(daemon, "example/web:1", tmp_path / "web.tar")
    done = load(cluster, str(tmp_path / "web.tar"))
    assert (done.returncode, done.stdout) == (0, b"loaded example/web:1\n"), done.stderr
    cluster.kubectl("run", "web", "--image=example/web:1", "--image-pull-policy=Never", "--", "sleep", "60")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")


def test_an_image_of_another_engine_is_loaded_by_its_name(
    cluster: RunningCluster, daemon: Daemon, tmp_path: Path
) -> None:
    with dockerd(tmp_path / "o") as other:
        other.docker("tag", "busybox:latest", "example/own:2")
        done = load(cluster, "example/own:2", host=other.socket)
        assert (done.returncode, done.stdout) == (0, b"loaded example/own:2\n"), done.stderr
        done = load(cluster, "example/none:2", host=other.socket)
        assert done.returncode == 1
        assert b"is no file" in done.stderr
        assert b"example/none:2" in done.stderr
    assert "example/own:2" in daemon.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()


@pytest.mark.parametrize("content", [b"", b"no archive" * 1000])
def test_what_is_no_archive_is_refused_in_one_line(cluster: RunningCluster, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    done = load(cluster, str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr.startswith(b"kcore: ")
    assert done.stderr.count(b"\n") == 1


def test_neither_file_nor_engine_is_said_in_one_line(cluster: RunningCluster) -> None:
    done = load(cluster, "example/none:1")
    assert done.returncode == 1
    assert b"'example/none:1' is no file, and the Docker engine at /nowhere does not answer" in done.stderr


def test_a_cluster_without_images_says_so() -> None:
    with running("memory") as cluster:
        done = cluster.kcore("image", "load", "x", check=False)
    assert done.returncode == 1
    assert done.stderr == "kcore: the runtime 'fake' keeps no images; `kcore up -c docker` has one that does\n"


def up(directory: Path, *, user: int = 0, **set: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "kcore", "up", "-c", "docker", "--data-dir", str(directory)]
    for name, value in set.items():
        command += ["--set", f"{name.replace('__', '.')}={value}"]
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    if become:
        only = "-all,+dac_read_search"
        become += [f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}"]
    return subprocess.run([*become, *command], capture_output=True, text=True, check=False, timeout=60)


def test_without_an_engine_it_says_what_to_do(tmp_path: Path) -> None:
    needs("iptables", "ip", root=True)
    done = up(tmp_path, nodes__runtime__socket=str(tmp_path / "none.sock"), api__port="0", nodes__port="10999")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "no Docker engine answers at" in line]
    assert len(said) == 1
    assert "install Docker and start it" in said[0]


def test_without_root_it_says_what_to_do(tmp_path: Path) -> None:
    needs("setpriv", root=True)
    tmp_path.chmod(0o777)
    (tmp_path / "data").mkdir(mode=0o777)
    os.chown(tmp_path / "data", 65534, 65534)
    done = up(tmp_path / "data", user=65534, api__port="0", nodes__port="10999")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "real pods need root" in line]
    assert len(said) == 1, done.stderr
