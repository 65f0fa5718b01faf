"""One pod on one node: looks at what is and at what should be, and takes the next step.

A worker is a job (see work.py): it runs whenever something about its pod may have changed -- the pod itself, a
container that ended, a probe's verdict, a time that has come -- and never waits inside. What takes time (starting,
stopping) happens in a task of its own that makes the worker run again when it is done.

The order of a pod's life: admission; volumes and sandbox; init containers one by one, sidecars among them;
containers; their restarts; the end, by completion, deletion, deadline or refusal.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import trio

from kcore import clock
from kcore.errors import KcoreError
from kcore.node import launch, resize, stop
from kcore.node.admission import Refusal, need
from kcore.node.admit import admit
from kcore.node.images import Pull
from kcore.node.probes import probes_of
from kcore.node.run import EPHEMERAL, INIT, MAIN, SIDECAR, Run, remember, runs_of
from kcore.node.staticpods import SOURCE
from kcore.node.statuswriter import StatusWriter
from kcore.node.volumes import Token
from kcore.node.work import Job
from kcore.objects import Object, meta
from kcore.runtime import READY, Container, NoSuch, Sandbox, Volume

if TYPE_CHECKING:
    from kcore.node.agent import Agent

log = logging.getLogger("kcore.node")

SETTLE = 0.1  # seconds that a status may wait while the pod is being started: most starts are over by then
DELAY_FIRST, DELAY_MOST = 0.5, 122.0  # between attempts to set up a pod: doubling


class _Changed(Job):
    """Something that the pod names has changed: its volumes may have new content, or it may start at last."""

    def __init__(self, worker: PodWorker) -> None:
        super().__init__()
        self._worker = worker

    async def run(self) -> None:
        worker = self._worker
        worker.not_before = -math.inf
        if worker.sandbox is not None and not worker.launching and not worker.ending and not worker.dead:
            await launch.refresh_volumes(worker)
        worker.poke()


class PodWorker(Job):
    """What one node knows of one pod."""

    def __init__(self, agent: Agent, pod: Object) -> None:
        super().__init__()
        self.agent, self.pod = agent, pod
        self.uid = meta.uid(pod)
        self.first_seen = clock.now()
        self.runs: dict[str, Run] = runs_of(pod)
        self.sandbox: Sandbox | None = None
        self.sandbox_attempt = 0
        self._lost: list[str] = []  # sandboxes that broke
        self.ips: tuple[str, ...] = ()
        self.volumes: dict[str, Volume] = {}
        self.tokens: dict[tuple[str, str], Token] = {}
        self.pulls: dict[str, Pull] = {}
        self.resize = resize.Resize()
        self.fate: Refusal | None = None  # why the pod was failed by this node
        self.admitted = self.refused = False
        self.evicted = ""  # the reason of the condition DisruptionTarget
        self._fate_grace = 0.0
        self.initialized = False
        self.gone = False  # the API has it no more
        self.dead = False  # the node is
        self.ending = False  # nothing is started any more
        self.stopped = False  # nothing runs any more
        self.ended = trio.Event()  # and the API knows
        self.launching = False
        self.not_before = -math.inf  # trio's clock: when setting up may be tried again
        self._delay = 0.0
        self._launch_scope: trio.CancelScope | None = None
        self._stop_grace: float | None = None
        self._changed = _Changed(self)
        self.lookup = agent.host.references.lookup(self._changed)
        self.writer = StatusWriter(self)
        self._remember_status()

    def __repr__(self) -> str:
        return f"<pod {meta.key(self.pod)} on {self.agent.name}>"

    # --- what others ask and tell ------------------------------------------------------------------------------------

    @property
    def static(self) -> bool:
        """It comes from a file of the node; the API has a mirror of it."""
        return meta.annotations(self.pod).get(SOURCE, "api") != "api"

    @property
    def policy(self) -> str:
        return str(self.pod["spec"].get("restartPolicy", "Always"))

    @property
    def host_ip(self) -> str:
        return self.agent.address

    @property
    def grace(self) -> float:
        """Seconds that the pod's containers get to end."""
        if self.evicted:
            return self._fate_grace
        wanted = self.pod["metadata"].get("deletionGracePeriodSeconds")
        if wanted is None:
            wanted = self.pod["spec"].get("terminationGracePeriodSeconds")
        return 30.0 if wanted is None else float(wanted)

    def evict(self, why: Refusal, grace: float, reason: str = "TerminationByKubelet") -> None:
        """The node ends the pod, within `grace` seconds."""
        if self.fate is None and not self.ending:
            self.fate, self._fate_grace, self.evicted = why, min(grace, self.grace), reason
            self.event("Warning", why.reason, why.message)
            self.poke()

    def container_id(self, container: Container) -> str:
        return f"{self.agent.runtime_name}://{container.id}"

    def event(self, type: str, reason: str, message: str, run: Run | None = None) -> None:
        path = run.path if run is not None else ""
        self.agent.host.events.record(self.pod, "Pod", self.agent.name, type, reason, message, path)

    def poke(self) -> None:
        """Something has changed: run soon."""
        if not self.dead:
            self.agent.host.work.add(self)

    def poke_after(self, seconds: float) -> None:
        self.agent.host.work.add_after(self, seconds)

    def publish(self) -> None:
        """The status may have changed: have it written."""
        if self.dead or self.gone:
            return
        if self.launching:
            self.agent.host.work.add_after(self.writer, SETTLE)
        else:
            self.agent.host.work.add(self.writer)

    def observe(self, pod: Object) -> None:
        """The API has a (newer) state of the pod."""
        if int(meta.resource_version(pod) or 0) >= int(meta.resource_version(self.pod) or 0):
            before, self.pod = self.pod["metadata"], pod
            if any(before.get(k) != pod["metadata"].get(k) for k in ("labels", "annotations")):
                self.agent.host.work.add(self._changed)  # files of the downward API show them
            self.poke()

    def renew_tokens(self) -> None:
        """Files that lie on a disk are not asked for: new tokens are put there in time."""
        if self.agent.real and self.tokens:
            due = min(token.renew_at for token in self.tokens.values())
            self.agent.host.work.add_after(self._changed, max(1.0, due - trio.current_time()))

    def next_delay(self) -> float:
        self._delay = min(self._delay * 2 or DELAY_FIRST, DELAY_MOST)
        return self._delay

    def adopt(self, sandboxes: list[Sandbox], containers: list[Container]) -> None:
        """Carry on from what the runtime has (after a restart of the agent)."""
        newest = max(sandboxes, key=lambda s: (s.state == READY, s.attempt))
        if newest.state == READY:
            self.sandbox, self.sandbox_attempt = newest, newest.attempt
            self.ips = newest.ips or (self.host_ip,)
        else:
            self.sandbox_attempt = newest.attempt + 1
        for s in sandboxes:
            if s is not self.sandbox:
                self._lost.append(s.id)
                self.agent.host.spawn(self._stop_lost, s.id)
        for c in sorted(containers, key=lambda c: c.attempt):
            run = self.runs.get(c.name)
            if run is not None:
                if run.current is not None and run.current.id == c.id:
                    run.current = None
                run.begin(c)
                run.stale = True
        self.admitted = True
        self.agent.ledger.enter(self.uid, need(resize.as_allocated(self)))
        for run in self.runs.values():
            if run.running:
                self.watch_health(run)
        self.initialized = any(r.current is not None for r in self.runs.values() if r.kind == MAIN)

    def sandbox_ready(self, sandbox: Sandbox) -> None:
        """A new sandbox: what ran in an earlier one is over, and init containers run again."""
        self.ips = sandbox.ips or (self.host_ip,)
        for run in self.runs.values():
            run.passed = False
            if run.kind in (INIT, SIDECAR) and run.current is not None:
                run.last, run.current = run.current, None

    def sandbox_lost(self, id: str) -> None:
        """The sandbox broke: everything starts over in a new one."""
        if self.sandbox is not None and self.sandbox.id == id and not self.ending:
            self._cancel_launch()
            self.sandbox, self.sandbox_attempt, self.initialized = None, self.sandbox_attempt + 1, False
            self._lost.append(id)
            self.event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
            self.agent.host.spawn(self._stop_lost, id)

    async def _stop_lost(self, id: str) -> None:
        """End what may still run in a broken sandbox. It is kept until the pod goes: the logs are in it."""
        await self.agent.runtime.stop_sandbox(id)
        for run in self.runs.values():
            run.stale = run.current is not None
        self.poke()

    def watch_health(self, run: Run) -> None:
        """The container has started: probe it as its spec says."""
        run.probes = probes_of(self, run)
        run.started = "startupProbe" not in run.spec
        run.ready = "readinessProbe" not in run.spec
        for probe in run.probes:
            probe.begin()

    def abandon(self) -> None:
        """The node has died: do nothing any more."""
        self.dead = True
        self._cancel_launch()
        for run in self.runs.values():
            _end_probes(run)
        self.agent.host.references.release(self._changed)

    # --- one step ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        if self.dead:
            return
        start = trio.current_time()
        await self._step()
        kind = "create" if not self.admitted else "terminate" if self.ending else "sync"
        self.agent.measures.worked(kind, trio.current_time() - start)

    async def _step(self) -> None:
        await self._refresh()
        self._read_spec()
        if not self.admitted and not self.ending:
            self._admit()
        self._check_deadline()
        if self.gone or meta.deleting(self.pod) or self.fate is not None or self._completed():
            await self._end()
        else:
            resize.consider(self)
            self._start()
        self.publish()

    def _start(self) -> None:
        """Start what is to run and does not."""
        if not self.launching and trio.current_time() >= self.not_before:
            todo = self._next()
            if todo or self.sandbox is None:
                self._launch(todo)

    async def _refresh(self) -> None:
        """Fetch what the runtime has news of."""
        for run in self.runs.values():
            if run.stale and run.current is not None:
                run.stale = False
                try:
                    run.current = await self.agent.runtime.container(run.current.id)
                except NoSuch:
                    continue
                if run.exited:
                    _end_probes(run)

    def _read_spec(self) -> None:
        """Take over what may change while a pod runs: ephemeral containers, images, resources."""
        spec = self.pod["spec"]
        for member in ("initContainers", "containers", "ephemeralContainers"):
            for c in spec.get(member) or ():
                run = self.runs.get(c["name"])
                if run is None:
                    self.runs[c["name"]] = runs_of({"spec": {member: [c]}})[c["name"]]
                elif run.spec is not c and run.spec != c:
                    changed = run.spec.get("image") != c.get("image")
                    run.spec = c
                    if run.running and changed and not run.stopping:
                        run.excused = True
                        stop.restart(self, run, f"Container {run.name} definition changed, will be restarted")

    def _admit(self) -> None:
        if meta.pod_terminal(self.pod) or meta.deleting(self.pod) or self.gone:
            return
        self.fate = admit(self)
        self.admitted, self.refused = self.fate is None, self.fate is not None
        if self.fate is not None:
            self.event("Warning", self.fate.reason, self.fate.message)

    def _check_deadline(self) -> None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        if seconds is None or self.ending:
            return
        started = (self.pod.get("status") or {}).get("startTime")
        left = (clock.parse(started) if started else self.first_seen) + seconds - clock.now()
        if left <= 0:
            text = "Pod was active on the node longer than the specified deadline"
            self.fate = Refusal("DeadlineExceeded", text)
            self.event("Normal", "DeadlineExceeded", text)
        else:
            self.poke_after(left)

    def _completed(self) -> bool:
        """All that was to run has run."""
        if self.ending or meta.pod_terminal(self.pod):
            return True
        main = [r for r in self.runs.values() if r.kind == MAIN]
        if main and all(r.finished(self.policy) for r in main):
            return True
        return any(r.kind == INIT and r.finished(self.policy) and not r.succeeded for r in self.runs.values())

    # --- starting ----------------------------------------------------------------------------------------------------

    def _next(self) -> list[Run]:
        """The containers to start now, in order."""
        todo = [r for r in self.runs.values() if r.kind == EPHEMERAL and (r.current is None or r.half_made)]
        if not self.initialized:
            todo += self._next_init()
        if self.initialized:
            for run in self.runs.values():
                if run.kind in (MAIN, SIDECAR) and self._due(run):
                    todo.append(run)
        return todo

    def _next_init(self) -> list[Run]:
        """The init container or sidecar whose turn it is, and sidecars before it that have ended; sets `initialized`
        when all have had their turn."""
        again: list[Run] = []
        for run in self.runs.values():
            if run.kind not in (INIT, SIDECAR) or (run.kind == INIT and run.succeeded):
                continue
            run.passed = run.passed or (run.kind == SIDECAR and run.running and run.started)
            if not run.passed:
                return [*again, run] if self._due(run) else again
            if self._due(run):
                again.append(run)
        self.initialized = True
        return []

    def _due(self, run: Run) -> bool:
        """It does not run, it should, and nothing holds it back."""
        if run.current is None or run.half_made:
            return True
        if not run.exited or run.finished(self.policy):
            return False
        if run.excused:
            run.excused = False
            return True
        ended = run.current.finished_at
        wait = run.backoff.until(ended) - clock.now()
        if wait > 0 and not run.stopping:
            if run.waiting is None:
                pod = f"{meta.name(self.pod)}_{meta.namespace(self.pod)}({self.uid})"
                text = f"back-off {_duration(run.backoff.delay)} restarting failed container={run.name} pod={pod}"
                run.waiting = ("CrashLoopBackOff", text)
                message = f"Back-off restarting failed container {run.name} in pod {pod}"
                self.event("Warning", "BackOff", message, run)
            self.poke_after(wait)
            return False
        run.backoff.next(ended)
        return True

    def _launch(self, todo: list[Run]) -> None:
        self.launching = True
        self.agent.host.spawn(self._launch_task, todo)

    async def _launch_task(self, todo: list[Run]) -> None:
        wait = 0.0
        with trio.CancelScope() as self._launch_scope:
            try:
                if any(run.exited for run in todo):
                    await self._check_sandbox()
                await launch.set_up(self)
                for run in todo:
                    try:
                        await launch.launch(self, run)
                    except launch.NotYet as not_yet:
                        wait = min(wait or math.inf, not_yet.seconds)
            except launch.NotYet as not_yet:
                wait = not_yet.seconds
            except (KcoreError, OSError) as error:
                wait = self.next_delay()
                log.warning("%r: cannot start: %s; again in %.1f s", self, error, wait)
            except Exception:
                wait = self.next_delay()
                log.exception("%r: cannot start; again in %.1f s", self, wait)
        self.launching = False
        self._launch_scope = None
        if wait:
            self.not_before = trio.current_time() + wait
            self.poke_after(wait)
            self.publish()
        else:
            self._delay = 0.0
        self.poke()

    async def _check_sandbox(self) -> None:
        """What ended may have ended with its sandbox, and the news of that come second: a restart in a sandbox that is
        breaking would be in vain."""
        await trio.sleep(SETTLE)
        sandbox = self.sandbox
        if sandbox is not None:
            found = [s for s in await self.agent.runtime.list_sandboxes() if s.id == sandbox.id and s.state == READY]
            if not found and self.sandbox is sandbox:
                self.sandbox_lost(sandbox.id)
                await trio.lowlevel.checkpoint()  # where the launch that is under way ends

    def _cancel_launch(self) -> None:
        if self._launch_scope is not None:
            self._launch_scope.cancel()

    # --- ending ------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        self.ending = True
        self._cancel_launch()
        for run in self.runs.values():
            run.waiting = None
        if self.launching:
            return  # its end makes us run again
        if not self.stopped:
            grace = 1.0 if self.gone else self.grace
            if self._stop_grace is None or grace < self._stop_grace:
                self._stop_grace = grace
                self.agent.host.spawn(self._stop_task, grace)
            return
        if self.uid in self.agent.ledger:
            self.agent.ledger.release(self.uid)
            self.agent.room_made()
        self.agent.host.references.release(self._changed)
        if self.gone:
            await self._remove()

    async def _stop_task(self, grace: float) -> None:
        try:
            await stop.stop_all(self, grace)
            if self.sandbox is not None:
                await self.agent.runtime.stop_sandbox(self.sandbox.id)
        except (KcoreError, OSError) as error:
            log.warning("%r: cannot stop: %s", self, error)
            self._stop_grace = None
            self.poke_after(self.next_delay())
            return
        for run in self.runs.values():
            run.stale = run.current is not None and not run.exited
        self.stopped = True
        self.poke()
        self.publish()

    async def _remove(self) -> None:
        for id in (*self._lost, *([self.sandbox.id] if self.sandbox is not None else ())):
            await self.agent.runtime.remove_sandbox(id)
        self.agent.forget(self)
        if self.static and self.agent.static is not None:
            await self.agent.static.remove_mirror(self)
            self.agent.host.work.add(self.agent.static)

    def _remember_status(self) -> None:
        status = self.pod.get("status") or {}
        for member in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
            for s in status.get(member) or ():
                run = self.runs.get(s["name"])
                if run is not None:
                    remember(run, s)
                    resize.recovered(run, s)


def _end_probes(run: Run) -> None:
    for probe in run.probes:
        probe.end()
    run.probes = []


def _duration(seconds: float) -> str:
    """As Go prints it: 10s, 1m20s, 5m0s."""
    whole = int(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
