"""The policy contract: filters and scores over all nodes at once."""

from __future__ import annotations

from typing import Protocol


class Policy(Protocol):
    """What a `kcore_policy` provider opens to."""
