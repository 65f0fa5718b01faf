"""Ending containers: the preStop hook, the stop signal, the grace period (Kubernetes docs, "Termination of Pods")."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from kcore.errors import KcoreError
from kcore.node import hooks
from kcore.node.run import SIDECAR, Run

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

log = logging.getLogger("kcore.node")

GRACE_LEAST = 2.0  # seconds that a container gets after a preStop hook has used up the grace period


async def stop_all(worker: PodWorker, grace: float) -> None:
    """End all containers within `grace` seconds: the main ones at once, then sidecars in reverse order."""
    deadline = trio.current_time() + grace
    running = [r for r in worker.runs.values() if r.running]
    async with trio.open_nursery() as nursery:
        for run in running:
            if run.kind != SIDECAR:
                nursery.start_soon(stop, worker, run, grace, f"Stopping container {run.name}")
    for run in reversed([r for r in running if r.kind == SIDECAR]):
        left = max(min(GRACE_LEAST, grace), deadline - trio.current_time())
        await stop(worker, run, left, f"Stopping container {run.name}")


async def stop(worker: PodWorker, run: Run, grace: float, message: str) -> None:
    """End one container; returns when it has ended, with `run.current` telling how."""
    assert run.current is not None
    again, run.stopping = run.stopping, True
    for probe in run.probes:
        if probe.kind != "readiness":
            probe.end()
    deadline = trio.current_time() + grace
    if not again:
        worker.event("Normal", "Killing", message, run)
        if grace > 0:
            with trio.move_on_at(deadline):
                await hooks.pre_stop(worker, run, grace)
    left = deadline - trio.current_time()
    if grace > 0:
        left = max(left, min(GRACE_LEAST, grace))
    with worker.agent.measures.operation("stop_container"):
        await worker.agent.runtime.stop_container(run.current.id, max(0.0, left))
    run.current = await worker.agent.runtime.container(run.current.id)
    for probe in run.probes:
        probe.end()
    worker.poke()


def restart(worker: PodWorker, run: Run, message: str, grace: float | None = None) -> None:
    """End a container that shall run again, in a task of its own."""
    run.stopping = True

    async def task() -> None:
        run.stopping = False  # `stop` sets it, and tells a first call from a second by it
        try:
            await stop(worker, run, worker.grace if grace is None else grace, message)
        except KcoreError as error:
            log.warning("%r: cannot stop %s: %s", worker, run.name, error)
        finally:
            run.stopping = False

    worker.agent.host.spawn(task)
