"""A network namespace of each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts import inside
from tests.needs import needs


@pytest.fixture
def machine() -> Iterator[None]:
    """For the test, the machine's network is an empty one."""
    needs("ip", "iptables", root=True)
    with inside("kcore-test-machine"):
        yield
