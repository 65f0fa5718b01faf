"""Waiting for a cluster in another process to reach a state: the only way to know is to ask again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def poll(probe: Callable[[], T], *, seconds: float = 30.0, every: float = 0.1) -> T:
    """What `probe` returns once that is true; its last answer, or what it raised, when the time is over.

    A probe may raise AssertionError or LookupError while there is nothing to be seen yet.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = probe()
        except (AssertionError, LookupError):
            if time.monotonic() > deadline:
                raise
        else:
            if found or time.monotonic() > deadline:
                return found
        time.sleep(every)
