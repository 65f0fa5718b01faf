"""What tests of plugins and of kcore itself are made of: conformance suites, one per seam, and contexts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import attrs

from kcore.metrics import Metrics
from kcore.registry import Choice, Cluster

__all__ = ["TestContext"]


@attrs.define
class TestContext:
    """A `kcore.registry.Context` for opening one part alone: ``provider.open(TestContext(tmp_path), config)``."""

    __test__ = False  # pytest: this is no test class

    data_dir: Path
    name: str = "test"
    cluster: Cluster = attrs.Factory(Cluster)
    parts: dict[str, Any] = attrs.Factory(dict)
    """What `part` finds, by slot."""
    api: Any = None
    """The client that `client` returns."""
    choices: dict[tuple[str, str], Choice] = attrs.Factory(dict)
    """What `choose` finds, by (seam, name)."""
    log: logging.Logger = attrs.Factory(lambda: logging.getLogger("kcore.test"))
    metrics: Metrics = attrs.Factory(lambda: Metrics("test"))

    @property
    def keys(self) -> Path:
        return self.data_dir

    def file(self, path: str) -> Path:
        return self.data_dir / path

    def client(self, user: Any = None) -> Any:
        assert self.api is not None, "give TestContext an api= client"
        return self.api

    def part(self, slot: str) -> Any:
        return self.parts[slot]

    def choose(self, seam: str, name: str, config: dict[str, Any], where: str) -> Choice:
        return self.choices[seam, name]

    def offers(self, seam: str, name: str = "") -> list[Any]:
        return [c.provider for (s, n), c in self.choices.items() if s == seam and name in ("", n)]

    def registries(self) -> dict[str, Metrics]:
        return {self.name: self.metrics}
