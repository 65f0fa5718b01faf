"""List, then watch, for ever: how the node agent follows objects."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from kcore.client import Client
from kcore.errors import Gone, KcoreError
from kcore.objects import Object
from kcore.objects.resources import GVR

log = logging.getLogger("kcore.node")

RETRY_FIRST, RETRY_MOST = 0.5, 30.0  # seconds between attempts while the API cannot be reached: doubling


async def reflect(
    client: Client,
    kind: GVR,
    on_list: Callable[[list[Object]], None],
    on_event: Callable[[str, Object], None],
    *,
    namespace: str = "",
    field_selector: str = "",
) -> None:
    """`on_list` gets all objects at first and whenever the watch had to start over; `on_event` every change after.

    Neither may block. Goes on through API failures until cancelled.
    """
    delay, version = RETRY_FIRST, ""
    while True:
        try:
            if not version:
                page = await client.list(kind, namespace, field_selector=field_selector)
                on_list(page.items)
                version = page.resource_version
            async with client.watch(
                kind, namespace, resource_version=version, field_selector=field_selector
            ) as events:
                async for event in events:
                    version = event.object["metadata"]["resourceVersion"]
                    delay = RETRY_FIRST
                    if event.type != "BOOKMARK":
                        on_event(event.type, event.object)
        except Gone:
            version = ""
        except (KcoreError, OSError) as error:
            log.warning("cannot follow %s: %s; again in %.1f s", kind, error, delay)
            await trio.sleep(delay)
            delay = min(delay * 2, RETRY_MOST)
