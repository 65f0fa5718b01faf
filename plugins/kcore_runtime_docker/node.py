"""One node's view of the engine: a `kcore.runtime.NodeRuntime`."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs
import trio

from kcore import clock
from kcore.linux import namespaces
from kcore.linux.network import NetworkFailure, PodNetwork
from kcore.linux.volumes import HostVolumes
from kcore.runtime import (
    CREATED,
    DIED,
    EXITED,
    NOT_READY,
    READY,
    RUNNING,
    SANDBOX_LOST,
    Container,
    ContainerConfig,
    Event,
    ExecResult,
    Filesystem,
    Image,
    LogLine,
    NodeSetup,
    NoSuch,
    OnEvent,
    PodStats,
    PortRefused,
    Resources,
    RuntimeFailure,
    Sandbox,
    SandboxConfig,
    Streams,
    Volume,
)
from kcore_runtime_docker import DockerConfig, images, labels, logs, spec, stats, streams
from kcore_runtime_docker.api import DockerApi, Refused, path
from kcore_runtime_docker.files import PodFiles

_AGAIN_SECONDS = 1.0  # before the engine's events are asked for again, or a kill is repeated
_AT_ONCE = 16  # questions about containers at a time
Object = dict[str, Any]


@attrs.define
class _Known:
    """What is remembered of a sandbox, so that nobody has to ask again."""

    pid: int
    address: str
    host_pid: bool
    config: SandboxConfig
    created_at: float

    @property
    def netns(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    def pid_mode(self, id: str) -> str:
        """What processes its containers see, in the engine's words."""
        return "host" if self.host_pid else f"container:{id}" if self.config.share_process_namespace else ""


@attrs.define(eq=False)
class DockerNode:
    """Made by the engine."""

    config: DockerConfig
    api: DockerApi
    setup: NodeSetup
    on_event: OnEvent
    network: PodNetwork
    volumes: HostVolumes
    pause: str
    _running: dict[str, Event] = attrs.Factory(dict)  # what is to be said when it ends, by the engine's id
    _made: dict[str, Event] = attrs.Factory(dict)  # the same of containers that are created, and not started yet
    _known: dict[str, _Known] = attrs.Factory(dict)
    _files: PodFiles = attrs.Factory(lambda self: PodFiles(self.volumes), takes_self=True)
    _meter: stats.Meter = attrs.Factory(stats.Meter)
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    _closed: bool = False

    # --- sandboxes ---------------------------------------------------------------------------------------------------

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """See `NodeRuntime`."""
        address = "" if config.host_network else self._reserve()
        id = ""
        self._files.begin(config)
        try:
            body = spec.sandbox(
                config, self.pause, labels.of_sandbox(self.setup.name, config, address), self._cgroup(config)
            )
            id = await self._create(labels.container_name("POD", config, config.attempt), body)
            self._running[id] = Event(SANDBOX_LOST, config.uid, id)
            await self.api.call("POST", path("containers", id, "start"))
            found = await self.api.call("GET", path("containers", id, "json"))
            pid = int(found["State"]["Pid"])
            if address:
                await self.network.attach(f"/proc/{pid}/ns/net", address, ports=config.ports)
            await trio.to_thread.run_sync(self._files.sandbox, config, address, self.setup.address)
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await self._give_up(id, address)
            if isinstance(error, NetworkFailure):
                raise RuntimeFailure(str(error)) from error
            raise
        created = logs.epoch(found["Created"])
        self._known[id] = _Known(pid, address, config.host_pid, config, created)
        return _sandbox(id, labels.state(found["Config"]["Labels"]), address, READY, created, pid)

    def _reserve(self) -> str:
        try:
            return self.network.reserve()
        except NetworkFailure as error:
            raise RuntimeFailure(str(error)) from error

    async def _give_up(self, id: str, address: str) -> None:
        self._running.pop(id, None)
        if id:
            await self._delete(id)
        if address:
            await self.network.detach(address)
            self.network.release(address)

    async def stop_sandbox(self, id: str) -> None:
        """See `NodeRuntime`."""
        self._running.pop(id, None)
        found = await self._inspect(id)
        if found is None:
            return
        inside = await self._list({labels.SANDBOX: id})
        async with trio.open_nursery() as nursery:
            for entry in inside:
                self._running.pop(entry["Id"], None)
                self._made.pop(entry["Id"], None)
                nursery.start_soon(self._kill, entry["Id"])
        await self._kill(id)
        address = found["Config"]["Labels"].get(labels.ADDRESS, "")
        known = self._known.pop(id, None)
        if address and known is not None:
            await self.network.detach(address)
            self.network.release(address)

    async def remove_sandbox(self, id: str) -> None:
        """See `NodeRuntime`."""
        found = await self._inspect(id)
        if found is None:
            return
        await self.stop_sandbox(id)
        for entry in await self._list({labels.SANDBOX: id}):
            await self._delete(entry["Id"])
        await self._delete(id)
        uid = found["Config"]["Labels"][labels.UID]
        if not await self._list({labels.TYPE: labels.POD, labels.UID: uid}):
            await self.volumes.remove(uid)
            await stats.forget(self._cgroup_of(labels.state(found["Config"]["Labels"])))

    async def list_sandboxes(self) -> list[Sandbox]:
        """See `NodeRuntime`."""
        out = []
        for entry in await self._list({labels.TYPE: labels.POD}):
            id, own = entry["Id"], entry["Labels"]
            known = self._known.get(id)  # one that runs and is not known has no network: nobody finished it
            state = READY if known is not None and entry["State"] == "running" else NOT_READY
            pid = known.pid if known is not None else 0
            out.append(
                _sandbox(id, labels.state(own), own.get(labels.ADDRESS, ""), state, float(entry["Created"]), pid)
            )
        return out

    # --- containers --------------------------------------------------------------------------------------------------

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """See `NodeRuntime`."""
        known = self._known.get(sandbox_id)
        if known is None:
            raise NoSuch(f"sandbox {sandbox_id} does not run")
        uid, key = known.config.uid, f"{config.name}-{config.attempt}"
        mounts = await self._files.mounts(uid, key, config)
        termination = ""
        if config.termination_message_path:
            file = self._files.termination(uid, key)
            termination = str(file)
            mounts.append(spec.bind(file, config.termination_message_path, read_only=False))
        body = spec.container(
            sandbox_id,
            config,
            mounts=mounts,
            labels=labels.of_container(self.setup.name, sandbox_id, uid, config, termination),
            pid_mode=f"container:{config.target}" if config.target else known.pid_mode(sandbox_id),
            runtime=known.config.runtime_handler,
            cgroup=self._cgroup(known.config),
            log={
                "Type": self.config.log_driver,
                "Config": {"max-size": self.config.log_size, "max-file": str(self.config.log_files)},
            },
        )
        id = await self._create(labels.container_name(config.name, known.config, config.attempt), body)
        self._made[id] = Event(DIED, uid, sandbox_id, id)
        return id

    async def start_container(self, id: str) -> None:
        """See `NodeRuntime`."""
        event = self._made.pop(id, None)
        if event is None:
            found = await self._inspect(id)
            if found is None:
                raise NoSuch(f"container {id} does not exist")
            own = found["Config"]["Labels"]
            event = Event(DIED, own[labels.UID], own[labels.SANDBOX], id)
        self._running[id] = event
        try:
            await self.api.call("POST", path("containers", id, "start"))
        except RuntimeFailure:
            self._running.pop(id, None)
            raise
        await self.container(id)  # which lets the meter know

    async def stop_container(self, id: str, grace_seconds: float) -> None:
        """See `NodeRuntime`."""
        found = await self._inspect(id)
        if found is None or not found["State"]["Running"]:
            return
        if grace_seconds > 0:
            await self._signal(id, found["Config"].get("StopSignal") or "SIGTERM")
            with trio.move_on_after(grace_seconds):
                await self._wait(id)
                return
        await self._kill(id)

    async def remove_container(self, id: str) -> None:
        """See `NodeRuntime`."""
        found = await self._inspect(id)
        self._made.pop(id, None)
        if found is not None:
            await self._delete(id)
            self._files.forget(labels.state(found["Config"]["Labels"])["termination"])

    async def container(self, id: str) -> Container:
        """See `NodeRuntime`."""
        found = await self._inspect(id)
        if found is None:
            raise NoSuch(f"container {id} does not exist")
        return await self._container(found)

    async def list_containers(self) -> list[Container]:
        """See `NodeRuntime`."""
        entries = await self._list({labels.TYPE: labels.CONTAINER})
        limit, out = trio.CapacityLimiter(_AT_ONCE), []

        async def one(id: str) -> None:
            async with limit:
                found = await self._inspect(id)
                if found is not None:
                    out.append(await self._container(found))

        async with trio.open_nursery() as nursery:
            for entry in entries:
                nursery.start_soon(one, entry["Id"])
        return sorted(out, key=lambda c: (c.created_at, c.id))

    async def _container(self, found: Object) -> Container:
        own = found["Config"]["Labels"]
        said, state = labels.state(own), found["State"]
        status, code = state["Status"], int(state["ExitCode"])
        reason = message = ""
        if status == "running":
            self._meter.started(
                found["Id"], int(state["Pid"]), own[labels.SANDBOX], said, logs.epoch(state["StartedAt"])
            )
        now = {"created": CREATED, "running": RUNNING, "paused": RUNNING, "restarting": RUNNING}.get(status, EXITED)
        if now == CREATED and (code or state.get("Error")):
            now, reason, message = (
                EXITED,
                "StartError" if code == 128 else "ContainerCannotRun",
                state.get("Error", ""),
            )
        elif now == EXITED:
            reason = "OOMKilled" if state.get("OOMKilled") else "Error" if code else "Completed"
            message = await self._last_words(found["Id"], said, failed=bool(code)) or state.get("Error", "")
        return Container(
            id=found["Id"],
            sandbox_id=own[labels.SANDBOX],
            name=said["name"],
            attempt=said["attempt"],
            image=said["image"],
            image_ref=found["Image"],
            state=now,
            created_at=logs.epoch(found["Created"]),
            started_at=logs.epoch(state["StartedAt"]),
            finished_at=logs.epoch(state["FinishedAt"]) or (clock.now() if now == EXITED else 0.0),
            exit_code=code,
            reason=reason,
            message=message,
            labels=said["labels"],
        )

    async def _last_words(self, id: str, said: Object, *, failed: bool) -> str:
        """The termination message: at most 4096 bytes of the file, or the end of the log if that may stand in."""
        text = await trio.to_thread.run_sync(self._files.last_words, said["termination"])
        if text or said["policy"] != "FallbackToLogsOnError" or not failed:
            return text
        out = [line.data async for line in self.logs(id, tail=80)]
        return b"".join(out)[-2048:].decode(errors="replace")

    async def update_resources(self, id: str, resources: Resources) -> None:
        """See `NodeRuntime`."""
        await self.api.call("POST", path("containers", id, "update"), spec.limits(resources))

    async def update_volume(self, pod_uid: str, volume: Volume) -> None:
        """See `NodeRuntime`."""
        await self.volumes.update(pod_uid, volume)

    # --- images ------------------------------------------------------------------------------------------------------

    async def pull_image(self, image: str, credentials: Sequence[tuple[str, str]] = ()) -> Image:
        """See `NodeRuntime`."""
        return await images.pull(self.api, image, credentials)

    async def image(self, image: str) -> Image | None:
        """See `NodeRuntime`."""
        return await images.find(self.api, image)

    async def list_images(self) -> list[Image]:
        """See `NodeRuntime`."""
        return await images.list_all(self.api)

    async def remove_image(self, image: str) -> None:
        """See `NodeRuntime`."""
        await images.remove(self.api, image)

    # --- commands and streams ----------------------------------------------------------------------------------------

    async def exec_sync(self, id: str, command: Sequence[str], timeout: float) -> ExecResult:
        """See `NodeRuntime`."""
        return await streams.exec_sync(self.api, id, command, timeout)

    async def exec(self, id: str, command: Sequence[str], streams_: Streams, *, tty: bool) -> int:
        """See `NodeRuntime`."""
        return await streams.run(self.api, id, command, streams_, tty=tty)

    async def attach(self, id: str, streams_: Streams) -> None:
        """See `NodeRuntime`."""
        found = await self._inspect(id)
        if found is None:
            raise NoSuch(f"container {id} does not exist")
        await streams.attach(self.api, id, streams_, tty=found["Config"]["Tty"])

    async def dial(self, sandbox_id: str, port: int) -> trio.abc.Stream:
        """See `NodeRuntime`."""
        known = self._known.get(sandbox_id)
        if known is None:
            raise NoSuch(f"sandbox {sandbox_id} does not run")
        try:
            return await namespaces.dial(known.netns, port)
        except OSError as error:
            raise PortRefused(f"port {port}: {error.strerror or error}") from error

    async def logs(
        self, id: str, *, follow: bool = False, since: float = 0.0, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """See `NodeRuntime`."""
        found = await self._inspect(id)
        if found is None:
            raise NoSuch(f"container {id} does not exist")
        async for line in logs.lines(self.api, id, tty=found["Config"]["Tty"], follow=follow, since=since, tail=tail):
            yield line

    # --- measurements and life ---------------------------------------------------------------------------------------

    async def stats(self) -> list[PodStats]:
        """See `NodeRuntime`."""
        pods = [
            stats.Pod(id, k.pid, k.config, k.created_at, self._cgroup(k.config), k.address != "")
            for id, k in self._known.items()
        ]
        return await trio.to_thread.run_sync(self._meter.measure, pods)

    async def filesystem(self) -> Filesystem | None:
        """See `NodeRuntime`."""
        root = (await self.api.call("GET", "/info"))["DockerRootDir"]
        used = int((await self.api.call("GET", "/system/df")).get("LayersSize") or 0)
        disk = await trio.to_thread.run_sync(os.statvfs, root)
        size = disk.f_frsize
        return Filesystem(
            root, disk.f_blocks * size, disk.f_bavail * size, used, inodes=disk.f_files, inodes_free=disk.f_favail
        )

    async def close(self, *, kill: bool) -> None:
        """See `NodeRuntime`."""
        self._closed = True
        self._scope.cancel()
        self._running.clear()
        self._known.clear()
        if kill:
            pods = {}
            async with trio.open_nursery() as nursery:
                for entry in await self._list({}):
                    if entry["Labels"][labels.TYPE] == labels.POD:
                        pods[entry["Labels"][labels.UID]] = labels.state(entry["Labels"])
                    nursery.start_soon(self._delete, entry["Id"])
            for uid, said in pods.items():
                await self.volumes.remove(uid)
                await stats.forget(self._cgroup_of(said))
        await self.network.close(remove=kill)

    async def take_down(self) -> None:
        """The cluster ends: pods, network, files. What cannot be removed now is found by the next start."""
        try:
            await self.close(kill=True)
        except RuntimeFailure:
            pass  # the engine is gone, and its containers are with it

    async def watch(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell what ends by itself, until the node is closed. A broken stream of events is made up for by listing."""
        with self._scope:
            await self._remove_half_made()
            query = {"filters": json.dumps({"type": ["container"], "event": ["die"], "label": [self._label]})}
            while True:
                try:
                    async with self.api.stream("/events", query=query) as pieces:
                        await self._catch_up()
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                        async for event in _lines(pieces):
                            self._ended(event["Actor"]["ID"])
                except RuntimeFailure as error:
                    if task_status is not trio.TASK_STATUS_IGNORED:
                        raise
                    del error
                await trio.sleep(_AGAIN_SECONDS)

    async def _remove_half_made(self) -> None:
        """Sandboxes whose maker was killed before they had a network. The engine may be starting them even now."""
        async with trio.open_nursery() as nursery:
            for entry in await self._list({labels.TYPE: labels.POD}):
                said = labels.state(entry["Labels"])
                if not self._files.made(said["uid"], said["attempt"]):
                    nursery.start_soon(self._delete, entry["Id"])

    async def _catch_up(self) -> None:
        """Learn what runs, and tell of what has ended unseen."""
        alive = set()
        for entry in await self._list({}):
            id, own = entry["Id"], entry["Labels"]
            if entry["State"] != "running":
                continue
            if own[labels.TYPE] == labels.POD and id not in self._running:
                said = labels.state(own)
                if not self._files.made(said["uid"], said["attempt"]):
                    continue
                self._running[id] = Event(SANDBOX_LOST, own[labels.UID], id)
                await self._adopt(id, own)
            alive.add(id)
            if own[labels.TYPE] == labels.POD:
                continue
            self._running.setdefault(id, Event(DIED, own[labels.UID], own[labels.SANDBOX], id))
        for id in set(self._running) - alive:
            self._ended(id)

    async def _adopt(self, id: str, own: dict[str, str]) -> None:
        """A sandbox from before a restart."""
        found = await self._inspect(id)
        if found is None:
            return
        said, address = labels.state(own), own.get(labels.ADDRESS, "")
        pid = int(found["State"]["Pid"])
        config = SandboxConfig(
            said["name"],
            said["namespace"],
            said["uid"],
            said["attempt"],
            ports=labels.ports(own),
            cgroup_class=said["class"],
            runtime_handler=said["handler"],
            share_process_namespace=said["share"],
        )
        host_pid = found["HostConfig"].get("PidMode") == "host"
        self._known[id] = _Known(pid, address, host_pid, config, logs.epoch(found["Created"]))
        if address:
            self.network.reserve(address, ports=config.ports)

    def _ended(self, id: str) -> None:
        event = self._running.pop(id, None)
        self._meter.ended(id)
        if event is not None and not self._closed:
            self.on_event(event)

    # --- the engine --------------------------------------------------------------------------------------------------

    @property
    def _label(self) -> str:
        return f"{labels.NODE}={self.setup.name}"

    def _cgroup(self, config: SandboxConfig) -> str:
        return self._cgroup_of({"uid": config.uid, "class": config.cgroup_class})

    def _cgroup_of(self, said: Object) -> str:
        """A pod's own group, below that of its class as the kubelet has them: Guaranteed pods have none."""
        if not self.config.cgroup_parent:
            return ""
        middle = "" if said["class"] == "Guaranteed" else f"/{said['class'].lower()}"
        return f"{self.config.cgroup_parent}{middle}/pod{said['uid']}"

    async def _list(self, wanted: dict[str, str]) -> list[Object]:
        filters = {"label": [self._label, *(f"{key}={value}" for key, value in wanted.items())]}
        found: list[Object] = await self.api.call(
            "GET", "/containers/json", query={"all": True, "filters": json.dumps(filters)}
        )
        return found

    async def _inspect(self, id: str) -> Object | None:
        try:
            found: Object = await self.api.call("GET", path("containers", id, "json"))
            return found
        except NoSuch:
            return None

    async def _create(self, name: str, body: Object) -> str:
        """Raises NoSuch for an image that is not there. One of that name from before a crash goes first."""
        try:
            made = await self.api.call("POST", "/containers/create", body, query={"name": name})
        except Refused as error:
            if error.status != 409:
                raise RuntimeFailure(str(error)) from error
            await self._delete(name)
            made = await self.api.call("POST", "/containers/create", body, query={"name": name})
        return str(made["Id"])

    async def _signal(self, id: str, signal: str) -> None:
        try:
            await self.api.call("POST", path("containers", id, "kill"), query={"signal": signal})
        except (NoSuch, Refused):
            pass  # it has ended

    async def _wait(self, id: str) -> None:
        try:
            await self.api.call("POST", path("containers", id, "wait"), patient=True)
        except NoSuch:
            pass

    async def _kill(self, id: str) -> None:
        """On return it has ended. A signal that came while the engine was starting it has hit nothing: once more."""
        while True:
            await self._signal(id, "SIGKILL")
            found = await self._inspect(id)
            if found is None or not found["State"]["Running"]:
                return
            with trio.move_on_after(_AGAIN_SECONDS):
                await self._wait(id)
                return

    async def _delete(self, id: str) -> None:
        try:
            await self.api.call("DELETE", path("containers", id), query={"force": True, "v": True})
        except (NoSuch, Refused):
            pass  # gone, or going


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[Object]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield json.loads(line)


def _sandbox(id: str, said: Object, address: str, state: str, created: float, pid: int) -> Sandbox:
    return Sandbox(
        id=id,
        name=said["name"],
        namespace=said["namespace"],
        uid=said["uid"],
        attempt=said["attempt"],
        state=state,
        ips=(address,) if address else (),
        created_at=created,
        labels=said["labels"],
        annotations=said["annotations"],
        network_namespace=f"/proc/{pid}/ns/net" if pid else "",
    )
