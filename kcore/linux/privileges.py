"""What this process may do on its machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_SYS_RESOURCE = 24  # CAP_SYS_RESOURCE


@cache
def least_oom_score() -> int:
    """The lowest oom_score_adj that may be set: without the capability nobody's goes below one's own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff" and int(value, 16) >> _SYS_RESOURCE & 1:
            return -1000
    return int(Path("/proc/self/oom_score_adj").read_text())
