"""Machines of the tests' own: network namespaces, and being in one."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import attrs
from trio._core._thread_cache import THREAD_CACHE

from kcore.linux.namespaces import enter


@contextmanager
def inside(name: str) -> Iterator[None]:
    """In a new network namespace: this thread, the processes that it starts, and trio's threads.

    trio starts processes from threads that it keeps: those from before stay outside, those from inside end there.
    """
    name = f"{name}-{os.getpid()}"  # others may run the same test
    with _namespace(name), entered(name):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield


@contextmanager
def entered(name: str) -> Iterator[None]:
    """In a network namespace that is there, as with `inside`."""
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        try:
            THREAD_CACHE._idle_workers.clear()
            enter(f"/run/netns/{name}")
            yield
        finally:
            THREAD_CACHE._idle_workers.clear()
            enter(f"/proc/self/fd/{before.fileno()}")


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


@attrs.frozen
class Machine:
    """A machine on the LAN."""

    netns: str
    address: str
    _switch: str
    _port: str

    def entered(self) -> AbstractContextManager[None]:
        """Be there."""
        return entered(self.netns)

    def link(self, *, up: bool) -> None:
        """Pull its cable, or put it back."""
        command = ["ip", "-n", self._switch, "link", "set", self._port, "up" if up else "down"]
        subprocess.run(command, check=True)


@attrs.frozen
class Lan:
    """Machines that are neighbours."""

    hosts: tuple[Machine, ...]


@contextmanager
def lan(name: str, cidr: str, count: int) -> Iterator[Lan]:
    """Machines with the addresses .1, .2, ... of `cidr` at their eth0, joined by a bridge in a namespace."""
    network = ipaddress.IPv4Network(cidr)
    name = f"{name}-{os.getpid()}"  # others may run the same test
    with ExitStack() as stack:
        stack.enter_context(_namespace(name))
        lines, hosts = ["link add lan type bridge", "link set lan up"], []
        for number in range(1, count + 1):
            host = Machine(f"{name}-{number}", str(network[number]), name, f"port{number}")
            stack.enter_context(_namespace(host.netns))
            lines += [
                f"link add port{number} type veth peer name eth0 netns {host.netns}",
                f"link set port{number} master lan up",
            ]
            hosts.append(host)
        _batch(name, lines)
        for host in hosts:
            default = f"route add default via {network[-2]}"  # nobody: packets for elsewhere get lost, not refused
            address = f"addr add {host.address}/{network.prefixlen} dev eth0"
            _batch(host.netns, ["link set lo up", address, "link set eth0 up", default])
        yield Lan(tuple(hosts))


def _batch(netns: str, lines: list[str]) -> None:
    subprocess.run(["ip", "-n", netns, "-batch", "-"], input="\n".join(lines).encode(), check=True)
