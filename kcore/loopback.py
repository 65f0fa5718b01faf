"""Addresses in 127.0.0.0/8 for thousands of pods, nodes and services, with one socket per distinct port.

Linux lets anyone bind any address in 127.0.0.0/8. One listener on 0.0.0.0:PORT that is bound to the device ``lo`` gets
the connections to every 127.x.y.z:PORT; `getsockname` (for UDP: the packet's destination) tells which address was
dialled, and nothing is reachable from outside. Where another process has the port already, each address gets a socket
of its own; so does an address outside 127.0.0.0/8, for nodes whose pods have real networks. Ports below 1024 need a
privilege; without it they are served at PORT + 8000.

All parts of a process that listen on such addresses -- fake pods, embedded kubelets, the userspace proxy -- must share
one `Loopback` (`loopback()` gives it), since two listeners on one wildcard port exclude each other::

    entry = await loopback().listen("127.100.0.5", 80, serve, nursery)    # entry.port: 80, or 8080
    entry.close()                                                          # and its connections are cut

Processes live side by side like this: a wildcard listener allows others to bind single addresses (SO_REUSEPORT, set
after the bind, so that a second wildcard listener still fails), and a process that cannot have the wildcard binds
single addresses in that way.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from kcore.errors import KcoreError

log = logging.getLogger("kcore.loopback")

PRIVILEGED, MOVE = 1024, 8000  # ports below the first are moved up by the second where they may not be bound
BACKLOG = 512

Serve = Callable[[trio.SocketStream], Awaitable[None]]
"""Serves one connection; it is closed when this returns."""
Datagram = Callable[[bytes, Callable[[bytes], None]], None]
"""Takes one datagram and a function that sends an answer back. Called from inside trio; must not block."""


class PortInUse(KcoreError):
    """The address and port belong to somebody else."""


@attrs.define(eq=False)
class Entry:
    """One address and port that is being listened on."""

    address: str
    asked: int
    port: int  # where it really listens
    _close: Callable[[], None]
    _serve: Serve | None = None
    _datagram: Datagram | None = None
    _nursery: trio.Nursery | None = None
    _open: set[trio.CancelScope] = attrs.Factory(set)
    _closed: bool = False

    @property
    def moved(self) -> bool:
        return self.port != self.asked

    def close(self) -> None:
        """Stop listening and cut the open connections. Twice does no harm."""
        if not self._closed:
            self._closed = True
            self._close()
            for scope in tuple(self._open):
                scope.cancel()

    def _accepted(self, sock: trio.socket.SocketType) -> None:
        assert self._nursery is not None
        if self._nursery.cancel_scope.cancel_called:
            sock.close()
            return
        try:
            self._nursery.start_soon(self._run, sock)
        except RuntimeError:  # whoever listened has gone without closing the entry
            sock.close()

    async def _run(self, sock: trio.socket.SocketType) -> None:
        assert self._serve is not None
        with trio.CancelScope() as scope:
            self._open.add(scope)
            stream = trio.SocketStream(sock)
            try:
                await self._serve(stream)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the peer went away
            except Exception:
                log.exception("a connection to %s:%d failed", self.address, self.port)
            finally:
                self._open.discard(scope)
                await trio.aclose_forcefully(stream)


class _Port:
    """What listens on one port: a wildcard socket, or one socket per address, and whom it serves."""

    def __init__(self, port: int, udp: bool) -> None:
        self.port, self.udp = port, udp
        self.entries: dict[str, Entry] = {}
        self.wildcard: trio.socket.SocketType | None = None
        self.single: dict[str, trio.socket.SocketType] = {}

    def open(self, address: str) -> None:
        """See that connections to `address` arrive. Raises OSError."""
        loopback = address.startswith("127.")
        if self.wildcard is not None and loopback:
            return
        if not self.entries and loopback:
            try:
                self.wildcard = self._bind("0.0.0.0")
                return
            except PermissionError as error:
                if self.port < PRIVILEGED and error.errno == errno.EACCES:
                    raise
            except OSError:
                pass  # the port is taken somewhere, or the device cannot be bound to: one socket per address
        self.single[address] = self._bind(address)

    def _bind(self, address: str) -> trio.socket.SocketType:
        kind = socket.SOCK_DGRAM if self.udp else socket.SOCK_STREAM
        raw = socket.socket(socket.AF_INET, kind)
        try:
            raw.setblocking(False)
            wildcard = address == "0.0.0.0"
            if not self.udp:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if wildcard:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
            else:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if not address.startswith("127."):  # the pods' network, which has the address, may come later
                    raw.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            if self.udp:
                raw.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            raw.bind((address, self.port))
            if not self.udp:
                raw.listen(BACKLOG)
            if wildcard:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except BaseException:
            raw.close()
            raise
        sock = trio.socket.from_stdlib_socket(raw)
        # The socket serves whoever registers, in whichever part: no part's nursery can own it. It ends with its
        # last entry.
        trio.lowlevel.spawn_system_task(self._receive if self.udp else self._accept, sock)
        return sock

    def close(self, address: str) -> None:
        self.entries.pop(address, None)
        single = self.single.pop(address, None)
        if single is not None:
            single.close()
        if not self.entries and self.wildcard is not None:
            self.wildcard.close()
            self.wildcard = None

    async def _accept(self, listener: trio.socket.SocketType) -> None:
        while True:
            try:
                sock, _ = await listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    log.warning("port %d: %s", self.port, error)
                    await trio.sleep(0.1)
                elif listener.fileno() < 0 or error.errno == errno.EBADF:
                    return
                continue
            except trio.ClosedResourceError:
                return
            entry = self.entries.get(sock.getsockname()[0])
            if entry is None:  # nobody lives there: refuse, as well as one can after accepting
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            else:
                entry._accepted(sock)

    async def _receive(self, sock: trio.socket.SocketType) -> None:
        while True:
            try:
                data, extra, _, peer = await sock.recvmsg(65536, 256)
            except (OSError, trio.ClosedResourceError):
                if sock.fileno() < 0:
                    return
                continue
            to = ""
            for level, kind, value in extra:
                if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                    to = socket.inet_ntoa(value[8:12])
            entry = self.entries.get(to)
            if entry is not None and entry._datagram is not None:
                try:
                    entry._datagram(data, _answer(sock, to, peer))
                except Exception:
                    log.exception("a datagram to %s:%d failed", to, self.port)


_IP_PKTINFO, _IP_FREEBIND = 8, 15


def _answer(sock: trio.socket.SocketType, source: str, peer: Any) -> Callable[[bytes], None]:
    """A function that answers from the address that was asked. What cannot be sent at once is lost, as UDP is."""
    info = struct.pack("i4s4s", 0, socket.inet_aton(source), b"\0\0\0\0")

    def send(data: bytes) -> None:
        try:
            raw = socket.socket(fileno=sock.fileno())
        except OSError:
            return
        try:
            raw.sendmsg([data], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, peer)
        except OSError:
            pass
        finally:
            raw.detach()

    return send


class Loopback:
    """All listeners of the process on loopback addresses."""

    def __init__(self) -> None:
        self._ports: dict[tuple[int, bool], _Port] = {}

    @property
    def moved(self) -> dict[int, int]:
        """Ports below 1024 that are served elsewhere: asked for -> served at."""
        entries = (e for p in self._ports.values() for e in p.entries.values())
        return {e.asked: e.port for e in entries if e.moved}

    def listen(self, address: str, port: int, serve: Serve, nursery: trio.Nursery) -> Entry:
        """Serve TCP connections to `address`:`port` in tasks of `nursery`. Raises PortInUse, OSError."""
        return self._add(address, port, False, serve, None, nursery)

    def listen_udp(self, address: str, port: int, datagram: Datagram) -> Entry:
        """Take datagrams for `address`:`port`. Raises PortInUse, OSError."""
        return self._add(address, port, True, None, datagram, None)

    def _add(
        self,
        address: str,
        asked: int,
        udp: bool,
        serve: Serve | None,
        datagram: Datagram | None,
        nursery: trio.Nursery | None,
    ) -> Entry:
        try:
            at = self._open(address, asked, udp)
        except PermissionError:
            if asked >= PRIVILEGED:
                raise
            at = self._open(address, asked + MOVE, udp)

        def close() -> None:
            at.close(address)
            if not at.entries:
                self._ports.pop((at.port, udp), None)

        entry = at.entries[address] = Entry(address, asked, at.port, close, serve, datagram, nursery)
        return entry

    def _open(self, address: str, port: int, udp: bool) -> _Port:
        at = self._ports.get((port, udp)) or _Port(port, udp)
        if address in at.entries:
            raise PortInUse(f"{address}:{port} is in use")
        try:
            at.open(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(f"{address}:{port} is in use") from error
            raise
        self._ports[port, udp] = at
        return at


_shared: trio.lowlevel.RunVar[Loopback] = trio.lowlevel.RunVar("kcore.loopback")


def loopback() -> Loopback:
    """The one of this process (of this trio run)."""
    try:
        return _shared.get()
    except LookupError:
        made = Loopback()
        _shared.set(made)
        return made
