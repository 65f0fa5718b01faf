"""One queue of jobs for all nodes of a process.

A job is an object that knows how to look at its pod (or node) and take the next step. Adding a job that waits
already does nothing; adding one that runs makes it run once more afterwards; so a job never runs twice at once, and no
change is missed. Workers are started when there is work and end when there is none: an idle process has no tasks here.
"""

from __future__ import annotations

import logging
from collections import deque

import attrs
import trio

from kcore.errors import ApiError, KcoreError
from kcore.timers import Timer, Timers

log = logging.getLogger("kcore.node")

RETRY_FIRST, RETRY_MOST = 0.2, 30.0  # seconds before a failed job runs again: doubling


@attrs.define(eq=False)
class Job:
    """Something to be done, again and again."""

    _queued: bool = attrs.field(default=False, init=False)
    _running: bool = attrs.field(default=False, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _timer: Timer | None = attrs.field(default=None, init=False)

    async def run(self) -> None:
        """Take a step. An exception has it run again with back-off."""
        raise NotImplementedError


class Work:
    """Runs jobs, at most `limit` at a time, in the nursery it was given."""

    def __init__(self, nursery: trio.Nursery, timers: Timers, limit: int = 32) -> None:
        self._nursery, self.timers, self._limit = nursery, timers, limit
        self._ready: deque[Job] = deque()
        self._workers = 0
        self.errors = 0  # jobs that raised

    def add(self, job: Job) -> None:
        if job._queued:
            return
        job._queued = True
        if not job._running:
            self._push(job)

    def add_after(self, job: Job, seconds: float) -> None:
        """Add it then; of several waiting times the earliest counts."""
        when = trio.current_time() + seconds
        timer = job._timer
        if timer is not None and timer.pending:
            if timer.when <= when:
                return
            timer.cancel()
        job._timer = self.timers.at(when, lambda: self.add(job))

    def _push(self, job: Job) -> None:
        self._ready.append(job)
        if self._workers < self._limit:
            self._workers += 1
            self._nursery.start_soon(self._work)

    async def _work(self) -> None:
        try:
            while self._ready:
                job = self._ready.popleft()
                job._queued, job._running = False, True
                try:
                    await job.run()
                    job._failures = 0
                except (KcoreError, OSError) as error:
                    self._failed(job, error)
                except Exception as error:
                    log.exception("%r failed", job)
                    self._failed(job, error)
                finally:
                    job._running = False
                if job._queued:
                    self._push(job)
        finally:
            self._workers -= 1

    def _failed(self, job: Job, error: Exception) -> None:
        self.errors += 1
        delay = min(RETRY_MOST, RETRY_FIRST * 2**job._failures)
        job._failures = min(job._failures + 1, 20)
        if not isinstance(error, ApiError) or error.code >= 500:
            log.warning("%r: %s; again in %.1f s", job, error, delay)
        self.add_after(job, delay)
