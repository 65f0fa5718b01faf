"""What a test needs of the machine: programs, root. Where it is missing a user's run skips, CI fails."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {  # of Debian, by program
    "busybox": "busybox-static",
    "conntrack": "conntrack",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "haproxy": "haproxy",
    "helm": "",
    "ip": "iproute2",
    "iptables": "iptables",
    "prometheus": "prometheus",
    "victoria-metrics": "victoria-metrics",
    "wrk": "wrk",
}


def missing(*programs: str, root: bool = False) -> str:
    """What is not there, and the remedy; "" if all is."""
    absent = [program for program in programs if shutil.which(program) is None]
    said = []
    if absent:
        packages = " ".join(sorted({PACKAGES[program] for program in absent} - {""}))
        said.append(
            f"not in the PATH: {', '.join(absent)}" + (packages and f" (on Debian: apt-get install {packages})")
        )
    if root and os.geteuid() != 0:
        said.append("the tests do not run as root")
    return "; ".join(said)


def needs(*programs: str, root: bool = False) -> None:
    """Call it first in a fixture. Skips the test, or in CI fails it, if something is missing."""
    if said := missing(*programs, root=root):
        if os.environ.get("CI"):
            pytest.fail(f"{said}: .ci/run installs what the tests need")
        pytest.skip(said)
