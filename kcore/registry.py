"""What a plugin offers, and what a part is given when it opens.

A *seam* is a place where implementations vary (`store`, `runtime`, `policies`, ...). A plugin offers `Provider`s
for a seam; the config chooses one by name (a *slot*) or several (a *list*). A provider is opened as an async
context manager: what it yields is the *part*. Everything between entering and leaving belongs to the part --
files, sockets, tasks in a nursery of its own -- and is gone when the context manager has been left.

    @asynccontextmanager
    async def open_memory(context: Context, config: MemoryConfig) -> AsyncIterator[Store]:
        async with trio.open_nursery() as nursery:
            store = MemoryStore(config.history, nursery)
            yield store
            nursery.cancel_scope.cancel()

An exception that escapes from a task of the part escapes from the context manager: the kernel logs it with the
part's name, counts it, and opens the part again with back-off. Only the store's failure ends the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import attrs

if TYPE_CHECKING:
    from kcore.api.auth import User
    from kcore.client import Client
    from kcore.metrics import Metrics

T = TypeVar("T", covariant=True)


@attrs.frozen
class NoConfig:
    """The config class of a provider that has no settings."""


@attrs.frozen
class Cluster:
    """``[cluster]``: what every part may need to know about the whole."""

    name: str = "kcore"
    """The cluster's name: in the kubeconfig, the data directory and messages."""
    domain: str = "cluster.local"
    """The DNS domain of services."""
    service_cidr: str = "127.96.0.0/16"
    """Where ClusterIPs come from."""
    pod_cidr: str = "127.100.0.0/14"
    """Where pod addresses come from; every node gets a slice."""
    node_cidr: str = "127.90.0.0/16"
    """Where the addresses of embedded nodes come from."""
    node_ports: str = "30000-32767"
    """Where NodePorts come from."""


class Context(Protocol):
    """What a part is given when it opens. One for each part, made by the kernel (or `kcore.testing`)."""

    @property
    def name(self) -> str:
        """The part's name: ``store``, ``scheduler``, ``nodes``, ``proxy``."""

    @property
    def cluster(self) -> Cluster: ...

    @property
    def data_dir(self) -> Path:
        """A directory that survives restarts. It exists, and is this cluster's own (mode 0700)."""

    @property
    def keys(self) -> Path:
        """The data directory with the cluster's keys, for `kcore.pki.Pki.open`: `data_dir`, or ``connect.keys``."""

    def file(self, path: str) -> Path:
        """A file that a setting names: a relative path is relative to the config file's directory."""

    @property
    def log(self) -> logging.Logger: ...

    @property
    def metrics(self) -> Metrics:
        """The part's own registry: what it registers there is gone when the part closes."""

    def client(self, user: User | None = None) -> Client:
        """The cluster's API, as `user` (None: as this component's own identity, e.g. system:kube-scheduler).

        Stays good when the API part is restarted or swapped: calls raise ServiceUnavailable meanwhile.
        """

    def part(self, slot: str) -> Any:
        """The part now open in a slot of this process (``context.part("store")``). Raises LookupError."""

    def choose(self, seam: str, name: str, config: dict[str, Any], where: str) -> Choice:
        """Find provider `name` of `seam` and check its raw config section, which stood at `where` in the file.

        For parts that hold parts of their own: the API its authenticators, a node its runtime.
        """

    def offers(self, seam: str, name: str = "") -> list[Any]:
        """Everything that plugins offer for a seam (`kcore_kinds` offers kinds, not providers)."""

    def registries(self) -> dict[str, Metrics]:
        """The metrics of every open part of this process, by part: for whoever exposes them."""


@attrs.frozen
class Provider(Generic[T]):
    """An implementation on offer."""

    name: str
    """How the config calls it: ``use = "sqlite"``."""
    open: Callable[[Context, Any], AbstractAsyncContextManager[T]]
    """``open(context, config)``; `config` is an instance of the class below."""
    config: type = NoConfig
    """An `attrs.frozen` class: the settings, with defaults, validators, and a docstring line each."""
    help: str = ""
    """One line for ``kcore plugins``."""
    exclusive: bool = False
    """Two of these cannot be open at once (they want the same port or file): a swap closes the old one first."""


def lazily(path: str) -> Callable[[Context, Any], AbstractAsyncContextManager[Any]]:
    """An opener for `Provider`: the one at ``module:name`` (``acme.store:open_store``, ``acme.admission:Quota.open``),
    imported when it is first used. What a config does not choose then costs nothing at start-up."""
    module, _, name = path.partition(":")

    def open(context: Context, config: Any) -> AbstractAsyncContextManager[Any]:
        opened: AbstractAsyncContextManager[Any] = attrgetter(name)(import_module(module))(context, config)
        return opened

    return open


@attrs.frozen
class Choice:
    """A provider with its checked config, ready to be opened."""

    provider: Provider[Any]
    config: Any

    def open(self, context: Context) -> AbstractAsyncContextManager[Any]:
        return self.provider.open(context, self.config)
