"""The docker runtime keeps the contract, with a real daemon on a machine of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
from kcore_runtime_docker import DockerConfig, kcore_runtime, labels
from kcore_runtime_docker.node import DockerNode

from kcore.runtime import NOT_READY, RuntimeFailure, SandboxConfig
from kcore.testing.runtime import SETUP, RuntimeConformance, Stage
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

    async def test_a_sandbox_whose_maker_was_killed_half_way_is_gone_at_the_next_start(
        self, daemon: Daemon, stage: Stage
    ) -> None:
        half = make_half(daemon, stage.image)
        again = await stage.engine.node(SETUP, stage.on_event)
        assert half not in ids(daemon)
        assert await again.list_sandboxes() == []

    async def test_a_sandbox_that_the_engine_starts_for_a_maker_who_was_killed_is_not_ready(
        self, daemon: Daemon, stage: Stage
    ) -> None:
        """The engine goes on with what was asked of it, and is done when its sandboxes have been looked at."""
        half = make_half(daemon, stage.image)
        daemon.docker("start", half)
        (found,) = await stage.node.list_sandboxes()
        assert (found.id, found.state) == (half, NOT_READY)
        await stage.node.stop_sandbox(half)
        await stage.node.remove_sandbox(half)
        assert daemon.containers() == []

    async def test_a_sandbox_that_was_made_stays_one_until_its_successor_of_the_same_name_is_begun(
        self, daemon: Daemon, stage: Stage
    ) -> None:
        made = await stage.sandbox()
        again = await stage.engine.node(SETUP, stage.on_event)
        assert [s.id for s in await again.list_sandboxes()] == [made]
        daemon.docker("rm", "-f", made)
        with pytest.raises(RuntimeFailure):
            await again.run_sandbox(attrs.evolve(CONFIG, runtime_handler="none-such"))
        half = make_half(daemon, stage.image)
        await stage.engine.node(SETUP, stage.on_event)
        assert half not in ids(daemon)
        await again.volumes.remove(CONFIG.uid)

    async def test_a_kill_that_hit_nothing_is_repeated(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """As one that comes while the engine is still starting the container: it is refused, and then it runs."""
        real, signals = DockerNode._signal, []

        async def signal(node: DockerNode, id: str, name: str) -> None:
            signals.append(name)
            if len(signals) > 1:
                await real(node, id, name)

        sandbox = await stage.sandbox()
        monkeypatch.setattr(DockerNode, "_signal", signal)
        with trio.fail_after(60):
            await stage.node.stop_sandbox(sandbox)
        assert signals == ["SIGKILL", "SIGKILL"]


CONFIG = SandboxConfig(name="web", namespace="default", uid="uid-1")


def make_half(daemon: Daemon, image: str) -> str:
    """What stands there between the two calls that make a sandbox. Returns its id."""
    said = labels.of_sandbox(SETUP.name, CONFIG, "127.101.0.9")
    options = [f"--label={key}={value}" for key, value in said.items()]
    return daemon.docker("create", *options, image, "sleep", "3600").strip()


def ids(daemon: Daemon) -> list[str]:
    return daemon.docker("ps", "-a", "-q", "--no-trunc").split()
