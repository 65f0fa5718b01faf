"""Images that nobody uses any more, removed when the disk fills up (Kubernetes docs, "Garbage collection of unused
containers and images")."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kcore import clock
from kcore.errors import KcoreError
from kcore.node.work import Job
from kcore.objects import Object
from kcore.runtime import EXITED, Image

if TYPE_CHECKING:
    from kcore.node.agent import Agent

log = logging.getLogger("kcore.node")

PERIOD = 300.0  # seconds between looks
AGE_LEAST = 120.0  # seconds that an image is kept in any case
TOLD_MOST = 50  # images in a node's status


class ImageCollector(Job):
    """Of one node. `high` and `low` are percentages of the disk that images lie on."""

    def __init__(self, agent: Agent, high: int, low: int) -> None:
        super().__init__()
        self._agent, self._high, self._low = agent, high, low
        self._first_seen: dict[str, float] = {}
        self._last_used: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<images of {self._agent.name}>"

    async def run(self) -> None:
        agent = self._agent
        if agent.dead:
            return
        agent.host.work.add_after(self, PERIOD)
        disk = await agent.runtime.filesystem()
        if disk is None or not disk.capacity:
            return
        await self._look()
        used = 100 - disk.available * 100 // disk.capacity
        if used < self._high:
            return
        wanted = disk.capacity * (100 - self._low) // 100 - disk.available
        freed = await self.free(wanted)
        if freed < wanted:
            text = (
                f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only "
                f"found {freed} bytes eligible to free."
            )
            agent.event("Warning", "FreeDiskSpaceFailed", text)

    async def _look(self) -> tuple[list[Image], set[str]]:
        """All images, and the ids of those in use."""
        runtime, now = self._agent.runtime, clock.now()
        images = await runtime.list_images()
        names = {c.image for c in await runtime.list_containers() if c.state != EXITED}
        for worker in self._agent.workers.values():
            if not worker.stopped:
                names |= set(worker.pulls)
        used = {i.id for i in images if i.pinned or i.id in names or names.intersection(i.names)}
        for image in images:
            self._first_seen.setdefault(image.id, now)
            if image.id in used:
                self._last_used[image.id] = now
        for known in (self._first_seen, self._last_used):
            for id in known.keys() - {i.id for i in images}:
                del known[id]
        return images, used

    async def free(self, wanted: float) -> int:
        """Remove unused images, the longest unused first, until so many bytes are free. Returns how many are."""
        images, used = await self._look()
        now, freed = clock.now(), 0
        idle = [i for i in images if i.id not in used and now - self._first_seen[i.id] >= AGE_LEAST]
        idle.sort(key=lambda i: (self._last_used.get(i.id, 0.0), self._first_seen[i.id]))
        for image in idle:
            if freed >= wanted:
                break
            try:
                for name in image.names or (image.id,):
                    await self._agent.runtime.remove_image(name)
            except KcoreError as error:
                log.warning("%r: cannot remove %s: %s", self, image.names or image.id, error)
                continue
            freed += image.size
        return freed

    async def told(self) -> list[Object]:
        """For the node's status: the biggest."""
        images = sorted(await self._agent.runtime.list_images(), key=lambda i: (-i.size, i.names))[:TOLD_MOST]
        return [{"names": list(i.names)[:5], "sizeBytes": i.size} for i in images]
