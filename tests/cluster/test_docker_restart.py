"""Real pods and the end of the cluster that runs them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcore.testing.running import process
from kcore.testing.waiting import poll
from tests.dockerd import Daemon

from .docker import machine, ready, run, settings, status


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-restart") as found:
        yield found


def test_pods_outlive_a_cluster_that_is_killed_and_go_with_one_that_ends(daemon: Daemon, tmp_path: Path) -> None:
    with process("docker", tmp_path, 250, set=settings(daemon)) as first:
        run(first, "survivor", "sh", "-c", "i=0; while true; do echo $i; i=$((i+1)); sleep 0.1; done")
        ready(first, "survivor")
        before = status(first, "survivor")["containerID"]
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with process("docker", tmp_path, 250, set=settings(daemon)) as second:
        poll(lambda: status(second, "survivor")["ready"])
        after = status(second, "survivor")
        assert (after["containerID"], after["restartCount"]) == (before, 0)
        numbers = [int(line) for line in second.kubectl("logs", "survivor").split()]
        assert numbers == list(range(len(numbers)))
        assert second.kubectl("exec", "survivor", "--", "hostname") == "survivor\n"
