"""Real pods against what the Docker engine takes by itself, and what they cost while nothing happens.

    python -m tests.benchmarks docker

Everything happens on a machine of the benchmark's own: a network namespace with a daemon. Floors are from the same
run: `docker run` of the same image, by the same daemon, with the network that the engine gives its containers by
default. Needs root and the programs of the tests with real pods.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kcore.testing.running import RunningCluster, running
from tests.benchmarks.figures import cpu_seconds, duration, figure, heading, resident_bytes
from tests.benchmarks.load import Connection, Target, connections
from tests.cluster.docker import settings
from tests.dockerd import IMAGE, Daemon, dockerd
from tests.hosts import inside

ONE_BY_ONE, AT_ONCE = 15, 50
PODS = "/api/v1/namespaces/default/pods"
COMMAND = ["sleep", "3600"]


def pod(name: str) -> bytes:
    container = {"name": "main", "image": IMAGE, "command": COMMAND, "imagePullPolicy": "IfNotPresent"}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).encode()


def running_pods(lines: Iterator[bytes]) -> Iterator[str]:
    """Names of pods, each as it is Running for the first time."""
    seen = set()
    for line in lines:
        found = json.loads(line)["object"]
        name = found["metadata"]["name"]
        if found.get("status", {}).get("phase") == "Running" and name not in seen:
            seen.add(name)
            yield name


@contextmanager
def watched(target: Target) -> Iterator[Iterator[bytes]]:
    """The lines of a watch of all pods."""
    connection = Connection(target)
    connection.send(target.request("GET", f"{PODS}?watch=1"))

    def lines() -> Iterator[bytes]:
        buffer = b""
        while True:
            *whole, buffer = (buffer + connection.sock.recv(65536)).split(b"\n")
            yield from (line for line in whole if line.startswith(b'{"'))  # what is left are the chunks' lengths

    try:
        yield lines()
    finally:
        connection.sock.close()


def docker_run(daemon: Daemon, name: str) -> subprocess.Popen[bytes]:
    command = ["docker", "-H", f"unix://{daemon.socket}", "run", "-d", "--init=false", "--name", name, IMAGE, *COMMAND]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def remove(daemon: Daemon, count: int) -> None:
    subprocess.run(
        ["docker", "-H", f"unix://{daemon.socket}", "rm", "-f", *(f"plain-{n}" for n in range(count))],
        stdout=subprocess.DEVNULL,
        check=True,
    )


def one_by_one(daemon: Daemon, target: Target) -> None:
    plain, pods = [], []
    with watched(target) as lines, connections(target, 1) as (connection,):
        shown = running_pods(lines)
        for n in range(ONE_BY_ONE):
            began = time.perf_counter()
            docker_run(daemon, f"plain-{n}").wait()
            plain.append(time.perf_counter() - began)
            began = time.perf_counter()
            connection.ask(target.request("POST", PODS, pod(f"one-{n}")), code=201)
            while next(shown) != f"one-{n}":
                pass
            pods.append(time.perf_counter() - began)
    floor = statistics.median(plain)
    duration("a pod: created to Running", statistics.median(pods), floor + 0.25, floor, "docker run -d")
    remove(daemon, ONE_BY_ONE)


def at_once(daemon: Daemon, target: Target, cluster: RunningCluster) -> None:
    began = time.perf_counter()
    for process in [docker_run(daemon, f"plain-{n}") for n in range(AT_ONCE)]:
        process.wait()
    floor = time.perf_counter() - began
    remove(daemon, AT_ONCE)
    with watched(target) as lines, connections(target, 1) as (connection,):
        shown = running_pods(lines)
        used = cpu_seconds(cluster.process.pid)
        began = time.perf_counter()
        for n in range(AT_ONCE):
            connection.ask(target.request("POST", PODS, pod(f"all-{n}")), code=201)
        while next(shown) != "all-0":
            pass
        left = AT_ONCE - 1
        while left:
            left -= next(shown).startswith("all-")
        took = time.perf_counter() - began
    duration(f"{AT_ONCE} pods: created to Running", took, floor * 1.3, floor, f"{AT_ONCE} parallel docker run -d")
    each = (cpu_seconds(cluster.process.pid) - used) / AT_ONCE
    figure("", f"{each * 1000:.1f} ms of the cluster's own time for a pod", "", None)


def gone(connection: Connection, target: Target) -> None:
    connection.ask(target.request("DELETE", PODS))
    while True:
        answer = connection.ask(target.request("GET", PODS))
        if not json.loads(answer.partition(b"\r\n\r\n")[2])["items"]:
            return
        time.sleep(0.1)


def main(rest: float = 30.0) -> None:
    heading("Real pods by a Docker engine")
    with (
        tempfile.TemporaryDirectory(prefix="kcore-") as made,
        inside("kcore-bench"),
        dockerd(Path(made) / "d", bridge="10.99.0.1/24") as daemon,
        running("docker", set=settings(daemon)) as cluster,
    ):
        target, pid = Target.of(cluster.kubeconfig), cluster.process.pid
        before = resident_bytes(pid)
        with connections(target, 1) as (connection,):
            one_by_one(daemon, target)
            gone(connection, target)
            at_once(daemon, target, cluster)
        time.sleep(5)
        more = (resident_bytes(pid) - before) / 1e6
        figure(f"memory that {AT_ONCE} pods take", f"{more:.0f} MB", "at most 60 MB", more <= 60)
        used = cpu_seconds(pid)
        time.sleep(rest)
        share = (cpu_seconds(pid) - used) / rest * 100
        figure(f"CPU of {rest:.0f} s at rest with them", f"{share:.2f} %", "at most 1 %", share <= 1.0)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
