"""Changes that the watch cache has dropped, from the store's own history: it keeps them until they are compacted."""

from __future__ import annotations

from kcore import errors
from kcore.api import layout
from kcore.api.atrest import Sealed
from kcore.api.cache import ADDED, DELETED, MODIFIED, Cache, Change, Entry, at_revision
from kcore.errors import Compacted
from kcore.store import Event, KeyValue, Store


def reaches(store: Store, cache: Cache, revision: int) -> bool:
    """Whether every change after `revision` is in the store's history, and some of them lead to the cache's ring."""
    return cache.rolled and revision >= store.compacted


async def read(store: Store, cache: Cache, revision: int) -> tuple[list[Change], int]:
    """Some of the changes after `revision`, in order, and the revision that they lead to. Raises Gone."""
    root = layout.key(cache.prefix, "", "")
    try:
        async with store.watch(root, revision + 1) as batches:
            batch = await anext(batches)
    except Compacted:
        raise errors.Gone(f"too old resource version: {revision} ({store.compacted})") from None
    return [change for event in batch if (change := _change(event, root)) is not None], batch[-1].revision


def _change(event: Event, root: str) -> Change | None:
    old, new = _entry(event.previous, root), _entry(event.current, root)
    if new is not None:
        return Change(ADDED if old is None else MODIFIED, event.revision, new, old)
    return None if old is None else Change(DELETED, event.revision, at_revision(old, event.revision), old)


def _entry(kv: KeyValue | None, root: str) -> Entry | None:
    if kv is None or isinstance(kv.value, Sealed):
        return None
    namespace, _, name = kv.key[len(root) :].rpartition("/")
    return Entry.stored(namespace, name, kv.mod_revision, kv.value)
