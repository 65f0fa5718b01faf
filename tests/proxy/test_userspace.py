"""The userspace proxy passes the suite, and does what only it has to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from kcore_proxy_userspace import UserspaceConfig, kcore_proxy, sockets
from kcore_proxy_userspace.balancer import Balancer

from kcore.proxy import Endpoint
from kcore.testing.proxy import ProxyConformance

A, B, C = (Endpoint(f"127.0.0.{i}", 80) for i in (1, 2, 3))


class TestUserspace(ProxyConformance):
    provider = kcore_proxy()[0]
    config = UserspaceConfig()

    async def test_a_silent_udp_client_is_forgotten(self, tmp_path: Path) -> None:
        self.config = UserspaceConfig(udp_timeout=0.05)  # type: ignore[misc]
        async with self.cluster(tmp_path) as c:
            address = await c.service([await c.udp_server("a")], protocol="UDP")
            before = trio.lowlevel.current_statistics().tasks_living
            assert await c.ask_udp(address) == "a"
            with trio.fail_after(5):
                while trio.lowlevel.current_statistics().tasks_living > before:
                    await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_port_below_1024_moves_when_it_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sockets._bind

    def unprivileged(protocol: str, address: str, port: int) -> trio.socket.SocketType:
        if port < 1024:
            raise PermissionError(13, "Permission denied")
        return real(protocol, address, port)

    monkeypatch.setattr(sockets, "_bind", unprivileged)
    with sockets.bind("TCP", "127.99.7.7", 80, 8000) as sock:
        assert sock.getsockname() == ("127.99.7.7", 8080)


def test_round_robin_takes_turns() -> None:
    balancer = Balancer((A, B, C), 0)
    assert [next(balancer.candidates("x")) for _ in range(4)] == [A, B, C, A]


def test_every_endpoint_is_tried_once() -> None:
    balancer = Balancer((A, B, C), 0)
    assert sorted(balancer.candidates("x"), key=str) == [A, B, C]
    assert list(Balancer((), 0).candidates("x")) == []


async def test_affinity_ends_when_the_client_was_silent_for_the_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    balancer = Balancer((A, B), 10)
    balancer.remember("x", B)
    await trio.sleep(9)
    assert next(balancer.candidates("x")) == B
    await trio.sleep(2)
    assert [next(balancer.candidates("x")) for _ in range(2)] != [B, B]
