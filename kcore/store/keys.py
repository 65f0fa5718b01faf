"""The keys of a store in order: what answers "which keys begin with this, and how many".

A list of chunks of a few hundred keys each, so that adding or removing one of hundreds of thousands moves only
a chunk, and counting a range adds up chunk lengths.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

_CHUNK = 512


def prefix_end(prefix: str) -> str | None:
    """The smallest string that is greater than every string with this prefix; None if there is no such string."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:  # surrogates are no characters: UTF-8, and so no database, can hold them
        following = 0xE000
    return stem[:-1] + chr(following)


class SortedKeys:
    """A set of strings in ascending order (of code points, which is also the order of their UTF-8 bytes)."""

    def __init__(self, keys: Iterable[str] = ()):
        ordered = sorted(keys)
        self._chunks = [ordered[at : at + _CHUNK] for at in range(0, len(ordered), _CHUNK)]
        self._firsts = [chunk[0] for chunk in self._chunks]

    def add(self, key: str) -> None:
        """Add a key that is not there yet."""
        if not self._chunks:
            self._chunks, self._firsts = [[key]], [key]
            return
        at = max(bisect_right(self._firsts, key) - 1, 0)
        chunk = self._chunks[at]
        insort(chunk, key)
        self._firsts[at] = chunk[0]
        if len(chunk) > 2 * _CHUNK:
            self._chunks.insert(at + 1, chunk[_CHUNK:])
            self._firsts.insert(at + 1, chunk[_CHUNK])
            del chunk[_CHUNK:]

    def remove(self, key: str) -> None:
        """Remove a key that is there."""
        at = bisect_right(self._firsts, key) - 1
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key)]
        if chunk:
            self._firsts[at] = chunk[0]
        else:
            del self._chunks[at], self._firsts[at]

    def between(self, low: str, high: str | None, limit: int = 0) -> tuple[list[str], int]:
        """The first `limit` (0: all) keys with ``low <= key < high``, and how many there are in all."""
        first, at = self._locate(low)
        last, end = (len(self._chunks), 0) if high is None else self._locate(high)
        if (first, at) >= (last, end):
            return [], 0
        if first == last:
            count = end - at
            return self._chunks[first][at : min(end, at + limit) if limit else end], count
        whole = self._chunks[first + 1 : last]
        count = len(self._chunks[first]) - at + sum(map(len, whole)) + end
        found = self._chunks[first][at:]
        for chunk in whole:
            if limit and len(found) >= limit:
                break
            found += chunk
        if end and not (limit and len(found) >= limit):
            found += self._chunks[last][:end]
        if limit:
            del found[limit:]
        return found, count

    def _locate(self, key: str) -> tuple[int, int]:
        """Chunk and position of the first key that is not less than `key`."""
        chunk = bisect_right(self._firsts, key) - 1
        if chunk < 0:
            return 0, 0
        at = bisect_left(self._chunks[chunk], key)
        return (chunk, at) if at < len(self._chunks[chunk]) else (chunk + 1, 0)
