"""The kernel: open parts in order, supervise them, swap them while the cluster runs, close them in reverse.

The kernel knows no part by what it does. A *slot* holds one part; a `_Tenure` is one part's time in its slot, from the
moment its provider is entered until it has been left, in a task of its own. A part that crashes is opened again with
back-off; one that is swapped is closed when its successor is open (or, where both would want the same file or
port, before, with a way back).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore import clock
from kcore.config import SLOTS, Config, Connect, Table, structure
from kcore.errors import ConfigError, KcoreError, ServiceUnavailable, UserError
from kcore.metrics import Metrics
from kcore.plugins import Plugins
from kcore.registry import Choice, Cluster

if TYPE_CHECKING:
    from kcore.client.measured import Requests

CLOSE_SECONDS = 2.0
"""How long all parts together may take to close before they are cancelled."""
BACKOFF = (0.1, 30.0)
"""First and longest pause before a crashed part is opened again; doubled each time, forgotten after a quiet minute."""
QUIET = 60.0

IDENTITIES = {
    "scheduler": "system:kube-scheduler",
    "controller_manager": "system:kube-controller-manager",
    "proxy": "system:kube-proxy",
    "dns": "system:kube-dns",
    "metrics": "system:kube-metrics",
    "nodes": "system:nodes",
}
"""Who a part is towards the API when it does not say: upstream's component users."""

Progress = Callable[[str, str, float], None]
"""Called with (slot, provider, seconds) when a part has opened for the first time."""


@attrs.define
class Slot:
    """A place for one part."""

    name: str
    choice: Choice
    table: Table
    part: Any = None
    state: str = "closed"  # opening, open, failed, closed
    restarts: int = 0
    error: str = ""
    opened_at: float = 0.0  # epoch seconds
    opening_seconds: float = 0.0
    tenure: _Tenure | None = None


class Kernel:
    """A cluster in one process, from its config. `run` it in a nursery; use `swap` and `parts` meanwhile."""

    def __init__(
        self, config: Config, data_dir: Path, *, plugins: Plugins | None = None, progress: Progress | None = None
    ):
        """Checks the whole config; nothing is opened yet. Raises ConfigError with all problems."""
        self.config = config
        self.data_dir = data_dir
        self.plugins = plugins or Plugins()
        self.log = logging.getLogger("kcore")
        self.metrics = Metrics("kcore")
        self._progress = progress or (lambda slot, provider, seconds: None)
        self._registries: dict[str, Metrics] = {"kcore": self.metrics}
        self._restarts: Any = None
        self._stop = trio.Event()
        self.stopped = trio.Event()
        """Set when every part has been closed."""
        self._chosen: dict[str, dict[str, set[str]]] = {}
        self._nursery: trio.Nursery | None = None
        self._remotes: dict[str, Any] = {}  # clients of a process without an API, by slot
        self._failure: BaseException | None = None
        self.slots: dict[str, Slot] = {}
        self.cluster, self.connect = self._check(config)

    # --- reading the config ----------------------------------------------------------------------------------------

    def _check(self, config: Config) -> tuple[Cluster, Connect]:
        problems: list[str] = []
        cluster, connect = Cluster(), Connect()
        try:
            cluster = structure(Cluster, config.table("cluster") or {}, f"{config.source}: cluster")
        except ConfigError as e:
            problems += e.problems
        try:
            connect = structure(Connect, config.table("connect") or {}, f"{config.source}: connect")
        except ConfigError as e:
            problems += e.problems
        for name in SLOTS:
            table = config.table(name)
            if table is None:
                continue
            try:
                choice = self.plugins.choose(name, table["use"], table, f"{config.source}: {name}")
            except ConfigError as e:
                problems += e.problems
            else:
                self.slots[name] = Slot(name, choice, table)
        if problems:
            raise ConfigError(problems)
        return cluster, connect

    # --- running ---------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open every slot, then serve until `stop` is called or cancelled, then close in reverse.

        Raises what the first opening of a part raised, or what ended the store.
        """
        try:
            await self._run(task_status)
        except BaseExceptionGroup as group:
            raise _plain(group) from None
        finally:
            self.stopped.set()
        if self._failure is not None:
            raise self._failure

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                async with self._remote_clients():
                    with trio.CancelScope() as opening:
                        nursery.start_soon(self._cancel_when_stopped, opening)
                        for slot in self.slots.values():
                            await self._enter(slot, slot.choice)
                            self._progress(slot.name, slot.choice.provider.name, slot.opening_seconds)
                    if opening.cancelled_caught:
                        raise KcoreError("stopped while it was opening")
                    task_status.started()
                    await self._stop.wait()
            finally:
                # a part may have something to end in order (nodes their pods): it says how long that takes
                more = max((getattr(slot.part, "close_seconds", 0.0) for slot in self.slots.values()), default=0.0)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS + more):
                    await self._close_all()
                nursery.cancel_scope.cancel()

    async def _cancel_when_stopped(self, opening: trio.CancelScope) -> None:
        await self._stop.wait()
        opening.cancel()

    def stop(self) -> None:
        """Begin to close; what is still opening is given up."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def parts(self) -> dict[str, Any]:
        """The parts that are open now, by slot."""
        return {s.name: s.part for s in self.slots.values() if s.state == "open"}

    async def _enter(self, slot: Slot, choice: Choice) -> None:
        assert self._nursery is not None
        tenure = _Tenure(self, slot, choice)
        began = trio.current_time()
        slot.state = "opening" if slot.part is None else slot.state
        await self._nursery.start(tenure.run)
        slot.choice, slot.tenure = choice, tenure
        slot.opening_seconds = trio.current_time() - began

    async def _close_all(self) -> None:
        for slot in reversed(list(self.slots.values())):
            if slot.tenure is not None:
                await slot.tenure.close()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._stop.set()

    # --- swapping --------------------------------------------------------------------------------------------------

    async def swap(self, name: str, table: Table) -> float:
        """Put another part into a slot of the running cluster. Returns the seconds it took.

        Raises ConfigError for bad settings, or what the opening raised; the old part serves on in either case.
        """
        slot = self.slots.get(name)
        if slot is None:
            raise UserError(f"this process has no slot '{name}'; it has: {', '.join(self.slots)}")
        if name == "store":
            raise UserError(
                "the store cannot be swapped in a running cluster: stop it and start it with another config"
            )
        choice = self.plugins.choose(name, table["use"], table, f"swap: {name}")
        began = trio.current_time()
        old_choice, old = slot.choice, slot.tenure
        if choice.provider.exclusive or old_choice.provider.exclusive:
            if old is not None:
                await old.close()
            try:
                await self._enter(slot, choice)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await self._enter(slot, old_choice)
                raise
        else:
            await self._enter(slot, choice)
            if old is not None:
                await old.close()
        slot.table = table
        self.log.info("%s: swapped to %s", name, choice.provider.name)
        return trio.current_time() - began

    # --- what parts are given --------------------------------------------------------------------------------------

    def registries(self) -> dict[str, Metrics]:
        """The metrics of every part that is open, by slot; ``kcore`` is the kernel's own."""
        return dict(self._registries)

    @asynccontextmanager
    async def _remote_clients(self) -> AsyncIterator[None]:
        if "api" in self.slots:
            yield
            return
        from kcore import kubeconfig
        from kcore.client import remote

        async with AsyncExitStack() as stack:
            for slot, path in {"": self.connect.kubeconfig, **self.connect.parts}.items():
                settings = kubeconfig.load(self.config.directory / path)
                self._remotes[slot] = await stack.enter_async_context(remote.connect(settings))
            yield

    @property
    def keys(self) -> Path:
        """See `kcore.registry.Context.keys`."""
        return self.config.directory / self.connect.keys if self.connect.keys else self.data_dir

    def client(self, slot: str, user: Any) -> Any:
        """A client for a part; see `kcore.registry.Context.client`."""
        if "api" not in self.slots:
            return self._remotes.get(slot) or self._remotes[""]
        from kcore.api.auth import User

        if user is None:
            user = User(IDENTITIES.get(slot, f"system:{slot}"))
        return _SwappableClient(self.slots["api"], user)

    def choose(self, slot: str, seam: str, name: str, table: Table, where: str) -> Choice:
        """A provider for a part inside a part; remembered, so that it can be shown."""
        choice = self.plugins.choose(seam, name, table, where)
        self._chosen.setdefault(slot, {}).setdefault(seam, set()).add(name)
        return choice

    def chosen(self, slot: str) -> dict[str, list[str]]:
        """What the part in a slot has chosen for itself, by seam."""
        return {seam: sorted(names) for seam, names in self._chosen.get(slot, {}).items()}

    def count_restart(self, slot: Slot) -> None:
        if self._restarts is None:
            self._restarts = self.metrics.counter(
                "kcore_part_restarts", "Parts opened again after a crash.", ["part", "provider"]
            )
        slot.restarts += 1
        self._restarts.labels(slot.name, slot.choice.provider.name).inc()


@attrs.define(eq=False)
class _Tenure:
    """One provider's time in a slot."""

    kernel: Kernel
    slot: Slot
    choice: Choice
    closing: trio.Event = attrs.Factory(trio.Event)
    closed: trio.Event = attrs.Factory(trio.Event)
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        pause = BACKOFF[0]
        first = True
        try:
            with self.scope:
                while not self.closing.is_set():
                    began = trio.current_time()
                    try:
                        await self._serve(task_status if first else None)
                    except Exception as e:
                        if first and self.slot.tenure is not self:
                            raise _plain(e) from e  # it has never been open: whoever asked for it decides
                        self._crashed(e)
                        if self.slot.name == "store":
                            self.kernel._fail(KcoreError(f"the store has failed: {_plain(e)}"))
                            return
                        pause = BACKOFF[0] if trio.current_time() - began > QUIET else min(pause * 2, BACKOFF[1])
                        with trio.move_on_after(pause):
                            await self.closing.wait()
                    first = False
        finally:
            self.closed.set()

    async def close(self) -> None:
        """Leave the slot; returns when everything that belonged to the part is gone."""
        self.closing.set()
        try:
            await self.closed.wait()
        finally:
            self.scope.cancel()

    async def _serve(self, task_status: trio.TaskStatus[None] | None) -> None:
        slot, kernel = self.slot, self.kernel
        context = _Context(kernel, slot.name, Metrics(slot.name))
        kernel._chosen.pop(slot.name, None)
        async with self.choice.open(context) as part:
            slot.part, slot.state, slot.error, slot.opened_at = part, "open", "", clock.now()
            kernel._registries[slot.name] = context.metrics
            if task_status is not None:
                task_status.started()
            else:
                kernel.count_restart(slot)
            await self.closing.wait()
            if slot.part is part:  # not after a successor has moved in
                slot.part, slot.state = None, "closed"

    def _crashed(self, error: Exception) -> None:
        self.slot.part, self.slot.state, self.slot.error = None, "failed", str(_plain(error))
        name = f"{self.slot.name} ({self.choice.provider.name})"
        self.kernel.log.error("%s crashed: %s", name, _plain(error), exc_info=error)


@attrs.define(eq=False)
class _Context:
    """See `kcore.registry.Context`."""

    kernel: Kernel
    name: str
    metrics: Metrics
    _requests: Requests | None = None

    @property
    def cluster(self) -> Cluster:
        return self.kernel.cluster

    @property
    def data_dir(self) -> Path:
        return self.kernel.data_dir

    @property
    def keys(self) -> Path:
        return self.kernel.keys

    def file(self, path: str) -> Path:
        return self.kernel.config.directory / path

    @property
    def log(self) -> logging.Logger:
        return self.kernel.log.getChild(self.name)

    def client(self, user: Any = None) -> Any:
        from kcore.client.measured import IN_PROCESS, MeasuredClient, Requests

        if self._requests is None:
            self._requests = Requests(self.metrics)
        client = self.kernel.client(self.name, user)
        host = IN_PROCESS if "api" in self.kernel.slots else client.http.url.partition("://")[2]
        return MeasuredClient(client, self._requests, host)

    def part(self, slot: str) -> Any:
        found = self.kernel.slots.get(slot)
        if found is None or found.part is None:
            raise LookupError(f"no part is open in the slot '{slot}' of this process")
        return found.part

    def choose(self, seam: str, name: str, config: Table, where: str) -> Choice:
        return self.kernel.choose(self.name, seam, name, config, where)

    def offers(self, seam: str, name: str = "") -> list[Any]:
        return self.kernel.plugins.offers(seam, name)

    def registries(self) -> dict[str, Metrics]:
        return self.kernel.registries()


class _SwappableClient:
    """A client that stays good while the API part is restarted or swapped."""

    def __init__(self, slot: Slot, user: Any):
        self._slot, self._user = slot, user
        self._part: Any = None
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        part = self._slot.part
        if part is None:
            raise ServiceUnavailable("the API server is not open at the moment; try again")
        if part is not self._part:
            self._part, self._client = part, part.client(self._user)
        return getattr(self._client, name)


def _plain(error: BaseException) -> BaseException:
    """The one error inside nested groups, where there is just one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
