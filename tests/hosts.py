"""Machines of the tests' own: network namespaces, and being in one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trio._core._thread_cache import THREAD_CACHE

from kcore.linux.namespaces import enter


@contextmanager
def inside(name: str) -> Iterator[None]:
    """In a new network namespace: this thread, the processes that it starts, and trio's threads.

    trio starts processes from threads that it keeps: those from before stay outside, those from inside end there.
    """
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        try:
            THREAD_CACHE._idle_workers.clear()
            enter(f"/run/netns/{name}")
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            THREAD_CACHE._idle_workers.clear()
            enter(f"/proc/self/fd/{before.fileno()}")
            subprocess.run(["ip", "netns", "delete", name], check=False)
