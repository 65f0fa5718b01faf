"""API aggregation: APIService objects, and requests for their groups passed on to the servers behind them.

`registration` keeps an APIService for every group version that this server answers itself; `availability` finds out
whether the servers behind the others answer; `proxy` passes requests on; `documents` merges what they say of
themselves into discovery and OpenAPI; `trust` publishes what such a server needs to know to believe this one.
(Kubernetes, "Kubernetes API Aggregation Layer".)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider


@attrs.frozen
class AggregationConfig:
    """``[api.settings.aggregation]``."""

    check_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    """How often a server behind this one is asked whether it still answers."""
    check_timeout_seconds: float = attrs.field(default=6.0, validator=attrs.validators.gt(0))
    """How long it may take to say so."""


@asynccontextmanager
async def _open(context: Context, config: AggregationConfig) -> AsyncIterator[Any]:
    from kcore_aggregation.aggregator import open_aggregator

    async with open_aggregator(context, config) as aggregator:
        yield aggregator


@hookimpl
def kcore_extension() -> Iterable[Provider[Any]]:
    return [Provider("aggregation", _open, AggregationConfig, help="APIServices and the servers behind them")]
