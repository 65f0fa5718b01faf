"""Objects that pods name: ConfigMaps, Secrets, claims.

A node may read an object only by its name, so there is one informer per object (never per kind), shared by all pods
of the process that use it and ended with the last of them. A change of the object is work for each of those pods: that
is how new ConfigMap content gets into running containers without polling.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from kcore.client.informer import Informer, Informers
from kcore.node.work import Job, Work
from kcore.objects import Object
from kcore.objects.resources import GVR

Lookup = Callable[[GVR, str, str], Awaitable[Object | None]]
Key = tuple[GVR, str, str]


@attrs.define(eq=False)
class _Entry:
    informer: Informer
    users: set[Job] = attrs.Factory(set)


class References:
    """The objects in use, each with its watch."""

    def __init__(self, informers: Informers, work: Work) -> None:
        self._informers, self._work = informers, work
        self._entries: dict[Key, _Entry] = {}
        self._by_user: dict[Job, set[Key]] = {}

    def lookup(self, user: Job) -> Lookup:
        """How `user` asks: the newest state of the object, or None. From then on its changes are work for `user`."""

        async def look(kind: GVR, namespace: str, name: str) -> Object | None:
            key = (kind, namespace, name)
            entry = self._entries.get(key) or self._follow(key)
            entry.users.add(user)
            self._by_user.setdefault(user, set()).add(key)
            await entry.informer.synced.wait()
            return entry.informer.get(f"{namespace}/{name}" if namespace else name)

        return look

    def release(self, user: Job) -> None:
        """`user` needs nothing any more."""
        for key in self._by_user.pop(user, ()):
            entry = self._entries[key]
            entry.users.discard(user)
            if not entry.users:
                del self._entries[key]
                self._informers.stop(key[0], namespace=key[1], field_selector=f"metadata.name={key[2]}")

    def _follow(self, key: Key) -> _Entry:
        kind, namespace, name = key
        informer = self._informers.get(kind, namespace=namespace, field_selector=f"metadata.name={name}")
        entry = self._entries[key] = _Entry(informer)

        def changed(old: Object | None, new: Object | None) -> None:
            if informer.synced.is_set():
                for user in entry.users:
                    self._work.add(user)

        informer.on_change(changed)
        return entry
