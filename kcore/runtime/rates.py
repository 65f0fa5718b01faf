"""Rates from totals, for runtimes and nodes whose kernel only counts."""

from __future__ import annotations

import attrs

RATE_SECONDS = 5.0
"""Over which a rate is taken at least, however often somebody asks."""


@attrs.define
class Samples:
    """A total that grows: an older sample, and the one that will follow it."""

    time: float
    total: int
    newer: tuple[float, int]

    def rate(self, now: float, total: int) -> int:
        """Per second; 0 as long as there is only one sample."""
        if now - self.newer[0] >= RATE_SECONDS:
            (self.time, self.total), self.newer = self.newer, (now, total)
        return int(max(0, total - self.total) / (now - self.time)) if now > self.time else 0
