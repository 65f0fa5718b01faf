"""Running some controllers of the package in a fake cluster."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from kcore_controllers.catalogue import providers

from kcore.testing.cluster import FakeCluster, fake_cluster

Start = Callable[..., AbstractAsyncContextManager[FakeCluster]]


@pytest.fixture
def cluster(tmp_path: Path) -> Start:
    """``async with cluster("deployment", "replicaset") as c:``; the test asks for `autojump_clock` itself."""

    def start(*names: str, **options: Any) -> AbstractAsyncContextManager[FakeCluster]:
        offered = {p.name: p for p in providers()}
        return fake_cluster(tmp_path, [offered[n] for n in names], **options)

    return start
