"""Probes: is a container up, is it alive, may it get traffic (Kubernetes docs, "Liveness, Readiness and Startup").

A probe is an entry in the heap of timers; only while it asks is it a task. Until the startup probe has succeeded the
others wait. A verdict changes after `successThreshold` or `failureThreshold` equal answers in a row.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from kcore.errors import KcoreError
from kcore.node import stop
from kcore.node.probers import Outcome, ask
from kcore.node.run import INIT, Run
from kcore.objects import Object
from kcore.timers import Timer

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

log = logging.getLogger("kcore.node")

_MEMBERS = {"startup": "startupProbe", "liveness": "livenessProbe", "readiness": "readinessProbe"}
_WORDS = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}


def probes_of(worker: PodWorker, run: Run) -> list[Probe]:
    """The probes of a container that has just started."""
    if run.kind == INIT:
        return []
    return [Probe(worker, run, kind, run.spec[member]) for kind, member in _MEMBERS.items() if member in run.spec]


class Probe:
    """One probe of one run of a container."""

    def __init__(self, worker: PodWorker, run: Run, kind: str, spec: Object) -> None:
        self._worker, self._run, self.kind, self._spec = worker, run, kind, spec
        self._period = float(spec.get("periodSeconds") or 10)
        self._timeout = float(spec.get("timeoutSeconds") or 1)
        self._success = int(spec.get("successThreshold") or 1)
        self._failure = int(spec.get("failureThreshold") or 3)
        self._row, self._last_ok = 0, False  # how many equal answers in a row, and which
        self._timer: Timer | None = None
        self._due = 0.0
        self._ended = False

    def begin(self) -> None:
        """The container has just started."""
        self._due = trio.current_time() + float(self._spec.get("initialDelaySeconds") or 0)
        self._timer = self._worker.agent.host.timers.at(self._due, self._fire)

    def end(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        if self._ended:
            return
        if self.kind != "startup" and not self._run.started:
            self._again()
        else:
            self._worker.agent.host.spawn(self._probe)

    def _again(self) -> None:
        if not self._ended:
            now = trio.current_time()
            while self._due <= now:
                self._due += self._period
            self._timer = self._worker.agent.host.timers.at(self._due, self._fire)

    async def _probe(self) -> None:
        try:
            outcome = await ask(self._worker, self._run, self._spec, self._timeout)
        except (KcoreError, OSError) as error:
            outcome = Outcome(False, str(error))
        except Exception as error:
            log.exception("%r: %s probe of %s", self._worker, self.kind, self._run.name)
            outcome = Outcome(False, repr(error))
        if self._ended:
            return
        self._take(outcome)
        self._again()

    def _take(self, outcome: Outcome) -> None:
        worker, run = self._worker, self._run
        worker.agent.measures.probed(worker, run, self.kind, outcome.ok)
        if not outcome.ok:
            worker.event("Warning", "Unhealthy", f"{_WORDS[self.kind]} probe failed: {outcome.text}", run)
        self._row = self._row + 1 if outcome.ok == self._last_ok else 1
        self._last_ok = outcome.ok
        if self._row < (self._success if outcome.ok else self._failure):
            return
        if self.kind == "readiness":
            if run.ready != outcome.ok:
                run.ready = outcome.ok
                worker.publish()
        elif not outcome.ok:
            self._kill()
        elif self.kind == "startup":
            self.end()
            run.started = True
            for probe in run.probes:
                if probe is not self:
                    probe.hurry()
            worker.publish()
            worker.poke()

    def hurry(self) -> None:
        """The container is up: ask now if the initial delay is over, not at the next turn."""
        if self._timer is not None and not self._ended:
            self._timer.cancel()
            start = max(self._due - self._period, trio.current_time())
            self._due = start
            self._timer = self._worker.agent.host.timers.at(start, self._fire)

    def _kill(self) -> None:
        """The container is not alive: end it, the restart policy does the rest."""
        run = self._run
        grace = self._spec.get("terminationGracePeriodSeconds")
        for probe in run.probes:
            probe.end()
        text = f"Container {run.name} failed {self.kind} probe, will be restarted"
        run.ready = False
        stop.restart(self._worker, run, text, None if grace is None else float(grace))
