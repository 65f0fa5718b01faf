"""Opening the API part: keys, machinery, plugins in it, listeners -- in the order in which they need each other."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore.api.auth import Attributes, Decision, User
from kcore.client.measured import MeasuredClient, Requests
from kcore.http import strangers
from kcore.http.limits import Limits
from kcore.http.listen import bound, listen
from kcore.http.server import serve
from kcore.pki import Pki
from kcore.registry import Context
from kcore_api_http.order import in_order

if TYPE_CHECKING:
    from kcore.api.kinds import KindTable
    from kcore.api.server import ApiServer
    from kcore.client import Client
    from kcore.store import Store
    from kcore_api_http import Config

ADMIN, ADMIN_GROUP = "kubernetes-admin", "system:masters"
EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Every address of this machine -> its loopback address of that family."""
_ALLOWED, _NO_OPINION = Decision(True), Decision(None)
_SELF = User("system:apiserver", ("system:masters", "system:authenticated"))


@attrs.define
class ApiPart:
    """The open API: what the slot ``api`` holds."""

    server: ApiServer
    pki: Pki
    address: tuple[str, int]
    """(host, port) that it listens on."""
    cluster_name: str

    @property
    def url(self) -> str:
        host, port = self.address
        host = EVERY.get(host, host)
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def client(self, user: User | None = None) -> Client:
        """In this process, without HTTP; None is the API server itself."""
        found: Client = self.server.client(user or _SELF)
        return found

    def admin_kubeconfig(self) -> dict[str, Any]:
        """What `kcore.kubeconfig.write` wants to know for the administrator, to whom everything is allowed."""
        certificate, key = self.pki.client_certificate(ADMIN, (ADMIN_GROUP,))
        return {
            "server": self.url,
            "ca_pem": self.pki.ca_pem,
            "certificate": certificate,
            "key": key,
            "cluster": self.cluster_name if self.cluster_name.startswith("kcore") else f"kcore-{self.cluster_name}",
        }


@asynccontextmanager
async def open_api(context: Context, config: Config) -> AsyncIterator[ApiPart]:
    """Serves until the block is left; yields when the first request would be answered."""
    from kcore.api.server import ApiServer

    limits = Limits(
        body_bytes=config.max_body_bytes,
        connections=config.max_connections,
        streams=config.max_streams,
        grace_seconds=config.grace_seconds,
        request_seconds=config.request_timeout_seconds,
        header_bytes=config.max_header_bytes,
        url_bytes=config.max_header_bytes // 4,
    )
    listener = await listen(config.port, config.address)  # first: the mistake that people make most
    async with AsyncExitStack() as stack:
        stack.push_async_callback(trio.aclose_forcefully, listener)
        address = bound(listener)
        advertised = config.advertise_address or reached_at(address[0])
        pki = Pki.open(context.keys)
        tls = pki.server_context(certificate_names(context, config, address[0], advertised))
        if not strangers.admit(tls):
            context.log.info("certificates of other authorities end the TLS handshake here: OpenSSL is out of reach")
        server = ApiServer(
            await stack.enter_async_context(encrypting(context, config)),
            gather_kinds(context, config),
            cluster=context.cluster,
            authenticators=[],
            authorizers=[Masters()],
            admission=[],
            routes=[],
            metrics=context.metrics,
            log=context.log,
        )
        part = ApiPart(server, pki, address, context.cluster.name)
        await stack.enter_async_context(running(server.run))
        inner = PartContext(context, part)
        if config.encryption:
            keys = await stack.enter_async_context(trio.open_nursery())
            stack.callback(keys.cancel_scope.cancel)
            keys.start_soon(follow_keys, context, config, server)
        if config.audit:
            await stack.enter_async_context(auditing(inner, config, server))
        for seam, names, into in (
            ("authenticator", config.authentication, server.authenticators),
            ("authorizer", config.authorization, server.authorizers),
            ("admission", in_order(config.admission), server.admission),
            ("route", config.routes, server.routes),
        ):
            for name in names:
                choice = context.choose(seam, name, config.settings.get(name, {}), f"api.settings.{name}")
                into.append(await stack.enter_async_context(choice.open(inner)))
        for name in config.extensions:
            choice = context.choose("extension", name, config.settings.get(name, {}), f"api.settings.{name}")
            await stack.enter_async_context(choice.open(inner))
        await stack.enter_async_context(fair(server, config))
        await server.publish(advertised, address[1])
        http = partial(serve, server.handle, [listener], ssl_context=tls, limits=limits, log=context.log)
        await stack.enter_async_context(running(http))
        stack.push_async_callback(announce_the_end, server, config.shutdown_delay_seconds)
        yield part


async def announce_the_end(server: ApiServer, delay: float) -> None:
    """Before the listener closes: not ready any more, for long enough that load balancers may notice."""
    server.drain()
    with trio.CancelScope(shield=True):
        await trio.sleep(delay)
    server.refuse()


@asynccontextmanager
async def encrypting(context: Context, config: Config) -> AsyncIterator[Store]:
    """The store; encrypted, if the config says so. The keys are read again whenever their file changes."""
    store: Store = context.part("store")
    if not config.encryption:
        yield store
        return
    from kcore.api.atrest.config import read
    from kcore.api.atrest.store import EncryptedStore

    yield EncryptedStore(store, read(context.data_dir / config.encryption))


async def follow_keys(context: Context, config: Config, server: ApiServer) -> None:
    """For ever."""
    from kcore.api.atrest.config import read
    from kcore.errors import ConfigError
    from kcore.filewatch import changes

    path = context.data_dir / config.encryption
    async with changes(path) as changed:
        async for _ in changed:
            try:
                server.store.rules = await trio.to_thread.run_sync(read, path)  # type: ignore[attr-defined]
            except ConfigError as error:
                context.log.error("the encryption keys stay as they were: %s", error)
            else:
                await server.feed.look_again()


@asynccontextmanager
async def auditing(context: PartContext, config: Config, server: ApiServer) -> AsyncIterator[None]:
    """Tell the sinks of the config what the policy says; read the policy again whenever its file changes."""
    from kcore.api.audit import policy
    from kcore.api.audit.records import Auditor
    from kcore.errors import ConfigError
    from kcore.filewatch import changes

    if not config.audit_policy:
        raise ConfigError(["api.audit_policy: a file is required: without a policy nothing is told to api.audit"])
    path = context.data_dir / config.audit_policy

    async def follow() -> None:
        async with changes(path) as changed:
            async for _ in changed:
                try:
                    auditor.policy = await trio.to_thread.run_sync(policy.read, path)
                except ConfigError as error:
                    context.log.error("the audit policy stays as it was: %s", error)

    async with AsyncExitStack() as stack:
        sinks = []
        for name in config.audit:
            choice = context.choose("audit", name, config.settings.get(name, {}), f"api.settings.{name}")
            sinks.append(await stack.enter_async_context(choice.open(context)))
        auditor = Auditor(policy.read(path), sinks)
        context.metrics.collect_with(auditor)
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(follow)
        server.auditor = auditor
        try:
            yield
        finally:
            server.auditor = None
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def fair(server: ApiServer, config: Config) -> AsyncIterator[None]:
    """Priority and fairness, by the objects that say how."""
    if not config.priority_and_fairness:
        yield
        return
    from kcore.api.flow import dump
    from kcore.api.flow.control import FlowControl
    from kcore.api.flow.keeper import Keeper

    control = FlowControl(config.max_requests_inflight + config.max_mutating_requests_inflight)
    server.metrics.collect_with(control)
    server.routes.append(dump.routes(control))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.run)
        await nursery.start(Keeper(server, control).run)
        server.flow = control
        try:
            yield
        finally:
            server.flow = None
            nursery.cancel_scope.cancel()


class Masters:
    """The group system:masters may do everything, whatever else is configured: as upstream, it is always asked first.

    Without it the plugins inside the API could not read what they decide by.
    """

    async def authorize(self, attributes: Attributes) -> Decision:
        return _ALLOWED if ADMIN_GROUP in attributes.user.groups else _NO_OPINION


@asynccontextmanager
async def running(task: Callable[..., Awaitable[None]]) -> AsyncIterator[None]:
    """A task that runs as long as the block; it has reported that it started when the block begins."""
    async with trio.open_nursery() as nursery:
        await nursery.start(task)
        yield
        nursery.cancel_scope.cancel()


def gather_kinds(context: Context, config: Config) -> KindTable:
    """All kinds of the plugins that the config names."""
    from kcore.api.kinds import KindTable

    table = KindTable()
    for name in config.kinds or [""]:
        for kind in context.offers("kinds", name):
            table.add(kind)
    table.definitions = next(iter(context.offers("definitions")), None)
    return table


def reached_at(host: str) -> str:
    """Where others find a server that listens at `host`."""
    if host not in EVERY:
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))  # nothing is sent
        except OSError:  # no way out: only this machine asks
            return EVERY[host]
        found: str = sock.getsockname()[0]
        return found


def certificate_names(context: Context, config: Config, host: str, advertised: str) -> list[str]:
    """Under which names clients reach this server: as upstream, the first service address is the API's own."""
    first = ipaddress.ip_network(context.cluster.service_cidr)[1]
    names = {"localhost", "127.0.0.1", "::1", str(first), socket.gethostname().lower(), *config.hostnames}
    names |= {host, advertised} - {*EVERY}
    service = "kubernetes.default.svc"
    names |= {"kubernetes", "kubernetes.default", service, f"{service}.{context.cluster.domain}"}
    return sorted(n for n in names if n)


class PartContext:
    """The context of plugins inside the API: the same, but their client and ``part("api")`` are this API's own.

    While they open, the kernel does not yet know of this API.
    """

    def __init__(self, outer: Context, api: ApiPart):
        self._outer, self._api = outer, api
        self._requests = Requests(outer.metrics)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outer, name)

    def client(self, user: User | None = None) -> Client:
        return MeasuredClient(self._api.client(user), self._requests)

    def part(self, slot: str) -> Any:
        return self._api if slot == "api" else self._outer.part(slot)
