"""From `kcore up` to a cluster whose nodes are Ready, and what it then takes to stay there.

    python -m tests.benchmarks start [SECONDS OF REST]

A start is timed from the birth of the process until the API shows every node Ready. Floors: a Python that imports trio
and does nothing, and one that imports all the modules that the cluster has loaded.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from kcore.testing.running import own_addresses, settings
from tests.benchmarks.bench_scale import nodes_ready
from tests.benchmarks.figures import cpu_seconds, duration, figure, heading, resident_bytes
from tests.benchmarks.load import Connection, Target

STARTS = 5
_PART = re.compile(r"✓ (\w+) +\S+ +(\d+) ms")
# A benchmark's own environment may forbid to write bytecode; an installed kcore has it.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"NO_COLOR": "1"}


@attrs.frozen
class Start:
    """One start."""

    seconds: float
    parts: dict[str, float]
    process: subprocess.Popen[str]


@contextmanager
def started(directory: Path, number: int, python: tuple[str, ...] = ()) -> Iterator[Start]:
    """A dev cluster whose nodes are Ready; stopped with the block."""
    command = [sys.executable, *python, "-m", "kcore", "up", "-c", "dev", "--data-dir", str(directory)]
    for setting in settings(number):
        command += ["--set", setting]
    with (Path(directory) / "output").open("w") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=_ENVIRONMENT)
    try:
        assert process.stdout is not None
        parts = {}
        for line in process.stdout:
            if found := _PART.search(line):
                parts[found[1]] = float(found[2]) / 1000
            if "nodes ready" in line:
                break
        else:
            raise SystemExit(f"the cluster did not start:\n{(Path(directory) / 'output').read_text()}")
        target = Target.of(directory / "kubeconfig")
        connection = Connection(target)
        while nodes_ready(connection, target) < 3:
            time.sleep(0.002)
        yield Start(time.perf_counter() - began, parts, process)
        connection.sock.close()
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def python(code: str) -> float:
    """Median seconds of a Python that runs this."""
    seconds = []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=_ENVIRONMENT)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def loaded(number: int) -> list[str]:
    """The modules that a dev cluster has loaded when its nodes are Ready, in the order in which they were."""
    with tempfile.TemporaryDirectory() as directory:
        with started(Path(directory), number, ("-X", "importtime")):
            pass
        lines = (Path(directory) / "output").read_text().splitlines()
    names = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")][1:]
    return [n for n in names if n not in ("site", "kcore.__main__") and not n.startswith(("_distutils", "sitecustom"))]


def imports(number: int) -> float:
    names = loaded(number)
    code = f"import importlib\nfor name in {names!r}:\n try: importlib.import_module(name)\n except ImportError: pass"
    seconds = python(code)
    figure(f"import of all {len(names)} modules", f"{seconds * 1000:.0f} ms", "", None)
    return seconds


def main(rest: float = 60.0) -> None:
    heading("Start of the dev cluster (SQLite, fake runtime, 3 nodes)")
    floor = python("import trio")
    with own_addresses() as number, tempfile.TemporaryDirectory() as kept:
        importing = imports(number)
        fresh = []
        for _ in range(STARTS):
            with tempfile.TemporaryDirectory() as directory, started(Path(directory), number) as start:
                fresh.append(start)
        again = []
        for _ in range(STARTS):
            with started(Path(kept), number) as start:
                again.append(start)
        again = again[1:]  # the first one has made the directory's contents
        for name, starts in (("a fresh directory", fresh), ("an existing directory", again)):
            seconds = statistics.median(s.seconds for s in starts)
            duration(f"up to every node Ready, {name}", seconds, 1.0, floor, "Python and trio")
            each = {part: statistics.median(s.parts[part] for s in starts) for part in starts[0].parts}
            figure("", ", ".join(f"{part} {t * 1000:.0f}" for part, t in each.items()) + " ms", "", None)
        figure("", f"the rest is {importing * 1000:.0f} ms of imports, most of them within the parts", "", None)
        with started(Path(kept), number) as start:
            resting(start.process.pid, rest)


def resting(pid: int, seconds: float) -> None:
    """Memory, and the CPU time that a cluster with nothing to do takes."""
    time.sleep(2)
    size = resident_bytes(pid) / 1e6
    figure("resident memory when Ready", f"{size:.0f} MB", "at most 100 MB", size <= 100)
    before = cpu_seconds(pid)
    time.sleep(seconds)
    share = (cpu_seconds(pid) - before) / seconds * 100
    figure(f"CPU of {seconds:.0f} s at rest", f"{share:.2f} %", "at most 1 %", share <= 1.0)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
