"""``kubernetes_build_info``: what a component was built from."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from kcore import __version__


class BuildInfo:
    """A collector of one constant."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def collect(self) -> Iterator[Any]:
        build = GaugeMetricFamily(
            "kubernetes_build_info",
            "A constant 1, labelled with what this was built from.",
            labels=["major", "minor", "git_version", "go_version", "compiler", "platform"],
        )
        machine = f"{platform.system().lower()}/{platform.machine()}"
        version = f"v1.37.0+kcore-{__version__}"
        build.add_metric(["1", "37", version, "", f"CPython {platform.python_version()}", machine], 1)
        yield build

    def expose(self) -> bytes:
        return generate_latest(self._registry)
