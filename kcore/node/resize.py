"""Changing what a running pod's containers may use (Kubernetes docs, "Resize CPU and Memory Resources assigned to
Containers").

Three states of a container's resources: what the spec *desires*, what the node has *allocated* (it counts against what
the node has, and a restarted container gets it), and what has been *applied* to the running container. A desire that
does not fit now is deferred; one that can never fit is infeasible; both are told by the condition PodResizePending.
Between allocation and application the pod has the condition PodResizeInProgress.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kcore.errors import KcoreError
from kcore.node import stop
from kcore.node.admission import need
from kcore.node.run import INIT, MAIN, SIDECAR, Run
from kcore.objects import Object, meta, quantity
from kcore.runtime import Resources

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
INFEASIBLE, DEFERRED = "Infeasible", "Deferred"
RETRY_SECONDS = 10.0  # after the runtime refused


@attrs.define
class Resize:
    """How far the pod's desired resources have come."""

    pending: tuple[str, str] | None = None  # reason and message
    error: str = ""  # of the runtime
    active: bool = False  # something is allocated that is not applied
    tasks: int = 0

    @property
    def conditions(self) -> list[tuple[str, str, str]]:
        """(type, reason, message)."""
        found = []
        if self.pending is not None:
            found.append((PENDING, *self.pending))
        if self.active:
            found.append((IN_PROGRESS, "Error" if self.error else "", self.error))
        return found


def of_spec(run: Run) -> Object:
    return {k: v for k, v in (run.spec.get("resources") or {}).items() if k in ("requests", "limits") and v}


def same(a: Object, b: Object) -> bool:
    """Equal amounts, however they are written."""
    if a == b:
        return True
    for kind in ("requests", "limits"):
        one, two = a.get(kind) or {}, b.get(kind) or {}
        if one.keys() != two.keys() or any(quantity.parse(one[k]) != quantity.parse(two[k]) for k in one):
            return False
    return True


def recovered(run: Run, status: Object) -> None:
    """What the API was last told about a container that still runs."""
    found: Object = {k: v for k, v in (status.get("resources") or {}).items() if k in ("requests", "limits") and v}
    if found or "allocatedResources" in status:
        run.applied = found
        run.allocated = {**found, "requests": status.get("allocatedResources") or found.get("requests") or {}}
        run.allocated = {k: v for k, v in run.allocated.items() if v}


def as_allocated(worker: PodWorker) -> Object:
    """The pod with what has been allocated instead of what is desired."""
    spec = dict(worker.pod["spec"])
    for member in ("containers", "initContainers"):
        rows = []
        for c in spec.get(member) or ():
            run = worker.runs.get(c["name"])
            allocated = run.allocated if run is not None else None
            rows.append(c if allocated is None else {**c, "resources": allocated})
        if rows:
            spec[member] = rows
    return {**worker.pod, "spec": spec}


def resources(found: Object) -> Resources:
    """As the runtime has them."""
    requests, limits = found.get("requests") or {}, found.get("limits") or {}
    return Resources(
        cpu_request=quantity.milli(requests.get("cpu", 0)),
        cpu_limit=quantity.milli(limits.get("cpu", 0)),
        memory_request=quantity.value(requests.get("memory", 0)),
        memory_limit=quantity.value(limits.get("memory", 0)),
    )


def consider(worker: PodWorker) -> None:
    """Allocate what is desired if it fits, and apply what is allocated."""
    runs = [r for r in worker.runs.values() if r.kind in (MAIN, SIDECAR, INIT)]
    for run in runs:
        if run.allocated is None:
            run.allocated = of_spec(run)
    if any(not same(of_spec(r), r.allocated or {}) for r in runs):
        _allocate(worker, runs)
    else:
        worker.resize.pending = None
    for run in runs:
        if run.running and run.applied is not None and not run.stopping and not same(run.applied, run.allocated or {}):
            _apply(worker, run)
    _settle(worker, runs)


def _allocate(worker: PodWorker, runs: list[Run]) -> None:
    before, resize = worker.resize.pending, worker.resize
    if worker.static:
        resize.pending = (INFEASIBLE, "In-place resize of static-pods is not supported")
    else:
        resize.pending = worker.agent.ledger.resize(worker.uid, need(worker.pod), worker.agent.allocatable)
    if resize.pending is None:
        for run in runs:
            run.allocated = of_spec(run)
        return
    if before is None or before != resize.pending:
        worker.event("Warning", f"Resize{resize.pending[0]}", f"Pod resize {resize.pending[0]}: {resize.pending[1]}")


def _apply(worker: PodWorker, run: Run) -> None:
    assert run.applied is not None
    assert run.allocated is not None
    changed = {
        name
        for kind in ("requests", "limits")
        for name in {**(run.applied.get(kind) or {}), **(run.allocated.get(kind) or {})}
        if (run.applied.get(kind) or {}).get(name) != (run.allocated.get(kind) or {}).get(name)
    }
    policies = {p["resourceName"]: p.get("restartPolicy") for p in run.spec.get("resizePolicy") or ()}
    if any(policies.get(name) == "RestartContainer" for name in changed):
        run.excused = True
        stop.restart(worker, run, f"Container {run.name} resize requires restart")
        return
    resize, wanted = worker.resize, run.allocated
    if resize.tasks:
        return  # its end makes us look again
    resize.tasks += 1

    async def task() -> None:
        try:
            assert run.current is not None
            await worker.agent.runtime.update_resources(run.current.id, resources(wanted))
            run.applied, resize.error = wanted, ""
            worker.poke()
        except KcoreError as error:
            resize.error = str(error)
            worker.event("Warning", "ResizeError", f"Pod resize error: {error}", run)
            worker.poke_after(RETRY_SECONDS)
            worker.publish()
        finally:
            resize.tasks -= 1

    worker.agent.host.spawn(task)


def _settle(worker: PodWorker, runs: list[Run]) -> None:
    resize = worker.resize
    was = resize.active
    resize.active = any(r.running and r.applied is not None and not same(r.applied, r.allocated or {}) for r in runs)
    if resize.active and not was:
        worker.event("Normal", "ResizeStarted", f"Pod resize started: {_summary(worker)}")
    elif was and not resize.active:
        resize.error = ""
        worker.event("Normal", "ResizeCompleted", f"Pod resize completed: {_summary(worker)}")


def _summary(worker: PodWorker) -> str:
    parts = [f"{r.name}: {r.allocated}" for r in worker.runs.values() if r.kind == MAIN and r.allocated]
    return f"generation {meta.generation(worker.pod)}, {'; '.join(parts)}"
