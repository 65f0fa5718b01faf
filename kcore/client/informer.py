"""Informers: a local, indexed, always current copy of the objects of one resource, shared by everyone in the process.

An informer lists once, then watches. Readers look objects up without asking the API (`get`, `items`, `indexed`);
handlers are told of every change, in order, synchronously, so they should only put a key into a work queue.

    informers = Informers(client)
    pods = informers.get(PODS)
    pods.add_index("node", lambda pod: [pod["spec"].get("nodeName", "")])
    pods.on_change(lambda old, new: queue.add(key(new or old)))
    async with trio.open_nursery() as nursery:
        await nursery.start(informers.run)
        await pods.synced.wait()

Objects in an informer are shared and read-only. With `KCORE_DETECT_MUTATION` set in the environment (or
``Informers(client, detect_mutation=True)``) every object is compared with what arrived before it is replaced, and
`Informers.check` compares all of them: a component that changes a shared object is found by its tests.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore.errors import ApiError, Gone, KcoreError
from kcore.objects import Object
from kcore.objects.meta import key as key_of
from kcore.objects.resources import GVR

if TYPE_CHECKING:
    from kcore.client import Client, ObjectList

Handler = Callable[[Object | None, Object | None], None]
"""``handler(old, new)``: `old` is None for a new object, `new` for one that is gone."""
IndexFunction = Callable[[Object], Iterable[str]]

PAGE = 500  # objects per list request, as client-go's pager
BACKOFF_FIRST, BACKOFF_MAX = 0.2, 30.0  # seconds between attempts while the API cannot be reached, doubling

_log = logging.getLogger("kcore.informer")
_NONE: dict[str, Object] = {}


class MutationDetected(KcoreError):
    """Somebody changed an object that belongs to an informer."""


@attrs.define
class _Index:
    function: IndexFunction
    values: dict[str, dict[str, Object]] = attrs.Factory(dict)  # value -> key -> object

    def put(self, key: str, obj: Object) -> None:
        for value in self.function(obj):
            self.values.setdefault(value, {})[key] = obj

    def drop(self, key: str, obj: Object) -> None:
        for value in self.function(obj):
            bucket = self.values.get(value)
            if bucket is not None:
                bucket.pop(key, None)
                if not bucket:
                    del self.values[value]


class Informer:
    """The objects of one resource (in one namespace, with one field selector). Made by `Informers.get`."""

    def __init__(
        self,
        resource: GVR,
        namespace: str = "",
        field_selector: str = "",
        detect_mutation: bool = False,
        outline: bool = False,
    ):
        self.resource, self.namespace, self.field_selector = resource, namespace, field_selector
        self._options: dict[str, Any] = {"outline": True} if outline else {}
        self.synced = trio.Event()
        """Set when the first list is complete, and its handlers have run."""
        self._objects: dict[str, Object] = {}
        self._indexes: dict[str, _Index] = {}
        self._handlers: list[Handler] = []
        self._version = ""
        self._originals: dict[str, bytes] | None = {} if detect_mutation else None
        self.add_index("namespace", lambda obj: (obj["metadata"].get("namespace", ""),))

    def __len__(self) -> int:
        return len(self._objects)

    def __repr__(self) -> str:
        return f"<Informer {self.resource} {len(self)} objects>"

    # --- reading ---

    def get(self, key: str) -> Object | None:
        """The object named ``namespace/name`` (or ``name``), as last seen."""
        return self._objects.get(key)

    def items(self) -> list[Object]:
        return list(self._objects.values())

    def by_namespace(self, namespace: str) -> list[Object]:
        """All of one namespace; "" for all namespaces."""
        return self.indexed("namespace", namespace) if namespace else self.items()

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Keep objects by the values that `function` finds in them. Adding a name again changes nothing."""
        if name in self._indexes:
            return
        index = self._indexes[name] = _Index(function)
        for key, obj in self._objects.items():
            index.put(key, obj)

    def indexed(self, name: str, value: str) -> list[Object]:
        return list(self._indexes[name].values.get(value, _NONE).values())

    def index_size(self, name: str, value: str) -> int:
        """How many objects `indexed` would return."""
        return len(self._indexes[name].values.get(value, _NONE))

    def index_values(self, name: str) -> list[str]:
        return list(self._indexes[name].values)

    def on_change(self, handler: Handler) -> Callable[[], None]:
        """Call `handler` for every object now here, and for every change from now on. Returns how to stop it."""
        for obj in self.items():
            self._call(handler, None, obj)
        self._handlers.append(handler)

        def stop() -> None:
            if handler in self._handlers:
                self._handlers.remove(handler)

        return stop

    # --- being fed ---

    def check(self) -> None:
        """Raise MutationDetected if an object is not as it arrived. Nothing to see outside the detecting mode."""
        for key in self._originals or ():
            self._check(key)

    def _check(self, key: str) -> None:
        if self._originals is not None and key in self._originals:
            now = _encode(self._objects[key])
            if now != self._originals[key]:
                raise MutationDetected(
                    f"{self.resource} {key} was changed in the informer:\n"
                    f"- {self._originals[key].decode()}\n+ {now.decode()}"
                )

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None:
            if old is obj or old["metadata"].get("resourceVersion") == obj["metadata"].get("resourceVersion"):
                return
            self._check(key)
            if old["metadata"].get("uid") != obj["metadata"].get("uid"):
                self._drop(key, old)  # deleted and made anew between two lists
                old = None
        if old is not None:
            for index in self._indexes.values():
                index.drop(key, old)
        self._objects[key] = obj
        if self._originals is not None:
            self._originals[key] = _encode(obj)
        for index in self._indexes.values():
            index.put(key, obj)
        for handler in tuple(self._handlers):
            self._call(handler, old, obj)

    def _drop(self, key: str, last: Object) -> None:
        """`last` is the object's last state, which handlers see as `old`."""
        self._check(key)
        old = self._objects.pop(key, None)
        if self._originals is not None:
            self._originals.pop(key, None)
        if old is None:
            return
        for index in self._indexes.values():
            index.drop(key, old)
        for handler in tuple(self._handlers):
            self._call(handler, last, None)

    def _call(self, handler: Handler, old: Object | None, new: Object | None) -> None:
        try:
            handler(old, new)
        except MutationDetected:
            raise
        except Exception:  # one component's mistake must not stop the others that share the informer
            _log.exception("a handler of %s failed", self.resource)

    # --- the reflector ---

    async def run(self, client: Client) -> None:
        """List, then watch, for ever. Owned by `Informers`."""
        failures = 0
        while True:
            began = trio.current_time()
            try:
                if not self._version:
                    await self._list(client)
                await self._watch(client)
                failures = 0
            except Gone:
                self._version = ""
            except (ApiError, OSError, trio.BrokenResourceError) as error:
                _log.debug("%s: %s; trying again", self.resource, error)
                if trio.current_time() - began > BACKOFF_MAX:
                    failures = 0  # it had worked for a while
                delay: float = min(BACKOFF_FIRST * 2 ** min(failures, 20), BACKOFF_MAX)
                failures += 1
                await trio.sleep(delay * (0.5 + random.random()))

    async def _list(self, client: Client) -> None:
        found: dict[str, Object] = {}
        token, version = "", ""
        while True:
            page: ObjectList = await client.list(
                self.resource,
                self.namespace,
                field_selector=self.field_selector,
                limit=PAGE,
                continue_token=token,
                **self._options,
            )
            for obj in page.items:
                found[key_of(obj)] = obj
            version, token = page.resource_version, page.continue_token
            if not token:
                break
        for key in [key for key in self._objects if key not in found]:
            self._drop(key, self._objects[key])
        for obj in found.values():
            self._put(obj)
        self._version = version
        self.synced.set()

    async def _watch(self, client: Client) -> None:
        async with client.watch(
            self.resource,
            self.namespace,
            resource_version=self._version,
            field_selector=self.field_selector,
            **self._options,
        ) as events:
            async for event in events:
                obj = event.object
                if event.type == "DELETED":
                    self._drop(key_of(obj), obj)
                elif event.type != "BOOKMARK":
                    self._put(obj)
                self._version = obj["metadata"]["resourceVersion"]
        await trio.lowlevel.checkpoint()  # a server that ends watches at once must not starve the others


class Informers:
    """All informers of one part of the process. One for each (resource, namespace, field selector, outline)."""

    def __init__(self, client: Client, *, detect_mutation: bool | None = None):
        self.client = client
        self._detect = bool(os.environ.get("KCORE_DETECT_MUTATION")) if detect_mutation is None else detect_mutation
        self._informers: dict[tuple[GVR, str, str, bool], Informer] = {}
        self._nursery: trio.Nursery | None = None
        self._scopes: dict[Informer, trio.CancelScope] = {}

    def __iter__(self) -> Iterator[Informer]:
        return iter(tuple(self._informers.values()))

    def get(self, resource: GVR, *, namespace: str = "", field_selector: str = "", outline: bool = False) -> Informer:
        """The shared informer, made and started at the first request. `outline`: see `Client.list`."""
        wanted = (resource, namespace, field_selector, outline)
        informer = self._informers.get(wanted)
        if informer is None:
            informer = Informer(resource, namespace, field_selector, self._detect, outline)
            self._informers[wanted] = informer
            if self._nursery is not None:
                self._nursery.start_soon(self._run, informer)
        return informer

    def stop(self, resource: GVR, *, namespace: str = "", field_selector: str = "") -> None:
        """Forget an informer: its resource is not served any more. Its handlers see every object go."""
        informer = self._informers.pop((resource, namespace, field_selector, False), None)
        if informer is None:
            return
        if scope := self._scopes.pop(informer, None):
            scope.cancel()
        for obj in informer.items():
            informer._drop(key_of(obj), obj)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Feed all informers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for informer in self:
                    nursery.start_soon(self._run, informer)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def _run(self, informer: Informer) -> None:
        with trio.CancelScope() as scope:
            self._scopes[informer] = scope
            await informer.run(self.client)

    async def wait_synced(self) -> None:
        """Until every informer requested so far has listed."""
        for informer in self:
            await informer.synced.wait()

    def check(self) -> None:
        """`Informer.check` of all."""
        for informer in self:
            informer.check()


def _encode(obj: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(obj, order="sorted")
