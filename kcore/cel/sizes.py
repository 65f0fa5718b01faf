"""Ranges of sizes and costs, as numbers that stop at 2^64 - 1."""

from __future__ import annotations

import math
from typing import NamedTuple

MOST = (1 << 64) - 1


class Range(NamedTuple):
    """From ``min`` to ``max``; both stop at `MOST`."""

    min: int
    max: int

    def plus(self, other: Range) -> Range:
        return Range(min(self.min + other.min, MOST), min(self.max + other.max, MOST))

    def times(self, other: Range) -> Range:
        return Range(min(self.min * other.min, MOST), min(self.max * other.max, MOST))

    def scaled(self, factor: float) -> Range:
        """Each end times the factor, rounded up."""
        return Range(_scaled(self.min, factor), _scaled(self.max, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.min, other.min), max(self.max, other.max))


def _scaled(value: int, factor: float) -> int:
    # floating point, because upstream's rounding shows in what it accepts
    result = math.ceil(float(value) * factor)
    return min(result, MOST)


def fixed(value: int) -> Range:
    return Range(value, value)


UNKNOWN = Range(0, MOST)
ZERO = Range(0, 0)
ONE = Range(1, 1)
