"""The libraries that Kubernetes enables, one module each."""

from __future__ import annotations

from kcore.cel import standard
from kcore.cel.functions import Library
from kcore.cel.nodes import Node


def load() -> list[Library]:
    """All of them; made once."""
    return [standard.library()]


def validate(source: str, root: Node) -> None:
    """What Kubernetes checks of literals: patterns, durations and timestamps must be well formed."""
