"""Starting and stopping the nodes of this process."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore.dns import pod_servers
from kcore.errors import KcoreError, UserError
from kcore.http.server import serve_stream
from kcore.http.tls import TlsStream
from kcore.loopback import Entry, PortInUse, loopback
from kcore.node import shutdown
from kcore.node.agent import Agent
from kcore.node.auth import Gate
from kcore.node.config import NodeConfig
from kcore.node.eviction import DEFAULT, Threshold, thresholds
from kcore.node.host import Host, open_host
from kcore.node.server import KubeletServer
from kcore.objects import Object
from kcore.registry import Context
from kcore.runtime import Runtime

if TYPE_CHECKING:
    import ssl

    from kcore_nodes import NodesConfig

SLICE_MOST = 24  # a node's slice of the pod CIDR is at most a /24: what upstream gives
HANDSHAKE_SECONDS = 10.0
RETRY_SECONDS = 1.0  # between attempts to register while the API does not answer


def _capacity(context: Context, config: NodesConfig, real: bool) -> dict[str, str]:
    found = {"cpu": "8", "memory": "16Gi", "pods": str(config.pods), "ephemeral-storage": "100Gi"}
    if real:
        from kcore.node import machine

        found = machine.capacity(context.data_dir, str(config.pods))
    own = {"cpu": config.cpu, "memory": config.memory, "ephemeral-storage": config.storage}
    return {**found, **{k: v for k, v in own.items() if v}, **config.resources}


def _thresholds(config: NodesConfig) -> tuple[Threshold, ...]:
    try:
        return thresholds({**DEFAULT, **config.eviction})
    except ValueError as error:
        raise UserError(f"nodes.eviction: {error}") from error


def node_configs(context: Context, config: NodesConfig, *, real: bool = False) -> list[NodeConfig]:
    """The nodes that the config describes. Raises UserError when there are not enough addresses."""
    if not config.count:
        return []
    pods, addresses = IPv4Network(context.cluster.pod_cidr), IPv4Network(context.cluster.node_cidr)
    last = config.first - 1 + config.count
    prefix = max(SLICE_MOST, pods.prefixlen + (last - 1).bit_length())
    if prefix > 29:
        raise UserError(f"cluster.pod_cidr {pods} is too small for {last} nodes; choose a larger one")
    if last + 2 > addresses.num_addresses:
        raise UserError(f"cluster.node_cidr {addresses} is too small for {last} nodes; choose a larger one")
    size = 2 ** (32 - prefix)
    capacity, limits = _capacity(context, config, real), _thresholds(config)
    taints = tuple(_taint(t) for t in config.taints)
    out = []
    for i in range(config.first - 1, last):
        labels = dict(config.labels)
        if config.region:
            labels["topology.kubernetes.io/region"] = config.region
        if config.zones:
            labels["topology.kubernetes.io/zone"] = config.zones[i % len(config.zones)]
        name = config.name.replace("{n}", str(i + 1))
        out.append(
            NodeConfig(
                name=name,
                address=str(addresses[i + 1]),
                pod_cidr=f"{pods.network_address + i * size}/{prefix}",
                port=config.port,
                capacity=capacity,
                labels=labels,
                taints=taints,
                provider_id=f"kcore://{name}",
                heartbeat_seconds=config.heartbeat,
                status_seconds=config.report,
                data_dir=str(context.data_dir),
                reserved=config.reserved,
                thresholds=limits,
                pressure_transition=config.pressure_transition,
                image_high=config.image_high,
                image_low=config.image_low,
                allowed_sysctls=tuple(config.sysctls),
                static_pods=config.static_pods,
                shutdown_grace=config.shutdown_grace,
                shutdown_critical=config.shutdown_critical,
                phase=(i + 1) / last,
            )
        )
    if len({c.name for c in out}) < len(out):
        raise UserError(f"nodes.name {config.name!r} gives all nodes the same name; put {{n}} into it")
    return out


def _taint(text: str) -> Object:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    if not key or effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise UserError(f"nodes.taints: {text!r} is not key=value:Effect, with NoSchedule or NoExecute for the effect")
    return {"key": key, "value": value, "effect": effect} if value else {"key": key, "effect": effect}


@attrs.define(eq=False)
class Nodes:
    """The open part: what the slot ``nodes`` holds."""

    _context: Context
    _host: Host
    _engine: Runtime
    _configs: dict[str, NodeConfig]
    _server: KubeletServer
    _tls: ssl.SSLContext | None
    _serve: bool
    close_seconds: float = 0.0
    """What closing may take, beyond what any part may."""
    _agents: dict[str, Agent] = attrs.Factory(dict)
    _entries: dict[str, Entry] = attrs.Factory(dict)
    _ready: trio.Event = attrs.Factory(trio.Event)

    @property
    def names(self) -> list[str]:
        """All nodes of the config, running or not."""
        return list(self._configs)

    @property
    def running(self) -> list[str]:
        return list(self._agents)

    @property
    def engine(self) -> Runtime:
        """What runs the pods of all nodes."""
        return self._engine

    @property
    def ports_moved(self) -> dict[int, int]:
        """Ports below 1024 that pods asked for and that are served elsewhere: asked -> served."""
        return dict(getattr(self._engine, "ports_moved", {}))

    async def ready(self) -> None:
        """Until every node has registered and renewed its Lease for the first time."""
        await self._ready.wait()

    def agent(self, name: str) -> Agent:
        """The agent of a running node. Raises UserError."""
        try:
            return self._agents[name]
        except KeyError:
            known = "is stopped" if name in self._configs else f"is none of {', '.join(self._configs)}"
            raise UserError(f"node {name} {known}") from None

    async def stop(self, name: str) -> None:
        """The machine loses its power: no heartbeat any more, its pods and their sockets are gone, nobody is told."""
        agent = self.agent(name)
        del self._agents[name]
        self._unserve(agent)
        await agent.stop(kill=True)

    async def start(self, name: str) -> None:
        """Power up a stopped node. On return it is registered."""
        if name in self._agents:
            return
        if name not in self._configs:
            raise UserError(f"node {name} is none of {', '.join(self._configs)}")
        await self._start(self._configs[name])

    async def _start(self, config: NodeConfig) -> None:
        agent = Agent(self._host, self._engine, config)
        while True:
            try:
                await agent.start()
                break
            except (KcoreError, OSError) as error:
                self._context.log.warning("node %s cannot register: %s", config.name, error)
                await trio.sleep(RETRY_SECONDS)
        self._agents[config.name] = agent
        if self._serve:
            self._listen(config)
            self._server.add(agent)

    async def start_all(self, limit: int) -> None:
        """Start all nodes, `limit` at a time."""
        left = iter(list(self._configs.values()))

        async def some() -> None:
            for config in left:
                await self._start(config)

        async with trio.open_nursery() as nursery:
            for _ in range(min(limit, len(self._configs))):
                nursery.start_soon(some)
        self._ready.set()

    # --- kubelets ----------------------------------------------------------------------------------------------------

    def listen_all(self) -> None:
        """Take the kubelets' ports; until a node has registered, its kubelet answers 503. Raises UserError."""
        try:
            for config in self._configs.values() if self._serve else ():
                self._listen(config)
        except BaseException:
            self.close()
            raise

    def _listen(self, config: NodeConfig) -> None:
        if config.name in self._entries:
            return
        try:
            entry = loopback().listen(config.address, config.port, self._connection, self._host.nursery)
        except (PortInUse, OSError) as error:
            raise UserError(
                f"node {config.name}: cannot listen on {config.address}:{config.port}: {error}; "
                "stop the program that has it, or choose another port with nodes.port"
            ) from error
        self._entries[config.name] = entry

    def _unserve(self, agent: Agent) -> None:
        self._server.remove(agent)
        entry = self._entries.pop(agent.name, None)
        if entry is not None:
            entry.close()

    async def _connection(self, accepted: trio.SocketStream) -> None:
        stream: trio.abc.Stream = accepted
        certificate = None
        names = accepted.socket.getpeername(), accepted.socket.getsockname()
        if self._tls is not None:
            secure = TlsStream(accepted, self._tls, server_side=True)
            with trio.move_on_after(HANDSHAKE_SECONDS) as scope:
                await secure.handshake()
            if scope.cancelled_caught:
                return
            certificate = secure.ssl.getpeercert(binary_form=True)
            stream = secure
        peer, local = (f"{n[0]}:{n[1]}" for n in names)
        await serve_stream(
            stream, self._server.handle, log=self._context.log, peer=peer, local=local, certificate=certificate
        )

    async def shut_down(self) -> None:
        """End the pods of all nodes in order, as machines do that are switched off properly."""
        async with trio.open_nursery() as nursery:
            for agent in self._agents.values():
                nursery.start_soon(shutdown.shut_down, agent)

    def close(self) -> None:
        """Nothing is left listening."""
        for entry in self._entries.values():
            entry.close()


@asynccontextmanager
async def open_nodes(context: Context, config: NodesConfig) -> AsyncIterator[Nodes]:
    """Yields when the nodes have begun to register; `Nodes.ready` tells when all have."""
    logging.getLogger("kcore.node").parent = context.log
    node_configs(context, config)  # mistakes are told before anything opens
    chosen: dict[str, Any] = dict(config.runtime)
    runtime = context.choose("runtime", chosen.pop("use", "fake"), chosen, f"{context.name}.runtime")
    tls = await trio.to_thread.run_sync(_tls, context) if config.serve else None
    alone = config.name.replace("{n}", str(config.first)) if config.count == 1 else ""
    async with (
        runtime.open(context) as engine,
        open_host(
            context.client(),
            context.cluster,
            only=alone,  # it may see no pods but its own
            dns_servers=tuple(config.cluster_dns) or pod_servers(context),
            concurrency=config.concurrency,
        ) as host,
    ):
        configs = {c.name: c for c in node_configs(context, config, real=engine.real)}
        nodes = Nodes(context, host, engine, configs, KubeletServer(Gate()), tls, config.serve)
        nodes.listen_all()  # before anybody relies on the part: a taken port is the user's to see at once
        host.nursery.start_soon(nodes.start_all, config.concurrency)
        if config.pod_routes and configs:
            from kcore_nodes.routes import keep_routes

            host.nursery.start_soon(keep_routes, context, config, configs)
        nodes.close_seconds = config.shutdown_grace + shutdown.WRITE_SECONDS * 2 if config.shutdown_grace else 0.0
        try:
            yield nodes
            if config.shutdown_grace:
                await nodes.shut_down()
        finally:
            nodes.close()


def _tls(context: Context) -> ssl.SSLContext:
    """One certificate for all kubelets of the process: who dials them checks the CA, not the name."""
    from kcore.pki import Pki

    return Pki.open(context.keys).server_context(("kubelet", "localhost", "127.0.0.1"))
