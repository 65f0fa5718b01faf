"""What a fake pod says of itself at /metrics, in the form that Prometheus scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore import clock

if TYPE_CHECKING:
    from kcore_runtime_fake.container import FakeContainer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATHS_MOST = 100  # distinct paths that are counted by themselves; further ones are counted together

Requests = dict[tuple[str, str, int], int]
"""Requests answered so far, by method, path and status."""


def count(requests: Requests, method: str, path: str, status: int) -> None:
    """One more request has been answered."""
    key = (method, path, status)
    if key not in requests and len(requests) >= PATHS_MOST:
        key = (method, "", status)
    requests[key] = requests.get(key, 0) + 1


def expose(container: FakeContainer) -> bytes:
    """The names are those of Prometheus' own client libraries."""
    stats = container.stats(clock.now())
    lines = ["# HELP http_requests_total Requests answered.", "# TYPE http_requests_total counter"]
    for (method, path, status), n in container.requests.items():
        lines.append(f'http_requests_total{{method="{method}",path="{_escaped(path)}",code="{status}"}} {n}')
    for name, kind, help, value in (
        ("process_cpu_seconds_total", "counter", "CPU time used.", stats.cpu_nanoseconds / 1e9),
        ("process_resident_memory_bytes", "gauge", "Memory used.", stats.memory_working_set),
        ("process_start_time_seconds", "gauge", "When it started, since the epoch.", container.started_at),
    ):
        lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}", f"{name} {value!r}"]
    return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
