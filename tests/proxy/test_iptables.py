"""The iptables proxy, with real rules and real traffic between namespaces of the test's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from kcore_proxy_iptables import IptablesConfig, backend, kcore_proxy
from kcore_proxy_iptables.command import cleanup

from kcore.errors import NotFound
from kcore.linux.namespaces import dial
from kcore.linux.network import PodNetwork
from kcore.objects.resources import ENDPOINTSLICES, SERVICES
from kcore.proxy import Proxy
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient
from tests.hosts import inside
from tests.needs import needs

HERE = "/proc/self/ns/net"
CIDR = "10.78.1.0/24"
VIP = "10.97.0.10"
SERVE = """
import socket, sys
server = socket.create_server(("", 8080))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(sys.argv[1].encode())
    connection.close()
"""


@pytest.fixture(autouse=True)
def machine() -> Iterator[None]:
    needs("ip", "iptables", "conntrack", "busybox", root=True)
    with inside("kcore-test-proxy"):
        # a machine with a way out: without a route to an address no rule ever sees what is sent to it
        said("ip", "link", "add", "out", "type", "bridge")
        said("ip", "addr", "add", "192.0.2.1/24", "dev", "out")
        said("ip", "link", "set", "out", "up")
        said("ip", "route", "replace", "10.97.0.0/16", "dev", "out")
        yield


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """On return it has said its first line."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


class Pods:
    """Pods of a node, each answering with its name."""

    def __init__(self, network: PodNetwork, stack: ExitStack) -> None:
        self.network, self._stack, self.pids = network, stack, dict[str, int]()

    async def add(self, name: str) -> str:
        """Returns its address."""
        process = started(["unshare", "--net", sys.executable, "-c", SERVE, name])

        def end() -> None:
            subprocess.run(["pkill", "-KILL", "-g", str(process.pid)], check=False)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

        self._stack.callback(end)
        address = self.network.reserve()
        self.pids[name] = process.pid
        await self.network.attach(f"/proc/{process.pid}/ns/net", address)
        return address

    def netns(self, name: str) -> str:
        return f"/proc/{self.pids[name]}/ns/net"


class World:
    """An API in memory, pods, and the proxy between them."""

    def __init__(self, client: MemoryClient, pods: Pods, proxy: Proxy) -> None:
        self.client, self.pods, self.proxy = client, pods, proxy

    async def service(self, **spec: Any) -> None:
        own = {"clusterIP": VIP, "clusterIPs": [VIP], "type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}]}
        body = {"metadata": {"name": "web", "namespace": "default"}, "spec": own | spec}
        await self.client.create(SERVICES, body)
        await self.proxy.settled()

    async def endpoints(self, *addresses: str, port: int = 8080, protocol: str = "TCP") -> None:
        labels = {"kubernetes.io/service-name": "web"}
        body = {
            "metadata": {"name": "web-1", "namespace": "default", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
            "ports": [{"name": "", "port": port, "protocol": protocol}],
        }
        try:
            await self.client.patch(ENDPOINTSLICES, "web-1", {"endpoints": body["endpoints"]}, "default")
        except NotFound:
            await self.client.create(ENDPOINTSLICES, body)
        await self.proxy.settled()


async def ask(host: str, port: int, netns: str = HERE) -> str:
    """Who answers; "" if nobody does."""
    try:
        stream = await dial(netns, port, host, timeout=1)
    except ConnectionRefusedError:
        return ""
    except OSError:
        return "silence"
    async with stream:
        with trio.move_on_after(5):
            return bytes(await stream.receive_some(100)).decode()
    return "nothing"


@asynccontextmanager
async def world(tmp_path: Path, **config: Any) -> AsyncIterator[World]:
    client = MemoryClient()
    network = await PodNetwork.open("node-1", CIDR)
    provider = kcore_proxy()[0]
    with ExitStack() as stack:
        async with provider.open(
            TestContext(tmp_path, api=client), IptablesConfig(cluster_cidr=CIDR, **config)
        ) as proxy:
            yield World(client, Pods(network, stack), proxy)
    await network.close(remove=True)


async def test_a_service_spreads_over_its_endpoints_for_machine_and_pods(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        addresses = [await w.pods.add(name) for name in ("a", "b")]
        await w.service()
        await w.endpoints(*addresses)
        assert {await ask(VIP, 80) for _ in range(30)} == {"a", "b"}
        assert {await ask(VIP, 80, w.pods.netns("a")) for _ in range(30)} == {"a", "b"}  # itself among them: hairpin
        await w.endpoints(addresses[1])
        assert {await ask(VIP, 80) for _ in range(10)} == {"b"}
        await w.endpoints()
        assert await ask(VIP, 80) == ""  # refused at once


async def test_the_chains_are_those_that_people_know(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.service()
        await w.endpoints("10.78.1.200")
        saved = said("iptables-save", "-t", "nat")
        assert '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES' in saved
        assert ":KUBE-SVC-" in saved
        assert "--to-destination 10.78.1.200:8080" in saved
        assert f"-d {VIP}/32" in saved


async def test_node_ports_answer_here_and_at_localhost(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.service(type="NodePort", ports=[{"port": 80, "protocol": "TCP", "nodePort": 30080}])
        await w.endpoints(await w.pods.add("a"))
        assert [await ask(host, 30080) for host in ("192.0.2.1", "127.0.0.1")] == ["a", "a"]
        assert await ask("10.78.1.1", 30080, w.pods.netns("a")) == "a"


async def test_a_client_stays_with_its_endpoint_if_the_service_wants_that(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        addresses = [await w.pods.add(name) for name in ("a", "b", "c")]
        await w.service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}})
        await w.endpoints(*addresses)
        assert len({await ask(VIP, 80) for _ in range(20)}) == 1


async def test_a_load_balancer_lets_in_whom_it_names(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        address = await w.pods.add("a")
        await w.service(type="LoadBalancer", loadBalancerSourceRanges=["10.78.1.2/32"], externalIPs=["10.97.0.99"])
        status = {"loadBalancer": {"ingress": [{"ip": "10.97.0.50", "ipMode": "VIP"}]}}
        await w.client.patch(SERVICES, "web", {"status": status}, "default", subresource="status")
        await w.endpoints(address)
        other = await w.pods.add("b")
        assert other != "10.78.1.2"
        assert await ask("10.97.0.99", 80) == "a"
        assert await ask("10.97.0.50", 80, w.pods.netns("a")) == "a"
        assert await ask("10.97.0.50", 80, w.pods.netns("b")) == "silence"


async def test_rules_of_others_stay_and_those_of_before_are_mended(tmp_path: Path) -> None:
    strange = ["iptables", "-t", "nat", "-A", "PREROUTING", "-s", "198.51.100.0/24", "-j", "ACCEPT"]
    said(*strange)
    said("iptables", "-t", "nat", "-N", "KUBE-SVC-OLDOLDOLDOLDOLD1")
    said("iptables", "-t", "nat", "-N", "KUBE-SEP-OLDOLDOLDOLDOLD1")
    said("iptables", "-t", "nat", "-A", "KUBE-SVC-OLDOLDOLDOLDOLD1", "-j", "KUBE-SEP-OLDOLDOLDOLDOLD1")
    async with world(tmp_path, check_seconds=0.2) as w:
        await w.service()
        await w.endpoints(await w.pods.add("a"))
        saved = said("iptables-save")
        assert "OLDOLD" not in saved
        assert "198.51.100.0/24" in saved
        assert saved.count('-A PREROUTING -m comment --comment "kubernetes service portals"') == 1
        for table in ("nat", "filter", "mangle"):  # somebody flushes everything of ours
            said("iptables", "-t", table, "-F")
            said("iptables", "-t", table, "-X")
        await w.pods.network.attach(w.pods.netns("a"), "10.78.1.2")
        for _ in range(50):
            if (answer := await ask(VIP, 80)) == "a":
                break
            await trio.sleep(0.1)
        assert answer == "a"


async def test_an_endpoint_that_changes_touches_its_own_chains_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts: list[str] = []
    real = backend.run

    async def listen(command: Any, input: str = "") -> str:
        scripts.append(input)
        return await real(command, input)

    async with world(tmp_path) as w:
        await w.service()
        await w.endpoints("10.78.1.100", "10.78.1.101")
        monkeypatch.setattr(backend, "run", listen)
        await w.endpoints("10.78.1.100", "10.78.1.102")
        (script,) = [script for script in scripts if script]
        assert "KUBE-SERVICES" not in script
        assert script.count("\n:KUBE-SVC-") == 1
        assert script.count("\n-X KUBE-SEP-") == 1
        scripts.clear()
        await w.endpoints("10.78.1.100", "10.78.1.102")
        assert [script for script in scripts if script] == []


async def test_cleanup_takes_away_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.service()
        await w.endpoints("10.78.1.100")
    said("iptables", "-t", "nat", "-A", "PREROUTING", "-s", "198.51.100.0/24", "-j", "ACCEPT")
    assert "KUBE-SERVICES" in said("iptables-save")  # a proxy that ends disturbs nobody
    assert await cleanup() == 0
    saved = said("iptables-save")
    assert "KUBE-" not in saved
    assert "198.51.100.0/24" in saved
