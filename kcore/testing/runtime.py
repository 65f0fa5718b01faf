"""The conformance suite of the runtime contract (`kcore.runtime`). For a runtime of your own:

    from kcore.testing.runtime import RuntimeConformance

    class TestPodman(RuntimeConformance):
        provider = podman_provider
        config = PodmanConfig(socket="/run/podman/podman.sock")

with pytest-trio installed and ``trio_mode = true`` in pytest's settings. The runtime must have an image with a POSIX
shell (`image`). Each test opens the provider anew, and removes what it made. Set `virtual` when the runtime waits with
trio's clock alone: the tests then take no time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import trio
from trio.testing import MockClock

from kcore import clock
from kcore.registry import Provider
from kcore.runtime import (
    CREATED,
    DIED,
    EXITED,
    NOT_READY,
    READY,
    RUNNING,
    CommandTimeout,
    ContainerConfig,
    Event,
    File,
    Mount,
    NodeRuntime,
    NodeSetup,
    NoSuch,
    Port,
    PortRefused,
    Runtime,
    RuntimeFailure,
    SandboxConfig,
    Streams,
    Volume,
)
from kcore.testing import TestContext

__all__ = ["RuntimeConformance", "Stage"]

SLEEP = ("sh", "-c", "sleep 3600")
SETUP = NodeSetup("conformance-1", "127.90.0.1", "127.101.0.0/24")


@attrs.define
class Stage:
    """A node's runtime and the events that it pushed."""

    engine: Runtime
    node: NodeRuntime
    events: list[Event]
    image: str
    _news: trio.Event = attrs.Factory(trio.Event)

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()
        self._news = trio.Event()

    async def sandbox(self, uid: str = "uid-1", **config: Any) -> str:
        made = await self.node.run_sandbox(SandboxConfig(name="web", namespace="default", uid=uid, **config))
        return made.id

    async def create(self, sandbox: str, *command: str, name: str = "app", **config: Any) -> str:
        await self.node.pull_image(self.image)
        found = ContainerConfig(name=name, image=self.image, command=command or SLEEP, **config)
        return await self.node.create_container(sandbox, found)

    async def start(self, sandbox: str, *command: str, **config: Any) -> str:
        id = await self.create(sandbox, *command, **config)
        await self.node.start_container(id)
        return id

    async def until_died(self, id: str) -> None:
        """Until the runtime has pushed the end of the container."""
        with trio.fail_after(60):
            while not any(e.type == DIED and e.container_id == id for e in self.events):
                await self._news.wait()

    async def output(self, id: str, **options: Any) -> bytes:
        return b"".join([line.data async for line in self.node.logs(id, **options)])


class RuntimeConformance:
    """Subclass it, name the provider. Its tests are the contract's promises."""

    provider: ClassVar[Provider[Any]]
    config: ClassVar[Any] = None
    """An instance of the provider's config class; None for its defaults."""
    image: ClassVar[str] = "busybox"
    virtual: ClassVar[bool] = False

    @asynccontextmanager
    async def open(self, directory: Path) -> AsyncIterator[Stage]:
        config = self.provider.config() if self.config is None else self.config
        async with self.provider.open(TestContext(directory), config) as engine:
            events: list[Event] = []
            stage = Stage(engine, None, events, self.image)  # type: ignore[arg-type]  # the node comes next
            stage.node = await engine.node(SETUP, stage.on_event)
            try:
                yield stage
            finally:
                with trio.CancelScope(shield=True):
                    for sandbox in await stage.node.list_sandboxes():
                        await stage.node.stop_sandbox(sandbox.id)
                        await stage.node.remove_sandbox(sandbox.id)

    @pytest.fixture
    def clock_of_trio(self) -> Any:
        """Virtual time, where the runtime allows it."""
        return MockClock(autojump_threshold=0 if self.virtual else float("inf"), rate=0.0 if self.virtual else 1.0)

    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[Stage]:
        clock.use_virtual()
        async with self.open(tmp_path) as stage:
            yield stage

    # --- sandboxes ---------------------------------------------------------------------------------------------------

    async def test_sandbox_has_an_address_of_its_own_while_it_is_ready(self, clock_of_trio: Any, stage: Stage) -> None:
        one, two = await stage.sandbox("uid-1"), await stage.sandbox("uid-2")
        found = {s.id: s for s in await stage.node.list_sandboxes()}
        assert found[one].state == READY
        assert found[one].ips[0]
        assert found[one].ips != found[two].ips

    async def test_sandbox_keeps_what_it_was_told(self, clock_of_trio: Any, stage: Stage) -> None:
        await stage.sandbox(attempt=3, labels={"a": "b"}, annotations={"c": "d"})
        (found,) = await stage.node.list_sandboxes()
        assert (found.name, found.namespace, found.uid, found.attempt) == ("web", "default", "uid-1", 3)
        assert dict(found.labels)["a"] == "b"
        assert dict(found.annotations)["c"] == "d"

    async def test_stopped_sandbox_is_listed_until_it_is_removed(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.sandbox()
        running = await stage.start(id)
        await stage.node.stop_sandbox(id)
        await stage.node.stop_sandbox(id)
        assert (await stage.node.list_sandboxes())[0].state == NOT_READY
        assert (await stage.node.container(running)).state == EXITED
        await stage.node.remove_sandbox(id)
        await stage.node.remove_sandbox(id)
        assert await stage.node.list_sandboxes() == []
        assert await stage.node.list_containers() == []

    async def test_host_network_sandbox_has_no_address(self, clock_of_trio: Any, stage: Stage) -> None:
        await stage.sandbox(host_network=True)
        assert (await stage.node.list_sandboxes())[0].ips == ()

    # --- containers --------------------------------------------------------------------------------------------------

    async def test_container_is_created_then_runs_then_has_ended(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.create(await stage.sandbox(), "sh", "-c", "sleep 1; exit 3", attempt=2, labels={"x": "y"})
        found = await stage.node.container(id)
        assert (found.state, found.name, found.attempt) == (CREATED, "app", 2)
        assert dict(found.labels)["x"] == "y"
        await stage.node.start_container(id)
        found = await stage.node.container(id)
        assert found.state == RUNNING
        assert found.started_at >= found.created_at > 0
        await stage.until_died(id)
        found = await stage.node.container(id)
        assert (found.state, found.exit_code, found.reason) == (EXITED, 3, "Error")
        assert found.finished_at >= found.started_at

    async def test_success_is_completed(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox(), "true")
        await stage.until_died(id)
        assert (await stage.node.container(id)).reason == "Completed"

    async def test_stop_ends_a_container_within_its_grace(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox())
        with trio.fail_after(30):
            await stage.node.stop_container(id, 2)
        found = await stage.node.container(id)
        assert found.state == EXITED
        await stage.node.stop_container(id, 2)
        assert await stage.node.container(id) == found

    async def test_removed_container_is_gone(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox(), "true")
        await stage.until_died(id)
        await stage.node.remove_container(id)
        await stage.node.remove_container(id)
        with pytest.raises(NoSuch):
            await stage.node.container(id)

    async def test_container_in_no_sandbox_is_refused(self, clock_of_trio: Any, stage: Stage) -> None:
        with pytest.raises(NoSuch):
            await stage.create("nonsense")

    async def test_node_that_comes_back_finds_its_containers(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox())
        before = await stage.node.container(id)
        await stage.node.close(kill=False)
        stage.node = await stage.engine.node(SETUP, stage.on_event)
        assert await stage.node.list_containers() == [before]
        assert [s.state for s in await stage.node.list_sandboxes()] == [READY]

    async def test_node_that_lost_its_power_finds_nothing(self, clock_of_trio: Any, stage: Stage) -> None:
        await stage.start(await stage.sandbox())
        told = len(stage.events)
        await stage.node.close(kill=True)
        stage.node = await stage.engine.node(SETUP, stage.on_event)
        assert await stage.node.list_sandboxes() == []
        assert stage.events[told:] == []

    # --- logs --------------------------------------------------------------------------------------------------------

    async def test_logs_have_both_outputs_in_order(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(
            await stage.sandbox(), "sh", "-c", "echo one; sleep 1; echo two >&2; sleep 1; echo three"
        )
        await stage.until_died(id)
        lines = [line async for line in stage.node.logs(id)]
        assert [(x.stream, x.data) for x in lines] == [
            ("stdout", b"one\n"),
            ("stderr", b"two\n"),
            ("stdout", b"three\n"),
        ]
        assert await stage.output(id, tail=1) == b"three\n"
        assert await stage.output(id, tail=0) == b""
        assert await stage.output(id, since=lines[1].time) == b"two\nthree\n"

    async def test_followed_logs_end_with_the_container(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox(), "sh", "-c", "echo one; sleep 2; echo two")
        with trio.fail_after(30):
            assert await stage.output(id, follow=True) == b"one\ntwo\n"

    # --- commands ----------------------------------------------------------------------------------------------------

    async def test_exec_sync_tells_output_and_exit_code(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox())
        result = await stage.node.exec_sync(id, ["sh", "-c", "echo out; echo err >&2; exit 4"], 10)
        assert (result.exit_code, result.stdout, result.stderr) == (4, b"out\n", b"err\n")

    async def test_exec_sync_is_cut_off_in_time(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox())
        with pytest.raises(CommandTimeout):
            await stage.node.exec_sync(id, ["sleep", "60"], 1)

    async def test_exec_is_joined_to_its_streams(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox())
        inputs, out, err = [b"typed\n"], bytearray(), bytearray()

        async def read() -> bytes:
            return inputs.pop() if inputs else b""

        async def write(data: bytes) -> None:
            out.extend(data)

        async def complain(data: bytes) -> None:
            err.extend(data)

        streams = Streams(read, write, complain)
        code = await stage.node.exec(id, ["sh", "-c", "cat; echo oops >&2; exit 5"], streams, tty=False)
        assert (code, bytes(out), bytes(err)) == (5, b"typed\n", b"oops\n")

    async def test_exec_of_what_is_not_there_fails(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox())
        with pytest.raises(RuntimeFailure):
            await stage.node.exec(id, ["/no/such/thing"], Streams(), tty=False)

    async def test_exec_in_an_ended_container_fails(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox(), "true")
        await stage.until_died(id)
        with pytest.raises(RuntimeFailure):
            await stage.node.exec_sync(id, ["true"], 1)

    # --- environment, files, ports -----------------------------------------------------------------------------------

    async def test_container_has_its_environment_and_directory(self, clock_of_trio: Any, stage: Stage) -> None:
        env = (("COLOUR", "blue green"),)
        sandbox = await stage.sandbox(hostname="web-0")
        id = await stage.start(sandbox, "sh", "-c", 'echo "$COLOUR"; pwd; hostname', env=env, working_dir="/tmp")
        await stage.until_died(id)
        assert await stage.output(id) == b"blue green\n/tmp\nweb-0\n"

    async def test_files_volume_is_seen_and_replaced_as_a_whole(self, clock_of_trio: Any, stage: Stage) -> None:
        volume = Volume("config", "files", {"a": File(b"old\n"), "sub/b": File(b"more\n")})
        id = await stage.start(await stage.sandbox(), mounts=(Mount("/etc/config", volume, read_only=True),))
        read = ["cat", "/etc/config/a"]
        assert (await stage.node.exec_sync(id, [*read, "/etc/config/sub/b"], 10)).stdout == b"old\nmore\n"
        await stage.node.update_volume("uid-1", Volume("config", "files", {"a": File(b"new\n")}))
        assert (await stage.node.exec_sync(id, read, 10)).stdout == b"new\n"
        assert (await stage.node.exec_sync(id, ["cat", "/etc/config/sub/b"], 10)).exit_code == 1

    async def test_content_that_is_fetched_when_needed_arrives(self, clock_of_trio: Any, stage: Stage) -> None:
        async def load() -> bytes:
            return b"secret\n"

        mount = Mount("/var/run/token", Volume("token", "files", {"token": File(load=load)}))
        id = await stage.start(await stage.sandbox(), mounts=(mount,))
        assert (await stage.node.exec_sync(id, ["cat", "/var/run/token/token"], 10)).stdout == b"secret\n"

    async def test_containers_of_a_pod_share_its_volumes(self, clock_of_trio: Any, stage: Stage) -> None:
        mounts, sandbox = (Mount("/data", Volume("data", "empty")),), await stage.sandbox()
        one = await stage.start(sandbox, name="one", mounts=mounts)
        two = await stage.start(sandbox, name="two", mounts=mounts)
        assert (await stage.node.exec_sync(one, ["sh", "-c", "echo hi > /data/x"], 10)).exit_code == 0
        assert (await stage.node.exec_sync(two, ["cat", "/data/x"], 10)).stdout == b"hi\n"

    async def test_claim_outlives_its_pod_and_empty_volume_does_not(self, clock_of_trio: Any, stage: Stage) -> None:
        mounts = (
            Mount("/keep", Volume("keep", "claim", claim="conformance-claim")),
            Mount("/lose", Volume("lose", "empty")),
        )
        sandbox = await stage.sandbox()
        id = await stage.start(sandbox, mounts=mounts)
        await stage.node.exec_sync(id, ["sh", "-c", "echo kept > /keep/x; echo lost > /lose/x"], 10)
        await stage.node.stop_sandbox(sandbox)
        await stage.node.remove_sandbox(sandbox)
        again = await stage.start(await stage.sandbox("uid-2"), mounts=mounts)
        assert (await stage.node.exec_sync(again, ["cat", "/keep/x"], 10)).stdout == b"kept\n"
        assert (await stage.node.exec_sync(again, ["cat", "/lose/x"], 10)).exit_code == 1

    async def test_port_that_nobody_listens_on_refuses(self, clock_of_trio: Any, stage: Stage) -> None:
        sandbox = await stage.sandbox()
        await stage.start(sandbox, ports=(Port(28080),))
        with pytest.raises(PortRefused):
            await stage.node.dial(sandbox, 28081)

    # --- images and measurements -------------------------------------------------------------------------------------

    async def test_pulled_image_is_present_and_listed(self, clock_of_trio: Any, stage: Stage) -> None:
        pulled = await stage.node.pull_image(stage.image)
        found = await stage.node.image(stage.image)
        assert found is not None
        assert found.id == pulled.id
        assert pulled.id in {i.id for i in await stage.node.list_images()}

    async def test_stats_count_up_while_a_container_runs(self, clock_of_trio: Any, stage: Stage) -> None:
        id = await stage.start(await stage.sandbox())
        await trio.sleep(1)
        (first,) = await stage.node.stats()
        await trio.sleep(2)
        (second,) = await stage.node.stats()
        assert (first.uid, first.name, first.namespace) == ("uid-1", "web", "default")
        (a,), (b,) = first.containers, second.containers
        assert a.id == b.id == id
        assert b.cpu_nanoseconds >= a.cpu_nanoseconds
        assert b.memory_working_set > 0
        assert b.time > a.time
