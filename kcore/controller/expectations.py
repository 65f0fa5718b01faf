"""Expectations: what a controller has asked for and not yet seen.

A controller counts its pods in an informer, which lags behind its own writes. Without a memory it would create the
missing pod again. So it notes how many creations it expects and which objects it expects to go, and does not count
anew until its informer has shown them, or five minutes have passed (an event may have been lost with a relist).
"""

from __future__ import annotations

import attrs
import trio

TIMEOUT = 300.0  # seconds, as upstream's ExpectationsTimeout


@attrs.define
class _Expected:
    creations: int = 0
    deletions: set[str] = attrs.Factory(set)  # uids
    since: float = attrs.Factory(trio.current_time)


class Expectations:
    """By the key of the controller object."""

    def __init__(self) -> None:
        self._expected: dict[str, _Expected] = {}

    def satisfied(self, key: str) -> bool:
        """Nothing is outstanding (or it never will come): count anew."""
        it = self._expected.get(key)
        if it is None:
            return True
        if (it.creations <= 0 and not it.deletions) or trio.current_time() - it.since > TIMEOUT:
            del self._expected[key]
            return True
        return False

    def expect_creations(self, key: str, count: int) -> None:
        it = self._entry(key)
        it.creations += count

    def expect_deletion(self, key: str, uid: str) -> None:
        self._entry(key).deletions.add(uid)

    def created(self, key: str, count: int = 1) -> None:
        """Seen by the informer; or the request failed, and nothing will come."""
        if it := self._expected.get(key):
            it.creations -= count

    def deleted(self, key: str, uid: str) -> None:
        """Seen to be gone or going; or the request failed."""
        if it := self._expected.get(key):
            it.deletions.discard(uid)

    def forget(self, key: str) -> None:
        self._expected.pop(key, None)

    def _entry(self, key: str) -> _Expected:
        it = self._expected.get(key)
        if it is None:
            it = self._expected[key] = _Expected()
        it.since = trio.current_time()
        return it
