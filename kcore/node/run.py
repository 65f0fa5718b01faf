"""One container of a pod over all of its runs: which run is the present one, and when there may be the next.

Restart policies and back-off are those of the Kubernetes docs, "Pod Lifecycle: Container restarts": the first restart
is immediate, then 10 s, 20 s, 40 s ... up to 5 minutes, and a container that has gone on well for 10 minutes starts
over at 10 s.
"""

from __future__ import annotations

from typing import Any

import attrs

from kcore import clock
from kcore.objects import Object
from kcore.runtime import CREATED, EXITED, RUNNING, Container

MAIN, INIT, SIDECAR, EPHEMERAL = "main", "init", "sidecar", "ephemeral"
BACKOFF_FIRST, BACKOFF_MOST = 10.0, 300.0  # seconds
BACKOFF_FORGET = 2 * BACKOFF_MOST


@attrs.define
class Backoff:
    """How long to leave something that fails alone. Times are the cluster's (`kcore.clock`)."""

    delay: float = 0.0
    updated: float = 0.0

    def until(self, since: float) -> float:
        """When it may be tried again, after the failure at `since`."""
        if since - self.updated > BACKOFF_FORGET:
            return since
        return since + self.delay

    def next(self, since: float) -> None:
        """It is being tried again after the failure at `since`."""
        expired = not self.delay or since - self.updated > BACKOFF_FORGET
        self.delay = BACKOFF_FIRST if expired else min(self.delay * 2, BACKOFF_MOST)
        self.updated = clock.now()


@attrs.define(eq=False)
class Run:
    """The present and the previous run of one container, as the runtime told."""

    spec: Object
    kind: str
    current: Container | None = None
    last: Container | None = None
    waiting: tuple[str, str] | None = None  # reason and message, while something holds the next run back
    backoff: Backoff = attrs.Factory(Backoff)
    stale: bool = False  # the runtime has news of the current run
    stopping: bool = False  # it has been told to end
    started: bool = False  # as its startup probe and hook say
    passed: bool = False  # a sidecar that has started in this sandbox: what comes after it need not wait
    ready: bool = False  # as its readiness probe says
    attempt: int = 0  # of the next run
    excused: bool = False  # it was ended for something that is not its fault: no back-off
    allocated: Object | None = None  # the resources that the node has set aside for it
    applied: Object | None = None  # those that the present run has
    probes: list[Any] = attrs.Factory(list)  # kcore.node.probes.Probe

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        return self.current is not None and self.current.state == RUNNING

    @property
    def exited(self) -> bool:
        return self.current is not None and self.current.state == EXITED

    @property
    def half_made(self) -> bool:
        """It was created and never started: its maker was killed, or the engine went away, between the two."""
        return self.current is not None and self.current.state == CREATED

    @property
    def succeeded(self) -> bool:
        return self.exited and self.current is not None and self.current.exit_code == 0

    @property
    def restarts(self) -> int:
        return self.current.attempt if self.current is not None else self.attempt

    @property
    def path(self) -> str:
        """How events name it."""
        if self.kind == EPHEMERAL:
            return f"spec.ephemeralContainers{{{self.name}}}"
        return f"spec.{'containers' if self.kind == MAIN else 'initContainers'}{{{self.name}}}"

    def restartable(self, pod_policy: str) -> bool:
        """Whether it is to run again after the run that has ended."""
        assert self.current is not None
        if self.kind == SIDECAR:
            return True
        if self.kind == EPHEMERAL:
            return False
        for rule in self.spec.get("restartPolicyRules") or ():
            codes = rule.get("exitCodes") or {}
            listed = self.current.exit_code in (codes.get("values") or ())
            if listed == (codes.get("operator") == "In"):
                return bool(rule.get("action") == "Restart")
        policy = self.spec.get("restartPolicy") or pod_policy
        if self.kind == INIT:
            return policy != "Never" and self.current.exit_code != 0
        return policy == "Always" or (policy == "OnFailure" and self.current.exit_code != 0)

    def finished(self, pod_policy: str) -> bool:
        """It has ended and will not run again."""
        return self.exited and not self.restartable(pod_policy)

    def begin(self, container: Container) -> Container | None:
        """`container` is the present run now. Returns the run before the previous one, which nobody needs."""
        dropped, self.last, self.current = self.last, self.current, container
        self.attempt = container.attempt + 1
        self.waiting = None
        self.stopping = self.started = self.ready = self.stale = False
        return dropped

    def forget(self) -> None:
        """The present run is taken back: the next one has its number."""
        assert self.current is not None
        self.attempt = self.current.attempt
        self.current, self.last = self.last, None


def runs_of(pod: Object) -> dict[str, Run]:
    """All containers of the pod, in the order of their start."""
    spec = pod["spec"]
    out: dict[str, Run] = {}
    for c in spec.get("initContainers") or ():
        out[c["name"]] = Run(c, SIDECAR if c.get("restartPolicy") == "Always" else INIT)
    for c in spec.get("containers") or ():
        out[c["name"]] = Run(c, MAIN)
    for c in spec.get("ephemeralContainers") or ():
        out[c["name"]] = Run(c, EPHEMERAL)
    return out


def remember(run: Run, status: Object) -> None:
    """What the API last heard of the container, when the runtime knows nothing of it: the machine was restarted.

    What had ended has ended; what was running then has ended with exit code 255, as after a power failure.
    """
    state, attempt = status.get("state") or {}, int(status.get("restartCount", 0))
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    if state.get("running"):
        started = clock.parse(state["running"]["startedAt"])
        ended = {"exitCode": 255, "reason": "Unknown", "startedAt": state["running"]["startedAt"]}
        ended |= {"finishedAt": clock.timestamp(max(started, clock.now()))}
    if not ended:
        run.attempt = attempt
        return
    run.current = Container(
        id=(ended.get("containerID") or status.get("containerID", "")).partition("://")[2],
        sandbox_id="",
        name=run.name,
        attempt=attempt,
        image=status.get("image", ""),
        image_ref=status.get("imageID", ""),
        state=EXITED,
        started_at=clock.parse(ended["startedAt"]) if ended.get("startedAt") else 0.0,
        finished_at=clock.parse(ended["finishedAt"]) if ended.get("finishedAt") else clock.now(),
        exit_code=ended.get("exitCode", 0),
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
    )
    run.attempt = attempt + 1
