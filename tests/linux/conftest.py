"""A network namespace of the test's own, which the test's thread moves into."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from trio._core._thread_cache import THREAD_CACHE

from kcore.linux.namespaces import enter
from tests.needs import needs


@pytest.fixture
def machine() -> Iterator[None]:
    """For the test, the machine's network is an empty one; processes that it starts are in it as well.

    trio starts processes from threads that it keeps: those from before stay outside, those of the test end with it.
    """
    needs("ip", "iptables", root=True)
    name = "kcore-test-machine"
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    before = Path("/proc/thread-self/ns/net")
    descriptor = before.open("rb")
    try:
        THREAD_CACHE._idle_workers.clear()
        enter(f"/run/netns/{name}")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        THREAD_CACHE._idle_workers.clear()
        enter(f"/proc/self/fd/{descriptor.fileno()}")
        descriptor.close()
        subprocess.run(["ip", "netns", "delete", name], check=False)
