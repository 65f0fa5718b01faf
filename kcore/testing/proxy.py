"""The conformance suite for service proxies: real servers, real clients, on loopback addresses.

class TestMyProxy(ProxyConformance):
    provider = my_provider          # a kcore.registry.Provider
    config = MyConfig()
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import trio
import trio.testing

from kcore.objects import Object
from kcore.objects.resources import ENDPOINTSLICES, SERVICES
from kcore.proxy import Proxy
from kcore.registry import NoConfig, Provider
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient, cluster_client

_numbers = itertools.count(1)


class Cluster:
    """A proxy on an otherwise empty cluster, with servers to stand behind services."""

    def __init__(self, client: MemoryClient, proxy: Proxy, nursery: trio.Nursery):
        self.client, self.proxy, self.nursery = client, proxy, nursery
        # addresses of this test alone: other tests, and other processes, have others
        number = next(_numbers)
        self._prefix = f"127.{64 + os.getpid() % 24}.{number % 250 + 1}"
        self._last = itertools.count(1)

    def address(self) -> str:
        return f"{self._prefix}.{next(self._last)}"

    async def tcp_server(self, name: str) -> tuple[str, int]:
        """A server that answers every line with its name, and ends when the client does."""

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                async for piece in stream:
                    await stream.send_all(piece.replace(b"?", name.encode()))

        address = self.address()
        listener = (await trio.open_tcp_listeners(0, host=address))[0]
        self.nursery.start_soon(trio.serve_listeners, serve, [listener])
        return address, listener.socket.getsockname()[1]

    async def udp_server(self, name: str) -> tuple[str, int]:
        sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await sock.bind((self.address(), 0))

        async def serve() -> None:
            with sock:
                while True:
                    packet, client = await sock.recvfrom(2048)
                    await sock.sendto(packet.replace(b"?", name.encode()), client)

        self.nursery.start_soon(serve)
        host, port = sock.getsockname()
        return host, port

    async def service(
        self, endpoints: list[tuple[str, int]], *, protocol: str = "TCP", ready: bool = True, **spec: Any
    ) -> tuple[str, int]:
        """A service over the endpoints; returns its address. All endpoints of one service share one slice per port."""
        ip, port = self.address(), 4000
        name = f"s{next(_numbers)}"
        ports = [{"port": port, "protocol": protocol, **spec.pop("port_extra", {})}]
        body = {"metadata": {"name": name}, "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": ports, **spec}}
        await self.client.create(SERVICES, body, "default")
        for number, (host, target) in enumerate(endpoints):
            await self.client.create(ENDPOINTSLICES, _slice(name, number, host, target, protocol, ready), "default")
        await self.settled()
        self.name = name
        return ip, port

    async def slice(self, number: int, change: Object) -> None:
        """Change an endpoint of the newest service: {"conditions": {...}}; {} deletes it."""
        name = f"{self.name}-{number}"
        if not change:
            await self.client.delete(ENDPOINTSLICES, name, "default")
        else:
            old = await self.client.get(ENDPOINTSLICES, name, "default")
            endpoint = {**old["endpoints"][0], **change}
            await self.client.patch(ENDPOINTSLICES, name, {"endpoints": [endpoint]}, "default")
        await self.settled()

    async def ask(self, address: tuple[str, int], text: bytes = b"?") -> str:
        """Open a connection, send, half-close, read to the end. "" when the connection is closed without a word."""
        with trio.fail_after(5):
            async with await trio.open_tcp_stream(*address) as stream:
                await stream.send_all(text)
                await stream.send_eof()
                answer = b"".join([piece async for piece in stream])
        return answer.decode()

    async def refused(self, address: tuple[str, int]) -> bool:
        """Whether a client there is refused, or closed without an answer."""
        try:
            return await self.ask(address) == ""
        except (OSError, trio.BrokenResourceError):
            return True

    async def settled(self) -> None:
        """What has been written has reached the proxy, and is in force."""
        await trio.testing.wait_all_tasks_blocked(0.005)
        await self.proxy.settled()

    async def ask_udp(self, address: tuple[str, int]) -> str:
        with trio.fail_after(5), trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
            await sock.connect(address)
            await sock.send(b"?")
            return (await sock.recv(2048)).decode()


def _slice(service: str, number: int, host: str, port: int, protocol: str, ready: bool) -> Object:
    return {
        "metadata": {"name": f"{service}-{number}", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"port": port, "protocol": protocol}],
        "endpoints": [{"addresses": [host], "conditions": {"ready": ready}, "nodeName": f"n{number}"}],
    }


class ProxyConformance:
    """Inherit, name your provider, and pytest does the rest."""

    provider: ClassVar[Provider[Proxy]]
    config: ClassVar[Any] = NoConfig()

    @asynccontextmanager
    async def cluster(self, tmp_path: Path) -> AsyncIterator[Cluster]:
        async with cluster_client() as client, trio.open_nursery() as nursery:
            context = TestContext(tmp_path, api=client)
            async with self.provider.open(context, self.config) as proxy:
                yield Cluster(client, proxy, nursery)
            nursery.cancel_scope.cancel()

    async def test_a_service_spreads_over_its_ready_endpoints(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.tcp_server(name) for name in "abc"])
            assert {await c.ask(address) for _ in range(60)} == {"a", "b", "c"}

    async def test_an_endpoint_that_is_not_ready_gets_no_traffic(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.tcp_server("a"), await c.tcp_server("b")])
            await c.slice(0, {"conditions": {"ready": False, "serving": False}})
            assert {await c.ask(address) for _ in range(20)} == {"b"}
            await c.slice(0, {"conditions": {"ready": True}})
            assert {await c.ask(address) for _ in range(20)} == {"a", "b"}

    async def test_terminating_endpoints_serve_when_no_other_is_ready(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.tcp_server("a"), await c.tcp_server("b")])
            await c.slice(0, {"conditions": {"ready": False, "serving": True, "terminating": True}})
            assert {await c.ask(address) for _ in range(10)} == {"b"}
            await c.slice(1, {})
            assert {await c.ask(address) for _ in range(10)} == {"a"}

    async def test_a_connection_outlives_its_endpoints_removal(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.tcp_server("a")])
            async with await trio.open_tcp_stream(*address) as stream:
                await stream.send_all(b"one ?")
                assert await stream.receive_some() == b"one a"
                await c.slice(0, {})
                with trio.fail_after(5):
                    await stream.send_all(b"two ?")
                    assert await stream.receive_some() == b"two a"

    async def test_an_endpoint_that_refuses_is_passed_over(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            dead = (c.address(), 1)
            address = await c.service([dead, await c.tcp_server("a")])
            assert {await c.ask(address) for _ in range(10)} == {"a"}

    async def test_a_service_without_endpoints_closes_or_refuses(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([])
            assert await c.refused(address)

    async def test_client_ip_affinity_holds(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            servers = [await c.tcp_server(name) for name in "abc"]
            address = await c.service(servers, sessionAffinity="ClientIP")
            assert len({await c.ask(address) for _ in range(20)}) == 1

    async def test_affinity_moves_on_when_its_endpoint_goes(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.tcp_server("0"), await c.tcp_server("1")], sessionAffinity="ClientIP")
            first = await c.ask(address)
            await c.slice(int(first), {})
            assert await c.ask(address) == ("1" if first == "0" else "0")

    async def test_udp_is_answered_from_the_service_address(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            servers = [await c.udp_server(name) for name in "ab"]
            address = await c.service(servers, protocol="UDP")
            assert {await c.ask_udp(address) for _ in range(20)} == {"a", "b"}

    async def test_a_node_port_answers_on_a_local_address(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            number = 30000 + (os.getpid() * 7 + next(_numbers)) % 2700
            await c.service([await c.tcp_server("a")], type="NodePort", port_extra={"nodePort": number})
            assert await c.ask(("127.0.0.1", number)) == "a"

    async def test_a_deleted_service_stops_listening(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.tcp_server("a")])
            await c.client.delete(SERVICES, c.name, "default")
            await c.settled()
            assert c.proxy.routes() == {}
            assert await c.refused(address)

    async def test_much_data_passes_unchanged_in_both_directions(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.tcp_server("a")])
            sent = os.urandom(3_000_000).replace(b"?", b"!")
            received = bytearray()
            async with await trio.open_tcp_stream(*address) as stream, trio.open_nursery() as nursery:

                async def send() -> None:
                    await stream.send_all(sent)
                    await stream.send_eof()

                nursery.start_soon(send)
                with trio.fail_after(20):
                    async for piece in stream:
                        received += piece
            assert bytes(received) == sent

    async def test_headless_and_external_name_services_have_no_route(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            await c.service([await c.tcp_server("a")], clusterIP="None", clusterIPs=["None"])
            await c.service([], type="ExternalName", clusterIP="", clusterIPs=[])
            assert c.proxy.routes() == {}

    async def test_a_restarted_proxy_serves_what_was_there(self, tmp_path: Path) -> None:
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.tcp_server("a")])
            context = TestContext(tmp_path, api=c.client)
            async with self.provider.open(context, self.config) as successor:
                await successor.settled()
                assert {await c.ask(address) for _ in range(5)} == {"a"}
            assert await c.ask(address) == "a"
