"""One port for UDP and TCP at one address."""

from __future__ import annotations

import errno
import socket
from types import TracebackType

import attrs

from kcore.errors import UserError
from kcore.loopback import MOVE, PRIVILEGED

BACKLOG = 256
BUFFER = 1 << 20  # bytes of datagrams that may wait
ATTEMPTS = 20  # at a port that is free for both


@attrs.define(eq=False)
class Sockets:
    """Bound, not blocking; closed with the block."""

    address: str
    asked: int
    port: int
    udp: socket.socket
    tcp: socket.socket

    async def __aenter__(self) -> Sockets:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.udp.close()
        self.tcp.close()


def bind_both(address: str, port: int) -> Sockets:
    """At `port`, or 8000 above if that is below 1024 and not allowed or taken; 0: a free one. Raises UserError."""
    tried = [port, port + MOVE] if 0 < port < PRIVILEGED else [port] * (1 if port else ATTEMPTS)
    for at in tried:
        try:
            return _bind(address, at, port)
        except OSError as error:
            failure = error
            if error.errno not in (errno.EACCES, errno.EADDRINUSE):
                break
    raise UserError(
        f"dns: cannot listen on {address}:{port}: {failure.strerror}; set dns.address to an address of this machine, "
        "or dns.port to a free port"
    )


def _bind(address: str, port: int, asked: int) -> Sockets:
    udp = _socket(address, port, socket.SOCK_DGRAM)
    try:
        at = udp.getsockname()[1]
        tcp = _socket(address, at, socket.SOCK_STREAM)
    except BaseException:
        udp.close()
        raise
    return Sockets(address, asked, at, udp, tcp)


def _socket(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        if address.startswith("127."):
            # Fake pods may listen on the same port of all loopback addresses: the more specific socket wins, but the
            # kernel lets both bind only if both say so. Two servers at one address would share the questions, though.
            _alone(family, kind, address, port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _alone(family: int, kind: int, address: str, port: int) -> None:
    """Raises OSError (EADDRINUSE) if somebody listens at just this address."""
    if not port:
        return
    from pathlib import Path

    table = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    packed = socket.inet_aton(address)[::-1].hex().upper()
    wanted = f"{packed}:{port:04X}"
    try:
        lines = Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        words = line.split()
        if words[1] == wanted and (table == "udp" or words[3] == "0A"):
            raise OSError(errno.EADDRINUSE, "Address already in use")
