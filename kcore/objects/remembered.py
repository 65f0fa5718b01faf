"""What was found out about values that come again and again, kept by their content.

The pods of a Deployment are equal but for their metadata: what is costly to find out about a specification is found
out for the first of them. A value is known by a digest of its JSON, so it may be changed afterwards, and members in
another order make another value.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_LEAST, _MOST = 512, 32 * 1024  # bytes of JSON: about less it is as quick to find out again; more is not kept


class Remembered:
    """Bounded: when it is full it is emptied."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[tuple[bytes, Any], bytes] = {}

    def of(self, value: Any, find: Callable[[], Any], beside: Any = None) -> Any:
        """What `find` returns about `value`, and about `beside`, which is hashable: JSON, a copy for each who asks.

        Whatever `find` raises is not remembered.
        """
        try:
            encoded = _encode(value)
        except (OverflowError, TypeError, ValueError):  # what JSON has not: half surrogate pairs, endless integers
            return find()
        if not _LEAST <= len(encoded) <= _MOST:
            return find()
        key = (blake2b(encoded, digest_size=16).digest(), beside)
        found = self._found.get(key)
        if found is not None:
            return _decode(found)
        fresh = find()
        if len(self._found) >= self._most:
            self._found.clear()
        self._found[key] = _encode(fresh)
        return fresh
