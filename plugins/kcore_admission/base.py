"""What the admission plugins share: how they open, refuse, and see other objects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import trio

from kcore import errors
from kcore.api.admission import Admission, AdmissionRequest
from kcore.api.auth import Attributes, Decision, User
from kcore.client import Client
from kcore.objects import Object
from kcore.objects.resources import GVR
from kcore.registry import Context

RETRY_SECONDS = 1.0


class Plugin(Admission):
    """An admission plugin with eyes for the resources in `looks_at`."""

    steady = True  # what `handles` asks about is the operation, the kind and the subresource
    looks_at: ClassVar[tuple[GVR, ...]] = ()

    def __init__(self, context: Context, config: Any = None):
        self.context = context
        self.seen: dict[str, Seen] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, context: Context, config: Any = None) -> AsyncIterator[Plugin]:
        """Open the plugin; what it looks at is watched as long as it is open."""
        plugin = cls(context, config)
        if not cls.looks_at:
            yield plugin
            return
        async with trio.open_nursery() as nursery:
            client = context.client()
            for resource in cls.looks_at:
                plugin.seen[resource.resource] = seen = Seen(client, resource)
                nursery.start_soon(seen.run)
            yield plugin
            nursery.cancel_scope.cancel()

    def handles(self, request: AdmissionRequest) -> bool:
        return False

    async def may(
        self, user: User, verb: str, what: tuple[str, str, str], namespace: str, name: str, *, subresource: str = ""
    ) -> Decision:
        """What the API's authorizers say; `what` is (group, version, plural). No opinion at all is a refusal."""
        group, version, plural = what
        attributes = Attributes(user, verb, plural, subresource, group, version, namespace, name)
        reasons = []
        for authorizer in self.context.part("api").server.authorizers:
            decision: Decision = await authorizer.authorize(attributes)
            if decision.allowed is not None:
                return decision
            reasons.append(decision.reason)
        return Decision(False, "\n".join(r for r in reasons if r))


def is_create(request: AdmissionRequest, *plurals: str, group: str = "") -> bool:
    """A create of one of these resources themselves, not of a subresource."""
    return (
        request.operation == "CREATE"
        and not request.subresource
        and request.kind.group == group
        and request.kind.plural in plurals
    )


def forbidden(request: AdmissionRequest, why: str, **details: Any) -> errors.Forbidden:
    """The refusal: ``pods "web" is forbidden: WHY``."""
    kind = request.kind
    name = request.name or (request.obj or {}).get("metadata", {}).get("name", "")
    about: Object = {"name": name} if name else {}
    if kind.group:
        about["group"] = kind.group
    about["kind"] = kind.plural
    return errors.Forbidden(f'{kind.resource} "{name}" is forbidden: {why}', details={**about, **details})


class Seen:
    """All objects of one resource, kept up to date by a watch; before the first list, the API is asked each time."""

    def __init__(self, client: Client, resource: GVR):
        self._client, self._resource = client, resource
        self._objects: dict[str, dict[str, Object]] = {}  # by namespace, by name
        self._listed = False
        self._asked: set[str] = set()  # namespaces that were found empty; forgotten with every new list
        self._changed = trio.Event()  # replaced with every change

    async def get(self, name: str, namespace: str = "", *, patience: float = 0.0) -> Object | None:
        """The object, or None. The API is asked for one that the watch has not shown yet.

        With `patience`, an object that is not there is awaited for so many seconds.
        """
        found = self._objects.get(namespace, {}).get(name) or await self._ask(name, namespace)
        if found is not None or not patience:
            return found
        with trio.move_on_after(patience):
            while found is None:
                changed = self._changed
                found = self._objects.get(namespace, {}).get(name) or await self._ask(name, namespace)
                if found is None:
                    await changed.wait()
        return found

    async def _ask(self, name: str, namespace: str) -> Object | None:
        try:
            return await self._client.get(self._resource, name, namespace)
        except errors.NotFound:
            return None

    async def all(self, namespace: str = "", *, sure: bool = False) -> list[Object]:
        """Every object of a namespace (or of a cluster-scoped resource).

        Where the watch has shown none the API is asked, since one may have been created a moment ago: once for each
        namespace, or every time to be `sure` (not where many writes come by).
        """
        found = self._objects.get(namespace)
        if self._listed and (found or (namespace in self._asked and not sure)):
            return list(found.values()) if found else []
        self._asked.add(namespace)
        return (await self._client.list(self._resource, namespace)).items

    async def run(self) -> None:
        """Follow the resource until cancelled."""
        while True:
            try:
                await self._follow()
            except (errors.Gone, errors.Compacted):
                continue
            except (errors.KcoreError, OSError):
                self._listed = False
                await trio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        page = await self._client.list(self._resource)
        self._objects, self._asked = {}, set()
        for obj in page.items:
            self._put(obj)
        self._listed = True
        self._tell()
        version = page.resource_version
        while True:
            async with self._client.watch(self._resource, resource_version=version) as events:
                async for event in events:
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type == "DELETED":
                        meta = event.object["metadata"]
                        self._objects.get(meta.get("namespace", ""), {}).pop(meta["name"], None)
                    elif event.type != "BOOKMARK":
                        self._put(event.object)
                    self._tell()

    def _put(self, obj: Object) -> None:
        meta = obj["metadata"]
        self._objects.setdefault(meta.get("namespace", ""), {})[meta["name"]] = obj

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
