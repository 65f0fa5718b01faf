"""Changing an object that others change too: read, change, write, and again when somebody was quicker."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from kcore.errors import Conflict
from kcore.objects import Object, meta
from kcore.objects.resources import GVR

if TYPE_CHECKING:
    from kcore.client import Client

ATTEMPTS = 5
FIRST_DELAY = 0.01  # seconds; doubles, with jitter


async def update_on_conflict(
    client: Client,
    resource: GVR,
    name: str,
    namespace: str,
    change: Callable[[Object], bool | None],
    *,
    subresource: str = "",
) -> Object:
    """Let `change` edit a copy of the newest object and write it; after a conflict, once more from the newest.

    `change` returns False when there is nothing to write. Returns the object as it is now. Raises NotFound, and
    Conflict after `ATTEMPTS` attempts.
    """
    for attempt in range(ATTEMPTS):
        current = await client.get(resource, name, namespace)
        wanted = meta.copy(current)
        if change(wanted) is False:
            return current
        try:
            return await client.update(resource, wanted, subresource=subresource)
        except Conflict:
            if attempt == ATTEMPTS - 1:
                raise
            await trio.sleep(FIRST_DELAY * 2**attempt * (0.5 + random.random()))
    raise AssertionError("unreachable")
