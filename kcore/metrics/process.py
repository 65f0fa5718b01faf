"""What is true of the whole process, and so appears at the endpoint of every component in it."""

from __future__ import annotations

from functools import cache

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest


@cache
def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def living_tasks() -> int:
    """How many tasks this trio run has."""
    return trio.lowlevel.current_statistics().tasks_living


def expose(tasks: int) -> bytes:
    """process_* by prometheus-client; `tasks` is what upstream's dashboards show as goroutines."""
    head = b"# HELP go_goroutines Number of tasks that currently exist.\n# TYPE go_goroutines gauge\n"
    return head + b"go_goroutines %d\n" % tasks + generate_latest(_registry())
