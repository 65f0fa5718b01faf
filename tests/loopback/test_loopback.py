"""One socket per port for all addresses of 127.0.0.0/8."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import pytest
import trio

from kcore.loopback import Loopback, PortInUse

PORT = 23711


async def shout(stream: trio.SocketStream) -> None:
    name = stream.socket.getsockname()[0]
    await stream.send_all(name.encode())
    await trio.sleep_forever()


async def ask(address: str, port: int = PORT) -> bytes:
    with trio.fail_after(5):
        async with await trio.open_tcp_stream(address, port) as stream:
            return bytes(await stream.receive_some(100))


def single(address: str, port: int = PORT) -> socket.socket:
    """A listener of somebody else."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen()
    return sock


async def test_each_address_is_served_by_whoever_listens_there() -> None:
    hub = Loopback()
    async with trio.open_nursery() as nursery:
        entries = [hub.listen(f"127.77.0.{i}", PORT, shout, nursery) for i in (1, 2)]
        assert await ask("127.77.0.1") == b"127.77.0.1"
        assert await ask("127.77.0.2") == b"127.77.0.2"
        with pytest.raises((OSError, trio.BrokenResourceError)):
            await ask("127.77.0.3")
        for entry in entries:
            entry.close()
        nursery.cancel_scope.cancel()


async def test_closing_an_entry_cuts_its_connections_and_frees_the_port() -> None:
    hub = Loopback()
    async with trio.open_nursery() as nursery:
        entry = hub.listen("127.77.0.1", PORT, shout, nursery)
        stream = await trio.open_tcp_stream("127.77.0.1", PORT)
        assert await stream.receive_some(100) == b"127.77.0.1"
        entry.close()
        entry.close()
        with trio.fail_after(5):
            assert await stream.receive_some(100) == b""
        with pytest.raises(OSError, match=r"127\.77\.0\.1"):
            await ask("127.77.0.1")
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_an_address_can_be_listened_on_once() -> None:
    hub = Loopback()
    async with trio.open_nursery() as nursery:
        entry = hub.listen("127.77.0.1", PORT, shout, nursery)
        with pytest.raises(PortInUse, match="is in use"):
            hub.listen("127.77.0.1", PORT, shout, nursery)
        entry.close()
        nursery.cancel_scope.cancel()


async def test_port_that_somebody_has_at_one_address_works_at_others() -> None:
    hub = Loopback()
    with single("127.77.0.9"):
        async with trio.open_nursery() as nursery:
            entry = hub.listen("127.77.0.1", PORT, shout, nursery)
            with pytest.raises(PortInUse):
                hub.listen("127.77.0.9", PORT, shout, nursery)
            assert await ask("127.77.0.1") == b"127.77.0.1"
            entry.close()
            nursery.cancel_scope.cancel()


async def test_two_processes_listen_on_one_port_at_their_own_addresses() -> None:
    """A second `Loopback` stands for a second process: it cannot have the wildcard, and takes single addresses."""
    one, two = Loopback(), Loopback()
    async with trio.open_nursery() as nursery:
        entries = [one.listen("127.77.0.1", PORT, shout, nursery), two.listen("127.77.0.2", PORT, shout, nursery)]
        assert await ask("127.77.0.1") == b"127.77.0.1"
        assert await ask("127.77.0.2") == b"127.77.0.2"
        for entry in entries:
            entry.close()
        nursery.cancel_scope.cancel()


async def test_datagrams_are_answered_from_the_address_that_was_asked() -> None:
    hub = Loopback()
    entries = [hub.listen_udp(f"127.77.0.{i}", PORT, lambda data, answer: answer(data)) for i in (1, 2)]
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, trio.fail_after(5):
        for i in (1, 2):
            await sock.sendto(b"x", (f"127.77.0.{i}", PORT))
            assert await sock.recvfrom(10) == (b"x", (f"127.77.0.{i}", PORT))
    for entry in entries:
        entry.close()


def test_privileged_port_moves_up_for_an_unprivileged_user() -> None:
    """As the user who runs the tests, or as nobody where that is root."""
    script = textwrap.dedent("""
        import os, trio
        from kcore.loopback import Loopback
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        async def main():
            hub = Loopback()
            async def serve(stream): pass
            async with trio.open_nursery() as nursery:
                entry = hub.listen("127.77.0.1", 81, serve, nursery)
                print(entry.port, hub.moved)
                entry.close()
        trio.run(main)
    """)
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) <= 81:
            pytest.skip("every user may bind every port here")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "8081 {81: 8081}\n", done.stderr
