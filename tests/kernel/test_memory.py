"""The garbage collector of a cluster's process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from kcore.cli import memory


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """As it was, afterwards."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


def test_cycles_that_are_made_after_the_start_are_collected() -> None:
    class Node:
        alive = 0

        def __init__(self) -> None:
            Node.alive += 1
            self.me = self

        def __del__(self) -> None:
            Node.alive -= 1

    memory.starting()
    memory.started()
    for _ in range(200_000):
        Node()
    assert Node.alive < 100_000
    assert gc.get_freeze_count() > 0
