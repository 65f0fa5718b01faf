"""Running some controllers of the package in a fake cluster."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from kcore_controllers.catalogue import providers

from kcore.registry import Choice
from kcore.testing.cluster import FakeCluster, fake_cluster

Start = Callable[..., AbstractAsyncContextManager[FakeCluster]]


@pytest.fixture
def cluster(tmp_path: Path) -> Start:
    """``async with cluster("deployment", "replicaset") as c:``; the test asks for `autojump_clock` itself.

    ``settings={"deployment": {...}}`` gives a controller other settings than its defaults.
    """

    def start(
        *names: str, settings: Mapping[str, Any] | None = None, **options: Any
    ) -> AbstractAsyncContextManager[FakeCluster]:
        offered, said = {p.name: p for p in providers()}, settings or {}
        chosen = [Choice(offered[n], offered[n].config(**said.get(n, {}))) for n in names]
        return fake_cluster(tmp_path, chosen, **options)

    return start
