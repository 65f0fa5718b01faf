"""The container runtime contract, in CRI's vocabulary: sandboxes, containers, images, exec, logs, stats."""

from __future__ import annotations

from typing import Protocol


class Runtime(Protocol):
    """What a `kcore_runtime` provider opens to."""
