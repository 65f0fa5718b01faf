"""The controller that most controllers are: informers feed keys to a queue, workers reconcile them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import trio

from kcore.client.workqueue import WorkQueue, run_workers
from kcore.objects import Object
from kcore.objects.meta import key as key_of
from kcore.registry import Context, NoConfig, Provider

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from kcore.api.auth import User
    from kcore.client import Client
    from kcore.client.events import Recorder
    from kcore.client.informer import Handler, Informer, Informers
    from kcore.controller import Controller, ControllerContext
    from kcore.metrics import Metrics
    from kcore.objects.resources import GVR
    from kcore.registry import Choice, Cluster


@attrs.define
class SharedContext:
    """A `ControllerContext`: the manager's own context, and what its controllers share."""

    name: str
    cluster: Cluster
    data_dir: Path
    log: logging.Logger
    metrics: Metrics
    informers: Informers
    recorder: Recorder
    workers: int
    context: Context
    """The manager's."""

    @staticmethod
    def of(context: Context, name: str, informers: Informers, recorder: Recorder, workers: int = 5) -> SharedContext:
        log = context.log.getChild(name)
        return SharedContext(
            name, context.cluster, context.data_dir, log, context.metrics, informers, recorder, workers, context
        )

    @property
    def keys(self) -> Path:
        return self.context.keys

    def file(self, path: str) -> Path:
        return self.context.file(path)

    def client(self, user: User | None = None) -> Client:
        return self.context.client(user)

    def part(self, slot: str) -> Any:
        return self.context.part(slot)

    def choose(self, seam: str, name: str, config: dict[str, Any], where: str) -> Choice:
        return self.context.choose(seam, name, config, where)

    def offers(self, seam: str, name: str = "") -> list[Any]:
        return self.context.offers(seam, name)

    def registries(self) -> dict[str, Metrics]:
        return self.context.registries()


class Reconciler:
    """A control loop. A subclass names itself, watches in `__init__`, and implements `reconcile`."""

    name: ClassVar[str]
    max_workers: ClassVar[int] = 1_000_000
    """1 for a controller whose keys are not independent of each other."""

    def __init__(self, context: ControllerContext):
        self.context = context
        self.client: Client = context.client()
        self.informers = context.informers
        self.recorder = context.recorder
        self.log = context.log
        self.queue: WorkQueue[str] = WorkQueue(self.name)
        self._used: list[Informer] = []
        self._handlers: list[tuple[Informer, Handler]] = []
        self._stops: list[Callable[[], None]] = []

    # --- for subclasses ---

    def watch(
        self,
        resource: GVR,
        handler: Handler | None = None,
        *,
        namespace: str = "",
        field_selector: str = "",
        outline: bool = False,
    ) -> Informer:
        """The shared informer, which `run` waits for; `handler` is called for its changes while this loop runs."""
        informer = self.informers.get(resource, namespace=namespace, field_selector=field_selector, outline=outline)
        self._used.append(informer)
        if handler is not None:
            self.handle(informer, handler)
        return informer

    def handle(self, informer: Informer, handler: Handler) -> None:
        """Call `handler` for what is there and what changes, from the start of `run` on: not before the subclass is
        complete, although the shared informer may already be full."""
        self._handlers.append((informer, handler))

    def enqueue(self, old: Object | None, new: Object | None) -> None:
        """A handler: look at the object that has changed."""
        self.queue.add(key_of(new or old or {}))

    async def reconcile(self, key: str) -> float | None:
        """Take a step for the object of that name; it may be gone. Return seconds to be called again."""
        raise NotImplementedError

    async def background(self) -> None:
        """Anything that runs beside the workers."""

    # --- for the manager ---

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled. Starts as soon as all informers of the loop have listed."""
        self._stops += [informer.on_change(handler) for informer, handler in self._handlers]
        task_status.started()
        try:
            for informer in self._used:
                await informer.synced.wait()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.background)
                workers = min(self.context.workers, self.max_workers)
                await run_workers(self.queue, self.reconcile, workers, self.log, self.context.metrics)
        finally:
            for stop in self._stops:
                stop()


@asynccontextmanager
async def _opened(controller: Reconciler) -> AsyncIterator[Reconciler]:
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        yield controller
        nursery.cancel_scope.cancel()


def provider(
    make: Callable[..., Reconciler], name: str, config: type = NoConfig, help: str = ""
) -> Provider[Controller]:
    """Offer a `Reconciler`: ``make(context)``, or ``make(context, config)`` if it has a config class."""

    def open(context: Any, settings: Any) -> AbstractAsyncContextManager[Controller]:
        return _opened(make(context) if config is NoConfig else make(context, settings))

    return Provider(name, open, config, help)
