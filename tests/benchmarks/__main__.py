"""Run benchmarks: all of them, or those that are named.

    python -m tests.benchmarks [upstream] [large] [latency] [start] [server] [scale]
                               [store] [http] [scheduler] [api] [codec] [rbac]
                               [flood] [soak] [docker]

Each prints what it measured, what is promised where something is, and the ratio to a floor from the same run. They
assert nothing: a figure depends on the machine and on what else it does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = (
    "upstream",
    "large",
    "latency",
    "start",
    "server",
    "scale",
    "store",
    "http",
    "scheduler",
    "api",
    "codec",
    "rbac",
    "flood",
    "soak",
    "docker",
)


def run(name: str) -> int:
    """One benchmark, in a process of its own so that none warms up another. Returns its exit code."""
    path = HERE / f"bench_{name}.py"
    command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}"]
    if "\nasync def test_" in (text := path.read_text()) or "\ndef test_" in text:
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(path)]
    return subprocess.run(command, cwd=HERE.parent.parent, check=False).returncode


def main(arguments: list[str]) -> int:
    unknown = [name for name in arguments if name not in NAMES]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    return max([run(name) for name in arguments or NAMES])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
