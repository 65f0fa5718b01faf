"""A node that goes down in order (Kubernetes docs, "Node Shutdowns: Graceful node shutdown").

It tells that it is not ready, lets nobody in any more, and ends its pods: first the ordinary ones, then, with the time
that is kept for them, the critical ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from kcore.node.admission import Refusal
from kcore.node.eviction import critical

if TYPE_CHECKING:
    from kcore.node.agent import Agent
    from kcore.node.pod import PodWorker

WHY = Refusal("Terminated", "Pod was terminated in response to imminent node shutdown.")
WRITE_SECONDS = 2.0  # for the last status after the last container has ended


async def shut_down(agent: Agent) -> None:
    """Returns when all pods have ended, or their time is up."""
    total, kept = agent.config.shutdown_grace, agent.config.shutdown_critical
    agent.shutting_down = "node is shutting down"
    agent.event("Normal", "NodeShutdown", "Shutdown manager detected shutdown event")
    agent.report_soon()
    workers = list(agent.workers.values())
    await _end([w for w in workers if not critical(w.pod)], max(0.0, total - kept))
    await _end([w for w in workers if critical(w.pod)], min(kept, total))


async def _end(workers: list[PodWorker], grace: float) -> None:
    for worker in workers:
        worker.evict(WHY, grace)
    with trio.move_on_after(grace + WRITE_SECONDS):
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(worker.ended.wait)
                worker.poke()
