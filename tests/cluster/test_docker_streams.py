"""What goes in and out of real pods: logs, terminals, ports, debuggers, by the real kubectl."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from kcore.cli.kubectl import find_kubectl
from kcore.testing.running import RunningCluster, running
from kcore.testing.waiting import poll
from tests.dockerd import Daemon

from .docker import RUN, machine, ready, run, settings, status


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-streams") as found:
        yield found


@pytest.fixture(scope="module")
def cluster(daemon: Daemon) -> Iterator[RunningCluster]:
    with running("docker", set=settings(daemon)) as found:
        yield found


@contextmanager
def kubectl(cluster: RunningCluster, *arguments: str, stdin: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """kubectl while it runs; ended with the block."""
    command = [find_kubectl() or "kubectl", "--kubeconfig", str(cluster.kubeconfig), *arguments]
    out = stdin if stdin is not None else subprocess.PIPE
    given = stdin if stdin is not None else subprocess.PIPE
    with subprocess.Popen(command, stdin=given, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def until(fd: int, wanted: bytes, seconds: float = 20.0) -> bytes:
    """What comes from a terminal or pipe up to and with `wanted`."""
    os.set_blocking(fd, False)
    found, end = b"", time.monotonic() + seconds
    while wanted not in found:
        try:
            piece = os.read(fd, 65536)
            assert piece, found
            found += piece
        except BlockingIOError:
            assert time.monotonic() < end, found
            time.sleep(0.02)
    return found


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_logs_are_followed_to_the_containers_end(cluster: RunningCluster) -> None:
    script = "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done"
    run(cluster, "counter", "sh", "-c", script, flags=("--restart=Never",))
    poll(lambda: status(cluster, "counter")["state"].get("running"))
    assert cluster.kubectl("logs", "-f", "counter") == "1\n2\n3\n4\n5\n"


def test_logs_of_the_run_before_are_kept(cluster: RunningCluster) -> None:
    script = "cat /proc/sys/kernel/random/uuid; trap 'exit 1' TERM; while true; do sleep 0.1; done"
    run(cluster, "again", "sh", "-c", script)
    ready(cluster, "again")
    before = poll(lambda: cluster.kubectl("logs", "again"))
    cluster.run_kubectl("exec", "again", "--", "kill", "1", check=False)
    poll(lambda: status(cluster, "again")["restartCount"] == 1 and status(cluster, "again")["ready"])
    assert cluster.kubectl("logs", "-p", "again") == before
    assert poll(lambda: cluster.kubectl("logs", "again")) != before


def test_long_lines_and_bytes_that_are_no_text_come_whole(cluster: RunningCluster) -> None:
    """The engine splits lines at 16 KB; what reads them shows none of that."""
    script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf '\\377\\000\\376 end\\n'"
    run(cluster, "odd", "sh", "-c", script, flags=("--restart=Never",))
    poll(lambda: status(cluster, "odd")["state"].get("terminated"))
    with kubectl(cluster, "logs", "odd") as process:
        said, _ = process.communicate(timeout=30)
    assert said == b"x" * 100_000 + b"\n\xff\x00\xfe end\n"
    with kubectl(cluster, "logs", "odd", "--timestamps") as process:
        said, _ = process.communicate(timeout=30)
    assert [len(line.partition(b" ")[2]) for line in said.splitlines()] == [100_000, 7]


def test_long_lines_of_a_terminal_come_whole(cluster: RunningCluster) -> None:
    script = "head -c 50000 /dev/zero | tr '\\0' x; echo; echo end"
    run(cluster, "tty", "sh", "-c", script, flags=("--restart=Never", "-it", "--attach=false"))
    poll(lambda: status(cluster, "tty")["state"].get("terminated"))
    assert cluster.kubectl("logs", "tty").replace("\r", "") == "x" * 50_000 + "\nend\n"


def test_a_terminal_has_the_size_of_the_window_and_follows_it(cluster: RunningCluster) -> None:
    run(cluster, "term", "sleep", "3600")
    ready(cluster, "term")
    master, slave = pty.openpty()
    try:
        resize(master, 30, 100)
        with kubectl(cluster, "exec", "-it", "term", "--", "sh", stdin=slave) as process:
            os.write(master, b"stty size; echo first-$((1+1))\n")
            assert b"30 100" in until(master, b"first-2")
            resize(master, 40, 120)
            process.send_signal(signal.SIGWINCH)
            time.sleep(0.5)
            os.write(master, b"stty size; echo second-$((1+1))\n")
            assert b"40 120" in until(master, b"second-2")
            os.write(master, b"exit 5\n")
            assert process.wait(20) == 5
    finally:
        os.close(master)
        os.close(slave)


def test_attach_joins_the_program_itself(cluster: RunningCluster) -> None:
    cluster.kubectl(
        "run", "echo", *RUN, "-i", "--attach=false", "--", "sh", "-c", "while read line; do echo got $line; done"
    )
    ready(cluster, "echo")
    with kubectl(cluster, "attach", "-i", "echo") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        until(process.stdout.fileno(), b"got hello")


def _ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.settimeout(20)
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_ports_are_forwarded_for_many_connections_at_once(cluster: RunningCluster) -> None:
    """Two ports, one of which listens on the pod's own 127.0.0.1 alone."""
    script = (
        "mkdir -p /a /b; echo one > /a/index.html; echo two > /b/index.html;"
        "httpd -p 80 -h /a; exec httpd -f -p 127.0.0.1:81 -h /b"
    )
    run(cluster, "ports", "sh", "-c", script)
    ready(cluster, "ports")
    with kubectl(cluster, "port-forward", "pod/ports", ":80", ":81") as process:
        assert process.stdout is not None
        text = until(process.stdout.fileno(), b"-> 81").decode()
        ports = {int(to): int(here) for here, to in re.findall(r"127\.0\.0\.1:(\d+) -> (\d+)", text)}
        with ThreadPoolExecutor(40) as pool:
            first, second = (list(pool.map(_ask, [ports[n]] * 40)) for n in (80, 81))
    assert all(answer.endswith(b"one\n") for answer in first)
    assert all(answer.endswith(b"two\n") for answer in second)


def test_a_debugger_sees_the_processes_of_its_target(cluster: RunningCluster) -> None:
    run(cluster, "patient", "sleep", "4321")
    ready(cluster, "patient")
    cluster.kubectl(
        "debug", "patient", "--image=busybox:latest", "--target=patient", "--container=doctor",
        "--image-pull-policy=IfNotPresent", "--attach=false", "--", "sh", "-c", "ps -o args; sleep 3600",
    )  # fmt: skip
    said = poll(lambda: s if "ps -o" in (s := _logs(cluster, "patient", "doctor")) else "")
    assert "sleep 4321" in said


def _logs(cluster: RunningCluster, pod: str, container: str) -> str:
    return cluster.run_kubectl("logs", pod, "-c", container, check=False).stdout


def test_containers_of_a_pod_share_processes_if_it_says_so(cluster: RunningCluster) -> None:
    run(cluster, "shared", "sleep", "5432", flags=("--overrides", '{"spec":{"shareProcessNamespace":true}}'))
    ready(cluster, "shared")
    assert cluster.kubectl("exec", "shared", "--", "cat", "/proc/1/comm") == "pause\n"


def test_top_shows_what_pods_use(cluster: RunningCluster) -> None:
    run(cluster, "busy", "sh", "-c", "while true; do :; done")
    ready(cluster, "busy")

    def used() -> int:
        done = cluster.run_kubectl("top", "pod", "busy", "--no-headers", check=False)
        return int(done.stdout.split()[1].removesuffix("m")) if done.returncode == 0 else 0

    assert poll(lambda: used() > 100)
    cluster.kubectl("delete", "pod", "busy", "--grace-period=0", "--force")
