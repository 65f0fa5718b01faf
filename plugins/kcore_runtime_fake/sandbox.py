"""One fake pod: an address, its ports, its volumes, its containers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from kcore import clock
from kcore.loopback import Entry, PortInUse, loopback
from kcore.runtime import (
    NOT_READY,
    READY,
    RUNNING,
    Event,
    File,
    PodStats,
    Port,
    PortRefused,
    Sandbox,
    SandboxConfig,
    Volume,
    VolumeStats,
)
from kcore.runtime.texts import hosts_file, resolv_conf
from kcore_runtime_fake.answers import Answerer
from kcore_runtime_fake.container import FakeContainer
from kcore_runtime_fake.files import Directory
from kcore_runtime_fake.files import Entry as FileEntry

if TYPE_CHECKING:
    from kcore_runtime_fake.engine import FakeNode

log = logging.getLogger("kcore.runtime.fake")


class FakeSandbox:
    """See the module. Made by `FakeNode.run_sandbox`."""

    def __init__(self, node: FakeNode, config: SandboxConfig, id: str, address: str) -> None:
        self.node, self.config, self.id, self.address = node, config, id, address
        self.state = READY
        self.created_at = clock.now()
        self.containers: dict[str, FakeContainer] = {}
        self._root: dict[str, File] | None = None
        self._answerers: dict[tuple[str, int], Answerer] = {}
        self._entries: dict[tuple[str, int], Entry | None] = {}  # None: the port was taken
        self._published: dict[tuple[str, int], Entry | None] = {}  # at the node's address
        self._owners: dict[tuple[str, int], FakeContainer] = {}
        self.received = self.sent = 0  # bytes

    def describe(self) -> Sandbox:
        c = self.config
        ips = () if c.host_network else (self.address,)
        return Sandbox(
            self.id, c.name, c.namespace, c.uid, c.attempt, self.state, ips, self.created_at, c.labels, c.annotations
        )

    @property
    def hostname(self) -> str:
        return self.config.hostname or self.config.name

    def tell(self, type: str, container_id: str) -> None:
        self.node.tell(Event(type, self.config.uid, self.id, container_id))

    def stats(self, now: float, volumes: tuple[VolumeStats, ...] = ()) -> PodStats:
        c = self.config
        return PodStats(
            uid=c.uid,
            name=c.name,
            namespace=c.namespace,
            sandbox_id=self.id,
            started_at=self.created_at,
            time=now,
            containers=tuple(x.stats(now) for x in self.containers.values() if x.state == RUNNING),
            rx_bytes=self.received,
            tx_bytes=self.sent,
            rx_packets=self.received // 1000,
            tx_packets=self.sent // 1000,
            volumes=volumes,
            processes=1 + sum(x.state == RUNNING for x in self.containers.values()),
        )

    # --- files -------------------------------------------------------------------------------------------------------

    def root_files(self) -> Directory:
        """A container's own files, as they are at its start."""
        if self._root is None:
            c = self.config
            texts = {
                "etc/hostname": f"{self.hostname}\n",
                "etc/hosts": hosts_file(c, (self.address,)),
                "etc/resolv.conf": resolv_conf(c.dns),
                "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
            }
            texts |= {f"proc/sys/{name.replace('.', '/')}": f"{value}\n" for name, value in c.sysctls.items()}
            self._root = {k: File(v.encode()) for k, v in texts.items()}
        root = Directory(self._root)
        for name in ("bin", "dev", "home", "root", "tmp", "usr", "var"):
            root.entries[name] = FileEntry(mode=0o755, directory=True)
        return root

    def directory(self, volume: Volume) -> Directory:
        return self.node.directory(self.config.uid, volume)

    # --- ports -------------------------------------------------------------------------------------------------------

    def open_ports(self, container: FakeContainer) -> None:
        """The container answers on its ports from now on."""
        for port in container.config.ports:
            key = (port.protocol, port.port)
            if port.protocol in ("TCP", "UDP") and port.port and key not in self._owners:
                self._owners[key] = container
                answerer = self._answerers[key] = Answerer(self, container, port)
                if self.node.engine.config.sockets:
                    self._listen(key, port, answerer)

    def _listen(self, key: tuple[str, int], port: Port, answerer: Answerer) -> None:
        """At the pod's address, and where the pod wants it at the node's."""
        self._entries[key] = self._listen_at(self.address, port.port, port.protocol, answerer)
        if port.host_port and not self.config.host_network:
            published = self._listen_at(self.node.setup.address, port.host_port, port.protocol, answerer)
            self._published[key] = published

    def _listen_at(self, address: str, port: int, protocol: str, answerer: Answerer) -> Entry | None:
        engine = self.node.engine
        try:
            if protocol == "TCP":
                entry = loopback().listen(address, port, answerer.serve, engine.nursery)
            else:
                entry = loopback().listen_udp(address, port, answerer.datagram)
        except (PortInUse, OSError) as error:
            log.warning("pod %s/%s: %s:%d: %s", self.config.namespace, self.config.name, address, port, error)
            return None
        if entry.moved:
            engine.ports_moved[port] = entry.port
        return entry

    def close_ports(self, container: FakeContainer | None = None) -> None:
        """Those of one container, or all."""
        for key in [k for k, owner in self._owners.items() if container is None or owner is container]:
            del self._owners[key]
            self._answerers.pop(key, None)
            for entry in (self._entries.pop(key, None), self._published.pop(key, None)):
                if entry is not None:
                    entry.close()

    async def dial(self, port: int) -> trio.abc.Stream:
        """See `NodeRuntime.dial`."""
        key = ("TCP", port)
        entry, answerer = self._entries.get(key), self._answerers.get(key)
        if entry is not None:
            return await trio.open_tcp_stream(self.address, entry.port)
        if answerer is None or self.node.engine.config.sockets:
            raise PortRefused(f"connection refused: {self.address}:{port}")
        from trio.testing import memory_stream_pair

        ours, theirs = memory_stream_pair()
        self.node.engine.nursery.start_soon(answerer.serve_closing, theirs)
        return ours

    # --- its end -----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        async with trio.open_nursery() as nursery:
            for container in self.containers.values():
                nursery.start_soon(container.stop, 0.0)
        self.down()

    def down(self) -> None:
        """Its address is free again."""
        self.close_ports()
        if self.state == READY:
            self.state = NOT_READY
            self.node.release(self)

    def forget(self) -> None:
        """The node has lost its power."""
        for container in self.containers.values():
            container.forget()
        self.down()
