"""The docker runtime keeps the contract, with a real daemon on a machine of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kcore_runtime_docker import DockerConfig, kcore_runtime

from kcore.testing.runtime import RuntimeConformance
from tests.dockerd import Daemon, dockerd
from tests.hosts import inside
from tests.needs import needs


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    needs("dockerd", "docker", "busybox", "iptables", "ip", root=True)
    with inside("kcore-test-docker"), dockerd(tmp_path_factory.mktemp("docker")) as found:
        yield found


class TestDocker(RuntimeConformance):
    provider = next(iter(kcore_runtime()))

    @pytest.fixture(autouse=True)
    def socket(self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "config", DockerConfig(socket=daemon.socket))

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, daemon: Daemon, tmp_path: Path) -> Iterator[None]:
        yield
        assert daemon.containers() == []
        assert not list(Path("/sys/class/net").glob("kc*"))
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
