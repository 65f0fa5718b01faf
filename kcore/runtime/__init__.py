"""The container runtime contract: what a node asks of the machinery that runs containers, in CRI's vocabulary.

Two things open one inside the other. A provider of the seam `runtime` opens to a `Runtime`: the engine of this
machine (a Docker daemon, the fake one). A `Runtime` gives each node its own view of it, a `NodeRuntime`; one process
may hold a thousand nodes over one engine, so a node costs the engine nothing until it runs pods.

The life of a pod, as the node agent drives it::

    node = await runtime.node(NodeSetup("node-1", "127.90.0.1", "127.100.0.0/24"), on_event)
    sandbox = await node.run_sandbox(SandboxConfig(name="web", namespace="default", uid="..."))  # has its address now
    await node.pull_image("nginx:1.29")
    id = await node.create_container(sandbox.id, ContainerConfig(name="nginx", image="nginx:1.29"))
    await node.start_container(id)
    ...                                     # on_event(Event(DIED, ...)) when the container ends by itself
    await node.stop_container(id, grace_seconds=30)
    await node.remove_container(id)
    await node.stop_sandbox(sandbox.id)     # its address is free again
    await node.remove_sandbox(sandbox.id)

*Sandbox*: what the containers of a pod share: address, host name, namespaces, volumes. *Container*: one run of a
program; a restart is a new container with the next `attempt`, and the old one stays, exited, with its logs until it
is removed. A container is CREATED, then RUNNING, then EXITED, never back.

Everything is found again by listing: an agent that starts (for the first time, or after a crash) calls
`list_sandboxes` and `list_containers` and carries on from what exists. A runtime must therefore keep the names,
uids, labels and attempts that it was given.

Nothing is polled: when a container ends, or a sandbox breaks, the runtime calls `on_event` of the node's view, from
inside trio, at once; the agent then reads the new status. Calls that wait (stop, pull, exec) may be cancelled: what
had been asked for may or may not have happened, and listing tells.

Errors are `RuntimeFailure` and its subclasses; anything else is a bug of the runtime.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import attrs
import trio

from kcore.errors import KcoreError

NOTHING: Mapping[str, str] = {}

CREATED = "created"
RUNNING = "running"
EXITED = "exited"
READY = "ready"
NOT_READY = "notready"

# --- errors ----------------------------------------------------------------------------------------------------------


class RuntimeFailure(KcoreError):
    """The runtime could not do what was asked. The message is what users read in an event."""


class NoSuch(RuntimeFailure):
    """The sandbox, container or image does not exist (any more)."""


class ImageFailure(RuntimeFailure):
    """An image could not be pulled. `reason` is what the container waits with (ErrImagePull by default)."""

    def __init__(self, message: str, reason: str = "ErrImagePull"):
        self.reason = reason
        super().__init__(message)


class CommandTimeout(RuntimeFailure):
    """`exec_sync` ran out of its time; the command has been killed."""


class PortRefused(RuntimeFailure):
    """Nothing listens on that port of the sandbox."""


# --- sandboxes -------------------------------------------------------------------------------------------------------


@attrs.frozen
class NodeSetup:
    """What a node tells the engine about itself."""

    name: str
    address: str  # where the node is reached; pods of the host network have it too
    pod_cidr: str = ""  # where addresses of the node's pods come from; "" leaves it to the engine


@attrs.frozen
class Port:
    """A port that a container answers on."""

    port: int
    protocol: str = "TCP"  # TCP, UDP, SCTP
    name: str = ""
    host_port: int = 0  # 0: not published
    host_ip: str = ""
    scheme: str = ""  # what the pod's probes will speak here: http, https, grpc, tcp; "" if none does


@attrs.frozen
class Dns:
    """What goes into /etc/resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@attrs.frozen
class SandboxConfig:
    """What the containers of a pod will share."""

    name: str
    namespace: str
    uid: str
    attempt: int = 0  # counts the sandboxes of one pod
    hostname: str = ""
    labels: Mapping[str, str] = NOTHING
    annotations: Mapping[str, str] = NOTHING
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    dns: Dns = Dns()
    hosts: Mapping[str, str] = NOTHING  # extra lines of /etc/hosts: name -> address
    sysctls: Mapping[str, str] = NOTHING
    ports: tuple[Port, ...] = ()  # those with a host_port
    domain: str = ""  # what makes `hostname` a full name in /etc/hosts: "sub.namespace.svc.cluster.local"
    security: Mapping[str, object] = NOTHING  # the pod's securityContext
    share_process_namespace: bool = False
    runtime_handler: str = ""  # of the pod's RuntimeClass; "" is the default one
    cgroup_class: str = "BestEffort"  # the pod's quality of service: Guaranteed, Burstable, BestEffort


@attrs.frozen
class Sandbox:
    """A sandbox as it is."""

    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    state: str  # READY or NOT_READY
    ips: tuple[str, ...]  # () for the host network
    created_at: float  # seconds since the epoch
    labels: Mapping[str, str] = NOTHING
    annotations: Mapping[str, str] = NOTHING
    network_namespace: str = ""  # a path, where the runtime has one


# --- volumes ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class File:
    """One file of a volume. `load` gives content that is only fetched when it is needed (tokens)."""

    data: bytes = b""
    mode: int = 0o644
    owner: int | None = None  # user id; None: root
    load: Callable[[], Awaitable[bytes]] | None = None

    async def read(self) -> bytes:
        return self.data if self.load is None else await self.load()


@attrs.frozen
class Volume:
    """A directory that containers of a pod mount.

    kind   content
    files  `files`: path -> File; replaced as a whole by `NodeRuntime.update_volume` (configMap, secret, projected)
    empty  nothing at first; lives as long as the pod's uid has a sandbox (emptyDir)
    claim  whatever was written under the same `claim` name before; lives on after the pod (persistent volumes)
    host   `source`, a path of the node, which is there; `host_type` says what it is (a hostPath's type)
    image  the files of the image `source`, which has been pulled; read only

    `group` (fsGroup) is the group of all that is in it: a file's mode is widened by 0o660, or 0o440 in `files`, a
    directory's by 0o2770 (0o2550 in `files`). None: it is left as it is. An `empty` volume has mode 0o777.
    """

    name: str
    kind: str
    files: Mapping[str, File] = attrs.field(factory=dict)
    claim: str = ""
    source: str = ""
    medium: str = ""  # "Memory" for an emptyDir in memory
    size_limit: int = 0  # bytes; 0: none
    group: int | None = None
    host_type: str = ""  # "", Directory, File, Socket, CharDevice, BlockDevice


@attrs.frozen
class Mount:
    """A volume at a place in a container."""

    path: str
    volume: Volume
    sub_path: str = ""
    read_only: bool = False
    propagation: str = ""  # None, HostToContainer, Bidirectional
    recursive_read_only: bool = False  # what is mounted below it is read only too


# --- containers ------------------------------------------------------------------------------------------------------


@attrs.frozen
class Resources:
    """Millicores and bytes; 0 means none set."""

    cpu_request: int = 0
    cpu_limit: int = 0
    memory_request: int = 0
    memory_limit: int = 0


@attrs.frozen
class ContainerConfig:
    """A container to create."""

    name: str
    image: str
    attempt: int = 0  # the restart count
    command: tuple[str, ...] = ()  # () leaves the image's entry point
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    labels: Mapping[str, str] = NOTHING
    annotations: Mapping[str, str] = NOTHING
    resources: Resources = Resources()
    security: Mapping[str, object] = NOTHING  # the effective securityContext, as the pod has it
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    restart_policy: str = "Always"  # what the agent will do when it ends; for information
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"  # or FallbackToLogsOnError
    stop_signal: str = ""
    target: str = ""  # the container id whose processes it sees (an ephemeral container's target)
    oom_score_adj: int = 0  # how readily the kernel kills it when memory runs out: -997 to 1000


@attrs.frozen
class Container:
    """A container as it is. Times are seconds since the epoch, 0 if it has not come to that."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    image: str
    image_ref: str
    state: str  # CREATED, RUNNING, EXITED
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""  # Completed, Error, OOMKilled, ContainerCannotRun
    message: str = ""  # the termination message
    labels: Mapping[str, str] = NOTHING


@attrs.frozen
class Image:
    """An image that is present."""

    id: str
    names: tuple[str, ...]
    size: int  # bytes
    user: str | None = None  # whom it runs as by itself: "", "1000", "nginx:nginx"; None: not known
    pinned: bool = False  # never to be removed for want of room


@attrs.frozen
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes


@attrs.frozen
class Size:
    """Of a terminal, in characters."""

    width: int
    height: int


@attrs.frozen
class Streams:
    """The ends that a running command is joined to; None: not wanted.

    `stdin` gives some input, b"" at its end; `stdout` and `stderr` take output and wait for room. All may raise
    BrokenResourceError when the other side is gone. With a terminal, `stderr` is None: all goes to `stdout`.
    """

    stdin: Callable[[], Awaitable[bytes]] | None = None
    stdout: Callable[[bytes], Awaitable[None]] | None = None
    stderr: Callable[[bytes], Awaitable[None]] | None = None
    resize: AsyncIterator[Size] | None = None


@attrs.frozen(slots=True)
class LogLine:
    """One line of output, with its newline if it has one; of a long line that comes in pieces, the last has it."""

    time: float  # seconds since the epoch
    stream: str  # "stdout" or "stderr"
    data: bytes


# --- measurements ----------------------------------------------------------------------------------------------------


@attrs.frozen
class DeviceIo:
    """Reads and writes of one block device: operations, and bytes."""

    device: str  # "/dev/sda", or "8:0" where it has no name
    major: int
    minor: int
    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0


@attrs.frozen(kw_only=True)
class Measured:
    """What the kernel counts for a group of processes. Bytes, nanoseconds, and totals since the group was made.

    All optional: a runtime whose pods are no processes leaves `cgroup` empty, and nothing of this is told of them.
    """

    cgroup: str = ""  # its path below the root of the hierarchy: "/kubepods/burstable/podUID/ID"
    cpu_user_nanoseconds: int = 0
    cpu_system_nanoseconds: int = 0
    cpu_periods: int = 0  # in which it could run under a limit (cpu.stat: nr_periods)
    cpu_throttled_periods: int = 0
    cpu_throttled_nanoseconds: int = 0
    cpu_quota: int = 0  # microseconds of each period; 0: no limit
    cpu_period: int = 0  # microseconds
    cpu_shares: int = 0  # as cgroup v1 counts them
    memory_usage: int = 0  # with page cache; 0: not known
    memory_mapped_file: int = 0
    memory_kernel: int = 0
    memory_swap: int = 0
    memory_max_usage: int = 0
    memory_swap_limit: int = 0  # memory and swap together; 0: no limit
    memory_reservation: int = 0
    memory_failcnt: int = 0  # how often the limit was met
    memory_active_file: int = 0
    memory_inactive_file: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    oom_kills: int = 0
    processes: int = 0
    threads: int = 0
    threads_limit: int = 0  # 0: none
    file_descriptors: int = 0
    sockets: int = 0
    pressure: tuple[int, ...] = ()  # microseconds lost waiting, by some and by all: of CPU, memory, I/O; () if unknown
    io: tuple[DeviceIo, ...] = ()


@attrs.frozen
class ContainerStats(Measured):
    """Use of resources by one container, as measured at `time`."""

    id: str
    name: str
    image: str
    attempt: int
    started_at: float
    time: float
    cpu_nanoseconds: int  # total since it started
    cpu_nanocores: int  # rate now
    memory_working_set: int  # bytes, like all sizes here
    memory_rss: int
    memory_cache: int = 0
    memory_limit: int = 0
    fs_used: int = 0  # the writable layer
    fs_reads: int = 0
    fs_writes: int = 0
    fs_read_bytes: int = 0
    fs_write_bytes: int = 0
    fs_inodes_used: int = 0
    logs_used: int = 0


@attrs.frozen
class VolumeStats:
    """What one `empty` or `files` volume of a pod takes."""

    name: str
    used: int  # bytes
    inodes: int = 0


@attrs.frozen
class Filesystem:
    """Where the runtime keeps images and what containers write."""

    path: str
    capacity: int  # bytes, like the others
    available: int
    used: int  # by the runtime
    inodes: int = 0
    inodes_free: int = 0


@attrs.frozen
class PodStats(Measured):
    """A pod's containers and volumes, and the traffic of its network interface.

    `containers` are those of the pod's specification, without a pause container: that one's share, if there is one, is
    in the figures of the pod's own cgroup.
    """

    uid: str
    name: str
    namespace: str
    sandbox_id: str
    started_at: float
    time: float
    containers: tuple[ContainerStats, ...] = ()
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_packets: int = 0
    tx_packets: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0
    volumes: tuple[VolumeStats, ...] = ()  # may be some seconds old
    rx_errors: int = 0
    tx_errors: int = 0
    # Of the pod's own cgroup, where it has one; 0: the sum over the containers.
    cpu_nanoseconds: int = 0
    cpu_nanocores: int = 0
    memory_working_set: int = 0
    memory_rss: int = 0
    memory_cache: int = 0
    memory_limit: int = 0
    sandbox_image: str = ""


# --- events ----------------------------------------------------------------------------------------------------------

STARTED = "started"
DIED = "died"
SANDBOX_LOST = "sandbox-lost"


@attrs.frozen
class Event:
    """Something that happened without being asked for (DIED, SANDBOX_LOST), or that was (STARTED)."""

    type: str
    pod_uid: str
    sandbox_id: str
    container_id: str = ""


OnEvent = Callable[[Event], None]

# --- the contract ----------------------------------------------------------------------------------------------------


class NodeRuntime(Protocol):
    """The engine, as one node sees it: only what this node made is listed. Safe to use from many tasks."""

    # life cycle of pods

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Make the pod's network and namespaces; on return it has its address. Raises RuntimeFailure."""

    async def stop_sandbox(self, id: str) -> None:
        """Kill what still runs in it and give its address back. Stopping what is stopped or gone is no error."""

    async def remove_sandbox(self, id: str) -> None:
        """Forget it, its containers, their logs, and (with the pod's last sandbox) its `empty` volumes."""

    async def list_sandboxes(self) -> list[Sandbox]:
        """All that were not removed."""

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Returns the new container's id. Raises NoSuch (sandbox or image), or RuntimeFailure: bad config."""

    async def start_container(self, id: str) -> None:
        """On return its program runs, or has run already. Raises RuntimeFailure if it cannot be started: the
        container is EXITED then, with exit code 127 or 128 and reason ContainerCannotRun or StartError."""

    async def stop_container(self, id: str, grace_seconds: float) -> None:
        """Ask it to end (its stop signal), kill it after `grace_seconds`; returns when it has ended. No error if it
        had ended or is gone. A second call with less grace while the first waits shortens the wait."""

    async def remove_container(self, id: str) -> None:
        """Forget an exited container and its logs. No error if it is gone."""

    async def container(self, id: str) -> Container:
        """As it is now. Raises NoSuch."""

    async def list_containers(self) -> list[Container]:
        """All that were not removed, exited ones too."""

    async def update_resources(self, id: str, resources: Resources) -> None:
        """Change the limits of a running container."""

    async def update_volume(self, pod_uid: str, volume: Volume) -> None:
        """The content of a `files` volume has changed: containers see all of the new files or all of the old."""

    # images

    async def pull_image(self, image: str, credentials: Sequence[tuple[str, str]] = ()) -> Image:
        """Fetch it; `credentials` are (user, password) pairs to try. Raises ImageFailure."""

    async def image(self, image: str) -> Image | None:
        """The image if it is present."""

    async def list_images(self) -> list[Image]: ...

    async def remove_image(self, image: str) -> None:
        """No error if it is not there."""

    # commands and streams

    async def exec_sync(self, id: str, command: Sequence[str], timeout: float) -> ExecResult:
        """Run a command in a running container (probes, hooks). At most 16 KiB of each output are kept.
        Raises CommandTimeout, NoSuch, or RuntimeFailure if the container does not run."""

    async def exec(self, id: str, command: Sequence[str], streams: Streams, *, tty: bool) -> int:
        """Run a command joined to `streams`; returns its exit code. Cancelling kills the command."""

    async def attach(self, id: str, streams: Streams) -> None:
        """Join the container's own program; returns when it ends. Output from before is not repeated."""

    async def dial(self, sandbox_id: str, port: int) -> trio.abc.Stream:
        """Connect to a port inside the sandbox (port-forward, probes). Raises PortRefused."""

    def logs(
        self, id: str, *, follow: bool = False, since: float = 0.0, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """Lines in order: the last `tail` of those not older than `since` (epoch seconds). With `follow` it goes on
        with new ones until the container has ended. Raises NoSuch when iterated. Close the iterator."""

    # measurements and life of the node

    async def stats(self) -> list[PodStats]:
        """Of every running pod, cheaply: it is called once per scrape."""

    async def filesystem(self) -> Filesystem | None:
        """Where images are, as it is now. None: the runtime keeps nothing on a disk."""

    async def close(self, *, kill: bool) -> None:
        """The node stops using the engine. With `kill` its pods die with it, as in a power failure (no events,
        nothing is left to list); otherwise they run on and are listed by the next `Runtime.node` of that name."""


class Runtime(Protocol):
    """What a `kcore_runtime` provider opens to: the engine of this machine."""

    name: str  # as in containerRuntimeVersion: "docker" in docker://28.0.1
    version: str
    real: bool  # pods are programs of this machine: its size is the node's, hostPath volumes are its files
    handlers: tuple[str, ...]  # what a RuntimeClass may name (node.status.runtimeHandlers); "" is the default

    async def node(self, setup: NodeSetup, on_event: OnEvent) -> NodeRuntime:
        """The view of one node. `on_event` is called from inside trio and returns at once. A node that was closed
        without `kill` finds its pods again. Raises RuntimeFailure if the engine does not answer."""
