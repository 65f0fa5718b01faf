"""The memory store: a commit is the moment in which it is applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from kcore.errors import StoreError
from kcore.store.local import LocalStore
from kcore.store.state import Draft, State

T = TypeVar("T")


class MemoryStore(LocalStore):
    """All state is in memory; history that falls out of it is compacted."""

    def __init__(self, history: int, retention: float):
        super().__init__(State(history), retention)

    async def _commit(self, operation: Callable[[Draft], T]) -> T:
        await trio.lowlevel.checkpoint()
        if self._hub.closed is not None:
            raise StoreError(self._hub.closed)
        draft = Draft(self._state)
        result = operation(draft)
        if not draft.empty:
            self._applied(draft)
            self._state.compacted = max(self._state.compacted, self._state.history.first - 1)
        return result
