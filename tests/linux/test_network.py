"""The pods' network of a node, with real interfaces and rules in a namespace of the test's own."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trio

from kcore.linux.namespaces import dial
from kcore.linux.network import NetworkFailure, PodNetwork, traffic
from kcore.runtime import Port

pytestmark = pytest.mark.usefixtures("machine")

CIDR = "10.77.1.0/28"


@pytest.fixture
async def network() -> AsyncIterator[PodNetwork]:
    opened = await PodNetwork.open("node-1", CIDR, cluster_cidr="10.77.0.0/16")
    try:
        yield opened
    finally:
        await opened.close(remove=True)


@contextmanager
def namespace() -> Iterator[int]:
    """The PID of a process in a network namespace of its own."""
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def served(pid: int, port: int, text: str) -> Iterator[None]:
    """Answer everybody who connects to a port in the namespace of `pid`."""
    say = f"while true; do echo {text} | busybox nc -l -p {port}; done"
    process = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-c", say], start_new_session=True)
    try:
        yield
    finally:
        subprocess.run(["pkill", "-g", str(process.pid)], check=False)
        process.wait()


async def ask(netns: str, host: str, port: int) -> bytes:
    with trio.fail_after(10):
        while True:
            try:
                stream = await dial(netns, port, host, timeout=1)
                break
            except (ConnectionRefusedError, TimeoutError):
                await trio.sleep(0.05)
        async with stream:
            return bytes(await stream.receive_some(100))


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def netns(pid: int) -> str:
    return f"/proc/{pid}/ns/net"


async def test_pods_reach_each_other_and_the_machine_reaches_them(network: PodNetwork) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(namespace()) for _ in range(2))
        for pid in (one, two):
            await network.attach(netns(pid), network.reserve())
        stack.enter_context(served(two, 8080, "two"))
        assert await ask(netns(one), "10.77.1.3", 8080) == b"two\n"
        assert await ask("/proc/self/ns/net", "10.77.1.3", 8080) == b"two\n"
        assert await ask(netns(two), "127.0.0.1", 8080) == b"two\n"
        counted = traffic(two)
        assert counted.rx_packets > 0
        assert counted.tx_bytes > 0


async def test_a_published_port_leads_to_its_pod_until_the_pod_goes(network: PodNetwork) -> None:
    with namespace() as pid:
        address = network.reserve()
        await network.attach(netns(pid), address, ports=[Port(8080, host_port=18080)])
        with served(pid, 8080, "published"):
            assert await ask("/proc/self/ns/net", network.gateway, 18080) == b"published\n"
            assert await ask(netns(pid), network.gateway, 18080) == b"published\n"  # itself, round about
        await network.detach(address)
        rules = said("iptables-save")
        assert "18080" not in rules


async def test_everything_twice_is_no_error_and_nothing_is_left(network: PodNetwork) -> None:
    said("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "192.0.2.0/24", "-j", "MASQUERADE")
    again = await PodNetwork.open("node-1", CIDR)
    with namespace() as pid:
        address = again.reserve("10.77.1.9")
        for _ in range(2):
            await again.attach(netns(pid), address)
        for _ in range(2):
            await again.detach(address)
    save = said("iptables-save")
    assert save.count("-A FORWARD -m comment") == 1
    for _ in range(2):
        await again.close(remove=True)
    save = said("iptables-save")
    assert "KCORE" not in save
    assert "192.0.2.0/24" in save
    links = said("ip", "-br", "link")
    assert "kc" not in links


async def test_addresses_are_given_once_and_the_last_one_freed_comes_last(network: PodNetwork) -> None:
    given = [network.reserve() for _ in range(13)]
    assert given[0] == "10.77.1.2"
    assert len(set(given)) == 13
    with pytest.raises(NetworkFailure, match="no address is free"):
        network.reserve()
    network.release("10.77.1.5")
    network.release("10.77.1.3")
    assert [network.reserve(), network.reserve()] == ["10.77.1.5", "10.77.1.3"]
    found = await PodNetwork.open("node-1", CIDR)
    found.reserve("10.77.1.2")
    assert found.reserve() == "10.77.1.3"


async def test_a_namespace_that_is_gone_is_a_clear_error(network: PodNetwork) -> None:
    with namespace() as pid:
        pass
    with pytest.raises(NetworkFailure, match="network of the pod cannot be made"):
        await network.attach(netns(pid), network.reserve())
