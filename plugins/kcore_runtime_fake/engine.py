"""The fake engine, and each node's view of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import trio

from kcore import clock
from kcore.runtime import (
    EXITED,
    RUNNING,
    CommandTimeout,
    Container,
    ContainerConfig,
    Event,
    ExecResult,
    Filesystem,
    Image,
    ImageFailure,
    LogLine,
    NodeSetup,
    NoSuch,
    OnEvent,
    PodStats,
    Resources,
    RuntimeFailure,
    Sandbox,
    SandboxConfig,
    Streams,
    Volume,
    VolumeStats,
)
from kcore.timers import Timers
from kcore_runtime_fake import execute
from kcore_runtime_fake.addresses import Addresses
from kcore_runtime_fake.behaviour import BadBehaviour, Behaviour, behaviour, curve
from kcore_runtime_fake.container import FakeContainer
from kcore_runtime_fake.files import Directory
from kcore_runtime_fake.sandbox import FakeSandbox

if TYPE_CHECKING:
    from kcore_runtime_fake import FakeConfig

IMAGE_SIZE = 25 * 1024 * 1024  # bytes: what is said of every image


class FakeRuntime:
    """What the provider opens to: see `kcore.runtime.Runtime`."""

    name, version, real = "fake", "1.0.0", False

    def __init__(self, config: FakeConfig, nursery: trio.Nursery, pod_cidr: str, log: logging.Logger) -> None:
        self.config, self.nursery, self.log = config, nursery, log
        self._pod_cidr = pod_cidr
        self.timers = Timers()
        self.handlers = ("", *config.handlers)
        self.default = Behaviour(cpu=curve(config.cpu), memory=curve(config.memory))
        self.ports_moved: dict[int, int] = {}  # ports below 1024 that had to be served elsewhere
        self.claims: dict[str, Directory] = {}
        self._nodes: dict[str, FakeNode] = {}  # those that were closed without being killed, too
        self._serial = 0
        nursery.start_soon(self.timers.run)

    def new_id(self, of: str) -> str:
        """64 hexadecimal digits, as other runtimes have them; the same in every run of the same history."""
        self._serial += 1
        return hashlib.sha256(f"{of}/{self._serial}".encode()).hexdigest()

    def image_id(self, image: str) -> str:
        return f"{image.split('@')[0].split(':')[0]}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"

    async def node(self, setup: NodeSetup, on_event: OnEvent) -> FakeNode:
        node = self._nodes.get(setup.name)
        if node is None:
            node = self._nodes[setup.name] = FakeNode(self, setup, setup.pod_cidr or self._pod_cidr)
        node.setup, node.on_event = setup, on_event
        return node

    def close(self) -> None:
        """Nothing listens any more."""
        for node in self._nodes.values():
            node.power_off()


class FakeNode:
    """See `kcore.runtime.NodeRuntime`."""

    def __init__(self, engine: FakeRuntime, setup: NodeSetup, pod_cidr: str) -> None:
        self.engine, self.setup = engine, setup
        self.on_event: OnEvent | None = None
        self._addresses = Addresses(pod_cidr)
        self._sandboxes: dict[str, FakeSandbox] = {}
        self._containers: dict[str, FakeContainer] = {}
        self._volumes: dict[tuple[str, str], Directory] = {}  # (pod uid, volume name); uid "" for host paths
        self._images: dict[str, None] = {}

    def tell(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)

    # --- life cycle of pods ------------------------------------------------------------------------------------------

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        if config.runtime_handler not in self.engine.handlers:
            raise RuntimeFailure(f'no runtime for "{config.runtime_handler}" is configured')
        address = self.setup.address if config.host_network else self._addresses.take()
        id = self.engine.new_id(f"sandbox/{config.uid}/{config.attempt}")
        sandbox = self._sandboxes[id] = FakeSandbox(self, config, id, address)
        return sandbox.describe()

    def release(self, sandbox: FakeSandbox) -> None:
        """The sandbox is down: its address is free."""
        if not sandbox.config.host_network:
            self._addresses.give_back(sandbox.address)

    async def stop_sandbox(self, id: str) -> None:
        sandbox = self._sandboxes.get(id)
        if sandbox is not None:
            await sandbox.stop()

    async def remove_sandbox(self, id: str) -> None:
        sandbox = self._sandboxes.pop(id, None)
        if sandbox is None:
            return
        await sandbox.stop()
        for container in sandbox.containers:
            self._containers.pop(container, None)
        uid = sandbox.config.uid
        if not any(s.config.uid == uid for s in self._sandboxes.values()):
            for key in [k for k in self._volumes if k[0] == uid]:
                del self._volumes[key]

    async def list_sandboxes(self) -> list[Sandbox]:
        return [s.describe() for s in self._sandboxes.values()]

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        sandbox = self._sandbox(sandbox_id)
        if sandbox.state != "ready":
            raise RuntimeFailure("the sandbox is not ready")
        try:
            how = behaviour(config.name, {**sandbox.config.annotations, **config.annotations}, self.engine.default)
        except BadBehaviour as error:
            raise RuntimeFailure(str(error)) from error
        id = self.engine.new_id(f"container/{sandbox.config.uid}/{config.name}/{config.attempt}")
        container = FakeContainer(sandbox, config, how, id)
        self._containers[id] = sandbox.containers[id] = container
        for mount in config.mounts:
            self.directory(sandbox.config.uid, mount.volume)
        self._images[config.image] = None
        return id

    async def start_container(self, id: str) -> None:
        await self._container(id).start()

    async def stop_container(self, id: str, grace_seconds: float) -> None:
        container = self._containers.get(id)
        if container is not None:
            await container.stop(grace_seconds)

    async def remove_container(self, id: str) -> None:
        container = self._containers.get(id)
        if container is None:
            return
        if container.state == RUNNING:
            raise RuntimeFailure(f"container {id} is running")
        del self._containers[id]
        container.sandbox.containers.pop(id, None)

    async def container(self, id: str) -> Container:
        return self._container(id).describe()

    async def list_containers(self) -> list[Container]:
        return [c.describe() for c in self._containers.values()]

    async def update_resources(self, id: str, resources: Resources) -> None:
        self._container(id).resources = resources

    async def update_volume(self, pod_uid: str, volume: Volume) -> None:
        directory = self._volumes.get((pod_uid, volume.name))
        if directory is not None:
            directory.replace(volume.files)

    def directory(self, uid: str, volume: Volume) -> Directory:
        """The content of a pod's volume."""
        if volume.kind == "claim":
            return self.engine.claims.setdefault(volume.claim, Directory(group=volume.group))
        key = ("", volume.source) if volume.kind == "host" else (uid, volume.name)
        found = self._volumes.get(key)
        if found is None:
            mode = 0o777 if volume.kind == "empty" else 0o755
            found = self._volumes[key] = Directory(volume.files, volume.group, mode)
        return found

    # --- images ------------------------------------------------------------------------------------------------------

    async def pull_image(self, image: str, credentials: Sequence[tuple[str, str]] = ()) -> Image:
        if self.engine.config.pull_delay:
            await trio.sleep(self.engine.config.pull_delay)
        if self._missing(image):
            raise ImageFailure(
                f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": not found'
            )
        self._images[image] = None
        return self._describe_image(image)

    async def image(self, image: str) -> Image | None:
        """Every image is present but those that the config calls missing: pods start without being pulled."""
        return None if self._missing(image) else self._describe_image(image)

    async def list_images(self) -> list[Image]:
        return [self._describe_image(i) for i in self._images]

    async def remove_image(self, image: str) -> None:
        self._images.pop(image, None)

    def _missing(self, image: str) -> bool:
        return any(fnmatchcase(image, pattern) for pattern in self.engine.config.missing_images)

    def _describe_image(self, image: str) -> Image:
        return Image(self.engine.image_id(image), (image,), IMAGE_SIZE)

    # --- commands and streams ----------------------------------------------------------------------------------------

    async def exec_sync(self, id: str, command: Sequence[str], timeout: float) -> ExecResult:
        with trio.move_on_after(timeout):
            return await execute.sync(self._running(id), tuple(command))
        raise CommandTimeout(f"command {' '.join(command)!r} timed out after {timeout:g}s")

    async def exec(self, id: str, command: Sequence[str], streams: Streams, *, tty: bool) -> int:
        return await execute.joined(self._running(id), tuple(command), streams, tty=tty)

    async def attach(self, id: str, streams: Streams) -> None:
        await self._running(id).attachments.join(streams)

    async def dial(self, sandbox_id: str, port: int) -> trio.abc.Stream:
        return await self._sandbox(sandbox_id).dial(port)

    async def logs(
        self, id: str, *, follow: bool = False, since: float = 0.0, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        lines = self._container(id).log.read(follow=follow, since=since, tail=tail)
        try:
            async for line in lines:
                yield line
        finally:
            await lines.aclose()  # type: ignore[attr-defined]  # an async generator, seen as an iterator

    # --- measurements and life of the node ---------------------------------------------------------------------------

    async def stats(self) -> list[PodStats]:
        now = clock.now()
        volumes: dict[str, list[VolumeStats]] = {}
        for (uid, name), directory in self._volumes.items():
            if uid and directory.entries:
                used = sum(len(e.data) for e in directory.entries.values())
                volumes.setdefault(uid, []).append(VolumeStats(name, used, len(directory.entries)))
        ready = [s for s in self._sandboxes.values() if s.state == "ready"]
        return [s.stats(now, tuple(volumes.get(s.config.uid, ()))) for s in ready]

    async def filesystem(self) -> Filesystem | None:
        return None

    async def close(self, *, kill: bool) -> None:
        self.on_event = None
        if kill:
            self.power_off()

    def power_off(self) -> None:
        """All pods and their sockets are gone, and nobody is told."""
        self.on_event = None
        for sandbox in self._sandboxes.values():
            sandbox.forget()
        self._sandboxes.clear()
        self._containers.clear()
        self._volumes = {k: v for k, v in self._volumes.items() if not k[0]}

    def _sandbox(self, id: str) -> FakeSandbox:
        try:
            return self._sandboxes[id]
        except KeyError:
            raise NoSuch(f"no such sandbox: {id}") from None

    def _container(self, id: str) -> FakeContainer:
        try:
            return self._containers[id]
        except KeyError:
            raise NoSuch(f"no such container: {id}") from None

    def _running(self, id: str) -> FakeContainer:
        container = self._container(id)
        if container.state != RUNNING:
            state = "has ended" if container.state == EXITED else "has not started"
            raise RuntimeFailure(f"container {container.config.name} {state}")
        return container
