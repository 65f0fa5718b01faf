"""The endings of generated names."""

from __future__ import annotations

import random

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and no look-alikes, as upstream has it
_random = random.Random()  # seeded by the system, once: such a name need be new, not secret


def random_suffix() -> str:
    """Five characters for the end of a name."""
    return "".join(_random.choices(_LETTERS, k=5))
