"""DataLocality: a scheduling policy that sends pods where the datasets they read already are. See the README."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
from attrs.validators import ge, le, min_len

from kcore import Context, Provider, hookimpl
from kcore.scheduler.policy import Policy


@attrs.frozen
class Config:
    """``args`` of the policy."""

    label_prefix: str = attrs.field(default="dataset.kcore.dev/", validator=min_len(1))
    """What stands before the dataset's name in a node's label."""
    annotation_prefix: str = attrs.field(default="datasets.kcore.dev/", validator=min_len(1))
    """What stands before ``reads`` and ``required`` in a pod's annotations."""
    topology_key: str = attrs.field(default="topology.kubernetes.io/zone", validator=min_len(1))
    """The label that says which nodes are near each other."""
    nearby_share: float = attrs.field(default=0.5, validator=[ge(0.0), le(1.0)])
    """What a dataset is worth that another node of the same zone holds."""


@asynccontextmanager
async def open_policy(context: Context, config: Config) -> AsyncIterator[Policy]:
    from kcore_policy_data_locality.policy import DataLocality  # loads numpy: only where a scheduler runs

    yield DataLocality(config)


@hookimpl
def kcore_policy() -> list[Provider[Policy]]:
    return [Provider("DataLocality", open_policy, Config, help="Pods go where their datasets are")]
