"""One dev cluster, and the real Helm in a namespace of its own for each test."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest

from kcore.testing.running import RunningCluster, running

CHART = str(Path(__file__).parent / "chart")
_numbers = count(1)

if sys.version_info < (3, 12):
    pytest.skip("Helm comes as helm-sdkpy, which needs Python 3.12: `tox -e helm`", allow_module_level=True)


@attrs.define
class Helm:
    """Helm's actions in one namespace; each returns what Helm says of the release."""

    cluster: RunningCluster
    namespace: str

    def __call__(self, action: str, *arguments: Any, **options: Any) -> Any:
        import helm_sdkpy

        async def run() -> Any:
            # a new configuration each time, as a new `helm` process has: it remembers what the API serves
            with helm_sdkpy.Configuration(self.namespace, str(self.cluster.kubeconfig)) as configuration:
                return await getattr(helm_sdkpy, action)(configuration).run(*arguments, **options)

        return asyncio.run(run())

    def install(self, name: str, values: dict[str, Any] | None = None, **options: Any) -> Any:
        return self("Install", name, CHART, values or {}, timeout=30, **options)

    def upgrade(self, name: str, values: dict[str, Any], **options: Any) -> Any:
        return self("Upgrade", name, CHART, values, **{"timeout": 30, **options})

    def get(self, *arguments: str) -> Any:
        return self.cluster.get("-n", self.namespace, *arguments)


@pytest.fixture(scope="package")
def cluster() -> Iterator[RunningCluster]:
    with running("dev") as cluster:
        yield cluster


@pytest.fixture
def helm(cluster: RunningCluster) -> Iterator[Helm]:
    name = f"helm-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    yield Helm(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
