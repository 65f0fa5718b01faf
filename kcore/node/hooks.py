"""postStart and preStop: what a container wants done after it starts and before it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from kcore.errors import KcoreError
from kcore.node.probers import ask
from kcore.node.run import Run
from kcore.objects import Object

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

UNLIMITED = 3600.0  # seconds: a hook has no time-out of its own; the grace period ends a preStop hook


async def post_start(worker: PodWorker, run: Run) -> None:
    """Runs before the next container is started. A hook that fails ends its container."""
    action = (run.spec.get("lifecycle") or {}).get("postStart")
    if not action:
        return
    failure = await _act(worker, run, action, UNLIMITED)
    if failure and run.current is not None:
        worker.event("Warning", "FailedPostStartHook", f"PostStartHook failed: {failure}", run)
        worker.event("Normal", "Killing", "FailedPostStartHook", run)
        await worker.agent.runtime.stop_container(run.current.id, worker.grace)
        run.current = await worker.agent.runtime.container(run.current.id)


async def pre_stop(worker: PodWorker, run: Run, grace: float) -> None:
    """Runs within the grace period. A hook that fails does not keep its container from being stopped."""
    action = (run.spec.get("lifecycle") or {}).get("preStop")
    if not action:
        return
    failure = await _act(worker, run, action, grace)
    if failure:
        worker.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {failure}", run)


async def _act(worker: PodWorker, run: Run, action: Object, timeout: float) -> str:
    """Returns what went wrong, or ""."""
    if "sleep" in action:
        await trio.sleep(action["sleep"]["seconds"])
        return ""
    try:
        outcome = await ask(worker, run, action, timeout)
    except KcoreError as error:
        return str(error)
    return "" if outcome.ok else outcome.text or "the command failed and said nothing"
