"""A runtime that runs nothing and answers everything: pods with logs, commands, files and real sockets, at no cost.

A fake container costs a few kilobytes and no task while it does nothing. What it does is said by its command, where
that is simple shell (``sh -c "echo hi; sleep 5; exit 3"``), by annotations of its pod (``kcore.dev/...``, see
behaviour.py), or by this config. Without any of these a container that should run for ever does, and one that should
finish exits with 0 after `run_time`. It listens on its ports at the pod's own address in 127.0.0.0/8 and answers HTTP,
HTTPS, gRPC health checks, and echoes on anything else (see answers.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import attrs
import trio

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider
from kcore.runtime import Runtime


@attrs.frozen
class FakeConfig:
    """``[nodes.runtime] use = "fake"``"""

    sockets: bool = True
    """Listen on real sockets. Without them, pods have addresses and are probed, but nothing outside reaches them."""
    start_delay: float = 0.0
    """Seconds between the start of a container and its running."""
    run_time: float = 1.0
    """Seconds that a container of a Job runs, if nothing else is said."""
    pull_delay: float = 0.0
    """Seconds that pulling an image takes."""
    missing_images: list[str] = attrs.Factory(list)
    """Patterns (``*/broken:*``) of images that cannot be pulled."""
    handlers: list[str] = attrs.Factory(lambda: ["fake"])
    """Handlers that a RuntimeClass may name."""
    cpu: str = "5m"
    """CPU use of a container, if its pod does not say: a quantity or a curve."""
    memory: str = "32Mi"
    """Memory use of a container, if its pod does not say: a quantity or a curve."""
    log_lines: int = 10_000
    """Lines of output that are kept per container; older ones are dropped."""


@asynccontextmanager
async def open_fake(context: Context, config: FakeConfig) -> AsyncIterator[Runtime]:
    from kcore_runtime_fake.engine import FakeRuntime

    async with trio.open_nursery() as nursery:
        engine = FakeRuntime(config, nursery, context.cluster.pod_cidr, context.log)
        try:
            yield engine
        finally:
            engine.close()
            nursery.cancel_scope.cancel()


@hookimpl
def kcore_runtime() -> Iterable[Provider[Runtime]]:
    return [Provider("fake", open_fake, FakeConfig, help="Pods that only exist in memory, with real sockets")]
