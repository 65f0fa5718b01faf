"""Doing something in the network namespace of another process, from a thread of one's own."""

from __future__ import annotations

import ctypes
import os
import socket
import threading

import trio

_CLONE_NEWNET = 0x40000000


async def dial(netns: str, port: int, host: str = "127.0.0.1", timeout: float = 10.0) -> trio.SocketStream:
    """A connection to a port as a process in the network namespace `netns` would make it. Raises OSError."""
    sock = await trio.to_thread.run_sync(_connect, netns, host, port, timeout, abandon_on_cancel=True)
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


def _connect(netns: str, host: str, port: int, timeout: float) -> socket.socket:
    """In a thread that dies afterwards: it must not go back to trio's pool in another namespace."""
    found: list[socket.socket] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            enter(netns)
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            try:
                sock.connect((host, port))
            except BaseException:
                sock.close()
                raise
            sock.setblocking(False)
            found.append(sock)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="kcore-netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]


def enter(netns: str) -> None:
    """Move the calling thread into a network namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), netns)
    finally:
        os.close(descriptor)
