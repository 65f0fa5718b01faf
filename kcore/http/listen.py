"""Opening listeners, with errors that say what to do."""

from __future__ import annotations

import errno
import socket

import trio

from kcore.errors import UserError


def _explain(error: OSError, host: str, port: int) -> str:
    where = f"cannot listen on {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: the port is in use; stop the program that has it, or choose another port"
    if error.errno == errno.EACCES:
        return f"{where}: ports below 1024 need a privilege (CAP_NET_BIND_SERVICE); choose a higher port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine has no such address; use one of its own, or 127.0.0.1"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{where}: too many open files; raise the limit (ulimit -n)"
    return f"{where}: {error.strerror or error}"


async def listen(
    port: int, host: str = "127.0.0.1", *, loopback_only: bool = False, backlog: int = 4096
) -> trio.SocketListener:
    """A TCP listener on a numeric IPv4 or IPv6 address; port 0 takes a free one. Raises UserError, in one line.

    With `loopback_only` the socket is bound to the device ``lo``: on 0.0.0.0 it then takes connections to every
    127.x.y.z and none from outside. Linux lets any user do that to a socket of his own (since 5.7).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if loopback_only:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
            await sock.bind((host, port))
            sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise UserError(_explain(error, host, port)) from error
    return trio.SocketListener(sock)


def bound(listener: trio.SocketListener) -> tuple[str, int]:
    """(host, port) that a listener got."""
    name = listener.socket.getsockname()
    return name[0], name[1]
