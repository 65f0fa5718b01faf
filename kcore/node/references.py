"""Objects that pods name: ConfigMaps, Secrets, claims.

A node may read an object only by its name, so there is one watch per object (never per kind), shared by all pods of
the process that use it and ended with the last of them. A change of the object is work for each of those pods: that
is how new ConfigMap content gets into running containers without polling.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from kcore.client import Client
from kcore.node.reflect import reflect
from kcore.node.work import Job, Work
from kcore.objects import Object
from kcore.objects.resources import GVR

Lookup = Callable[[GVR, str, str], Awaitable[Object | None]]
Key = tuple[GVR, str, str]


@attrs.define(eq=False)
class _Entry:
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    synced: trio.Event = attrs.Factory(trio.Event)
    object: Object | None = None
    users: set[Job] = attrs.Factory(set)


class References:
    """The objects in use, each with its watch, in the nursery it was given."""

    def __init__(self, client: Client, nursery: trio.Nursery, work: Work) -> None:
        self._client, self._nursery, self._work = client, nursery, work
        self._entries: dict[Key, _Entry] = {}
        self._by_user: dict[Job, set[Key]] = {}

    def lookup(self, user: Job) -> Lookup:
        """How `user` asks: the newest state of the object, or None. From then on its changes are work for `user`."""

        async def look(kind: GVR, namespace: str, name: str) -> Object | None:
            key = (kind, namespace, name)
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry()
                self._nursery.start_soon(self._follow, key, entry)
            entry.users.add(user)
            self._by_user.setdefault(user, set()).add(key)
            await entry.synced.wait()
            return entry.object

        return look

    def release(self, user: Job) -> None:
        """`user` needs nothing any more."""
        for key in self._by_user.pop(user, ()):
            entry = self._entries[key]
            entry.users.discard(user)
            if not entry.users:
                entry.scope.cancel()
                del self._entries[key]

    async def _follow(self, key: Key, entry: _Entry) -> None:
        kind, namespace, name = key

        def on_list(items: list[Object]) -> None:
            change(items[0] if items else None)
            entry.synced.set()

        def change(obj: Object | None) -> None:
            if obj is not entry.object:
                entry.object = obj
                if entry.synced.is_set():
                    for user in entry.users:
                        self._work.add(user)

        def on_event(type: str, obj: Object) -> None:
            change(None if type == "DELETED" else obj)

        with entry.scope:
            selector = f"metadata.name={name}"
            await reflect(self._client, kind, on_list, on_event, namespace=namespace, field_selector=selector)
