"""The scheduler: runs the policies of the config over the pods that wait (kube-scheduler).

    [scheduler]
    use = "default"
    policies = ["PrioritySort", "NodeResourcesFit", { name = "ImageLocality", weight = 5 }, "DefaultBinder"]

Without `policies` it runs Kubernetes' own, with their weights. Further profiles (``spec.schedulerName``) may have
lists of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from attrs.validators import ge

from kcore import Context, Provider, hookimpl
from kcore_scheduler.lists import checked_entries, checked_profiles, defaults


@attrs.frozen
class Config:
    """``[scheduler]``"""

    name: str = "default-scheduler"
    """The ``spec.schedulerName`` of the pods that `policies` schedule."""
    policies: list[Any] = attrs.field(factory=defaults, validator=checked_entries)
    """Policies in the order in which they filter: a name, or a table with name, weight and args."""
    profiles: dict[str, Any] = attrs.field(factory=dict, validator=checked_profiles)
    """Further profiles: schedulerName -> a list like `policies`."""
    parallel_binds: int = attrs.field(default=64, validator=ge(1))
    """Bindings written to the API at the same time."""
    leader_elect: bool = False
    """Schedule only while holding the Lease kube-system/kube-scheduler: for several schedulers of one cluster."""
    seed: int = 0
    """Of the random choice between nodes that are equally good: the same seed gives the same history."""


@asynccontextmanager
async def open_scheduler(context: Context, config: Config) -> AsyncIterator[Any]:
    from kcore_scheduler.part import open_part

    async with open_part(context, config) as scheduler:
        yield scheduler


@hookimpl
def kcore_scheduler() -> list[Provider[Any]]:
    return [Provider("default", open_scheduler, Config, help="One pod at a time, all nodes at once")]
