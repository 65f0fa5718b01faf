"""What one node agent counts while it works; `kcore.node.metrics` tells it to Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from kcore import clock
from kcore.errors import ApiError, KcoreError
from kcore.runtime import PodStats
from kcore.runtime.rates import Samples

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker
    from kcore.node.run import Run

# Bucket bounds in seconds, as upstream has them.
OPERATION = tuple(0.005 * 2.5**i for i in range(14))
POD_START: tuple[float, ...] = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600)
POD_START = (*POD_START, 900, 1200, 1800, 2700, 3600)
DURATION = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@attrs.define
class Histogram:
    """Counts by upper bound, as Prometheus has them."""

    bounds: tuple[float, ...]
    counts: list[int] = attrs.field(init=False)
    sum: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)


@attrs.define(eq=False)
class Measures:
    """The counters of one node."""

    pod_start: Histogram = attrs.Factory(lambda: Histogram(POD_START))
    pod_worker: dict[str, Histogram] = attrs.Factory(dict)  # by operation_type
    operations: dict[str, Histogram] = attrs.Factory(dict)  # runtime calls, by operation_type
    operation_errors: dict[str, int] = attrs.Factory(dict)
    mounts: dict[str, Histogram] = attrs.Factory(dict)  # by volume plugin
    mount_errors: dict[str, int] = attrs.Factory(dict)
    requests: dict[tuple[str, str], Histogram] = attrs.Factory(dict)  # to the API, by (method, code)
    probes: dict[tuple[str, ...], int] = attrs.Factory(dict)  # (type, result, container, namespace, pod, uid)
    evictions: dict[str, int] = attrs.Factory(dict)  # by signal
    started_containers: dict[str, int] = attrs.Factory(dict)  # by container_type
    _cpu: dict[str, int] = attrs.Factory(dict)  # container id -> nanoseconds when last looked at
    _cpu_total: int = 0
    _samples: dict[str, Samples] = attrs.Factory(dict)

    def container_started(self, worker: PodWorker, run: Run) -> None:
        kind = {"init": "init_container", "ephemeral": "ephemeral_container"}.get(run.kind, "container")
        self.started_containers[kind] = self.started_containers.get(kind, 0) + 1
        if not (run.current is not None and run.current.attempt) and run is next(reversed(worker.runs.values())):
            self.pod_start.observe(clock.now() - worker.first_seen)

    def probed(self, worker: PodWorker, run: Run, kind: str, ok: bool) -> None:
        m = worker.pod["metadata"]
        name = kind.capitalize()
        key = (name, "successful" if ok else "failed", run.name, m["namespace"], m["name"], worker.uid)
        self.probes[key] = self.probes.get(key, 0) + 1

    def forget(self, uid: str) -> None:
        """The pod is gone: its series end."""
        for key in [k for k in self.probes if k[5] == uid]:
            del self.probes[key]

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Around a call of the runtime."""
        start = trio.current_time()
        try:
            yield
        except KcoreError:
            self.operation_errors[name] = self.operation_errors.get(name, 0) + 1
            raise
        finally:
            self.operations.setdefault(name, Histogram(OPERATION)).observe(trio.current_time() - start)

    @contextmanager
    def mount(self, plugin: str) -> Iterator[None]:
        """Around the set-up of a volume."""
        start = trio.current_time()
        try:
            yield
        except KcoreError:
            self.mount_errors[plugin] = self.mount_errors.get(plugin, 0) + 1
            raise
        self.mounts.setdefault(plugin, Histogram(DURATION)).observe(trio.current_time() - start)

    @contextmanager
    def request(self, method: str) -> Iterator[None]:
        """Around a call of the API."""
        start, code = trio.current_time(), "200"
        try:
            yield
        except ApiError as error:
            code = str(error.code)
            raise
        finally:
            self.requests.setdefault((method, code), Histogram(DURATION)).observe(trio.current_time() - start)

    def worked(self, operation: str, seconds: float) -> None:
        """One step of a pod's worker."""
        self.pod_worker.setdefault(operation, Histogram(DURATION)).observe(seconds)

    def rate(self, id: str, now: float, total: int) -> int:
        """How fast a total grows per second."""
        samples = self._samples.get(id)
        if samples is None:
            samples = self._samples[id] = Samples(now, total, (now, total))
        return samples.rate(now, total)

    def node_cpu(self, pods: Iterable[PodStats]) -> int:
        """Nanoseconds of CPU that all containers ever used; does not fall when containers go."""
        now = {c.id: c.cpu_nanoseconds for p in pods for c in p.containers}
        self._cpu_total += sum(max(0, total - self._cpu.get(id, 0)) for id, total in now.items())
        self._cpu = now
        return self._cpu_total
