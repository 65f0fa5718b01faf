"""Custom resources: kinds that users declare with CustomResourceDefinitions, served while the API runs.

It follows the definitions, says in their status whether their names are free, makes a `kcore.api.kinds.Kind` of every
version, and when a definition goes deletes its objects first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio

from kcore.hookspecs import hookimpl
from kcore.registry import Context, NoConfig, Provider

__all__ = ["kcore_extension", "open_extension"]


@asynccontextmanager
async def open_extension(context: Context, config: NoConfig) -> AsyncIterator[Any]:
    from kcore_custom_resources.controller import CustomResources

    part = CustomResources(context.part("api").server, context.log)
    async with trio.open_nursery() as nursery:
        await nursery.start(part.run)
        yield part
        nursery.cancel_scope.cancel()


@hookimpl
def kcore_extension() -> Iterable[Provider[Any]]:
    return [Provider("custom-resources", open_extension, NoConfig, help="Kinds of CustomResourceDefinitions")]
