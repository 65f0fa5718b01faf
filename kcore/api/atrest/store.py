"""A store whose values are encrypted in another store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from kcore.api import layout
from kcore.api.atrest import Sealed, Stale
from kcore.api.atrest.config import Rules
from kcore.api.atrest.transform import Unreadable
from kcore.store import Event, KeyValue, Range, Store


class EncryptedStore:
    """A `kcore.store.Store`; what it does not change is the other's."""

    def __init__(self, inner: Store, rules: Rules) -> None:
        self._inner, self.rules = inner, rules

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def revision(self) -> int:
        return self._inner.revision

    @property
    def compacted(self) -> int:
        return self._inner.compacted

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        return self._open(await self._inner.get(key, revision=revision))

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Range:
        page = await self._inner.range(prefix, start=start, limit=limit, revision=revision)
        return Range(page.revision, [self._opened(kv) for kv in page.items], page.more, page.count)

    async def put(self, key: str, value: bytes, *, expect: int | None = None, lease: int = 0) -> KeyValue:
        chain = self.rules.chain(layout.split_key(key)[0])
        if chain is None:
            return await self._inner.put(key, value, expect=expect, lease=lease)
        written = await self._inner.put(key, chain.seal(value, key), expect=expect, lease=lease)
        return attrs.evolve(written, value=value)

    async def delete(self, key: str, *, expect: int | None = None) -> KeyValue | None:
        return self._open(await self._inner.delete(key, expect=expect))

    @asynccontextmanager
    async def watch(self, prefix: str, start_revision: int = 0) -> AsyncIterator[AsyncIterator[list[Event]]]:
        async with self._inner.watch(prefix, start_revision) as batches:
            yield _Opened(self, batches)

    async def compact(self, revision: int) -> None:
        await self._inner.compact(revision)

    async def grant(self, ttl: float) -> int:
        return await self._inner.grant(ttl)

    async def keep_alive(self, lease: int) -> None:
        await self._inner.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        await self._inner.revoke(lease)

    def encrypted(self, key: str) -> bool:
        return self.rules.chain(layout.split_key(key)[0]) is not None

    def _open(self, kv: KeyValue | None) -> KeyValue | None:
        return None if kv is None else self._opened(kv)

    def _opened(self, kv: KeyValue) -> KeyValue:
        chain = self.rules.chain(layout.split_key(kv.key)[0])
        if chain is None:
            if not kv.value.startswith(b"k8s:enc:"):
                return kv
            return attrs.evolve(kv, value=Sealed(b"no provider of the configuration is for this resource"))
        try:
            value, stale = chain.open(kv.value, kv.key)
        except Unreadable as error:
            return attrs.evolve(kv, value=Sealed(str(error).encode()))
        return attrs.evolve(kv, value=Stale(value) if stale else value)


class _Opened:
    """Batches of a watch, with their values opened. Each value is opened once here and kept by the caches."""

    def __init__(self, store: EncryptedStore, batches: AsyncIterator[list[Event]]) -> None:
        self._store, self._batches = store, batches

    def __aiter__(self) -> _Opened:
        return self

    async def __anext__(self) -> list[Event]:
        batch = await self._batches.__anext__()
        return [self._event(event) if self._store.encrypted(event.key) else event for event in batch]

    def _event(self, event: Event) -> Event:
        return Event(event.revision, event.key, self._store._open(event.current), self._store._open(event.previous))
