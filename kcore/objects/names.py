"""Names and identifiers that are made up."""

from __future__ import annotations

import os
import random

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and no look-alikes, as upstream has it
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_random = random.Random()  # seeded by the system, once: such a name need be new, not secret
_AHEAD = 128  # of 16 bytes: asking the system for so many takes little longer than asking for one
_drawn: list[str] = []


def random_suffix() -> str:
    """Five characters for the end of a name."""
    return "".join(_random.choices(_LETTERS, k=5))


def random_uuid() -> str:
    """A UUID of version 4, of the system's randomness. (As `uuid.uuid4` makes it, in a tenth of the time.)"""
    if not _drawn:
        drawn = os.urandom(16 * _AHEAD).hex()
        _drawn.extend(drawn[at : at + 32] for at in range(0, len(drawn), 32))
    h = _drawn.pop()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"


os.register_at_fork(after_in_child=_drawn.clear)  # or parent and child would hand out the same
