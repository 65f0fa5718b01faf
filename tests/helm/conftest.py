"""One dev cluster, and the real Helm in a namespace of its own for each test."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest

from kcore.testing.running import RunningCluster, running
from tests.needs import needs

CHART = str(Path(__file__).parent / "chart")
_numbers = count(1)


@attrs.define
class Helm:
    """The real Helm in one namespace; a call is what it prints."""

    cluster: RunningCluster
    namespace: str
    home: Path

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def error(self, *arguments: str) -> str:
        """What it says of its failure."""
        done = self.run(*arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        home = {f"HELM_{name}_HOME": str(self.home / name) for name in ("CACHE", "CONFIG", "DATA")}
        command = ["helm", "--kubeconfig", str(self.cluster.kubeconfig), "--namespace", self.namespace, *arguments]
        return subprocess.run(command, env=os.environ | home, capture_output=True, text=True, timeout=60, check=False)

    def get(self, *arguments: str) -> Any:
        return self.cluster.get("-n", self.namespace, *arguments)

    def history(self, name: str) -> list[tuple[int, str]]:
        return [(r["revision"], r["status"]) for r in json.loads(self("history", name, "-o", "json"))]


@pytest.fixture(scope="package")
def cluster() -> Iterator[RunningCluster]:
    needs("helm")
    with running("dev") as cluster:
        yield cluster


@pytest.fixture
def helm(cluster: RunningCluster, tmp_path: Path) -> Iterator[Helm]:
    name = f"helm-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    yield Helm(cluster, name, tmp_path)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
