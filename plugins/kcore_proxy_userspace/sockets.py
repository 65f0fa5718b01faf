"""Binding service addresses without a privilege."""

from __future__ import annotations

import socket

import trio

ANY = "0.0.0.0"
"""Every address of this machine -- of its loopback device only, so nothing is reachable from outside."""

_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


def bind(protocol: str, address: str, port: int, offset: int) -> trio.socket.SocketType:
    """A bound socket; at `port` + `offset` where a port below 1024 is not allowed. Raises OSError."""
    try:
        return _bind(protocol, address, port)
    except PermissionError:
        if port >= 1024:
            raise
        return _bind(protocol, address, port + offset)


def _bind(protocol: str, address: str, port: int) -> trio.socket.SocketType:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, _KINDS[protocol] | socket.SOCK_CLOEXEC)
    try:
        if protocol == "TCP":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A runtime in this process may listen on the same port for all addresses: the more specific socket wins, but
        # the kernel lets both bind only if both say so.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address == ANY:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        sock.bind((address, port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return trio.socket.from_stdlib_socket(sock)
