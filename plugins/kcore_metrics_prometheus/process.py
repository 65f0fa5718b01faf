"""What is true of the whole process, and so appears at every component's endpoint."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily

from kcore import __version__


class Process:
    """process_* by prometheus-client, kubernetes_build_info, and the number of tasks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

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

    def expose(self, tasks: int) -> bytes:
        """`tasks` is trio's number of living tasks: what upstream's dashboards show as goroutines."""
        head = b"# HELP go_goroutines Number of tasks that currently exist.\n# TYPE go_goroutines gauge\n"
        return head + b"go_goroutines %d\n" % tasks + generate_latest(self.registry)


def living_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living
