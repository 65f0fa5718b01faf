"""Binding service addresses without a privilege, and handing them on when one proxy follows another.

The kernel resets the connections that wait in the queue of a listening socket when it is closed. A proxy that is
opened while another serves therefore takes a duplicate of that one's socket: they share the queue, and none is lost.
"""

from __future__ import annotations

import socket
from weakref import WeakValueDictionary

import trio

from kcore.loopback import PRIVILEGED

ANY = "0.0.0.0"
"""Every address of this machine -- of its loopback device only, so nothing is reachable from outside."""

BACKLOG = 1024

_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


_Key = tuple[str, str, int, int]
_bound: trio.lowlevel.RunVar[WeakValueDictionary[_Key, trio.socket.SocketType]] = trio.lowlevel.RunVar(
    "kcore_proxy_userspace.sockets"
)


def bind(protocol: str, address: str, port: int, offset: int) -> trio.socket.SocketType:
    """A bound socket, for TCP a listening one. Raises OSError.

    At `port` + `offset` where a port below 1024 is not allowed.
    """
    try:
        bound = _bound.get()
    except LookupError:
        bound = WeakValueDictionary()
        _bound.set(bound)
    key = (protocol, address, port, offset)
    before = bound.get(key)
    if before is not None and before.fileno() >= 0:
        sock = before.dup()
    else:
        sock = _bind_or_move(protocol, address, port, offset)
    bound[key] = sock
    return sock


def _bind_or_move(protocol: str, address: str, port: int, offset: int) -> trio.socket.SocketType:
    try:
        return _bind(protocol, address, port)
    except PermissionError:
        if port >= PRIVILEGED:
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
        if protocol == "TCP":
            sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return trio.socket.from_stdlib_socket(sock)
