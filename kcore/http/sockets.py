"""A trio stream on a socket for requests and answers: what can be done at once is done without a trip to the
scheduler.

`trio.SocketStream` yields to other tasks after every send; for a small answer that trip costs as much as everything
else. This one yields whenever it waits, whenever it receives, and after every so many sends that did not wait.
"""

from __future__ import annotations

import socket

import trio

_KEEPALIVE = [
    (getattr(socket, option), value)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, option)
]
_SENDS = 32  # without waiting, before others get a turn
_MUCH = 128 * 1024  # bytes in one of them that are a turn by themselves


class SocketStream(trio.abc.HalfCloseableStream):
    """Owns `sock`, a connected and non-blocking stream socket. One task may send while one other receives."""

    __slots__ = ("_sends", "socket")

    def __init__(self, sock: socket.socket):
        self.socket = sock
        self._sends = 0

    @classmethod
    def adopt(cls, stream: trio.SocketStream) -> SocketStream:
        """Take over the socket of a stream that trio accepted or connected."""
        old = stream.socket
        sock = socket.socket(old.family, old.type, old.proto, fileno=old.detach())
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # a peer that vanishes without a word is noticed, on silent watches as well
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, seconds in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
        return cls(sock)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be >= 1")
        try:
            while True:
                await trio.lowlevel.wait_readable(self.socket)
                try:
                    return self.socket.recv(max_bytes or 65536)
                except BlockingIOError:
                    pass
        except (OSError, ValueError) as error:  # ValueError: closed, seen by the poller
            raise self._broken(error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                self._sends += 1
                if self._sends >= _SENDS or sent >= _MUCH:
                    self._sends = 0
                    await trio.lowlevel.checkpoint()
                return
            self._sends = 0
            with memoryview(data) as view:
                while sent < len(view):
                    await trio.lowlevel.wait_writable(self.socket)
                    try:
                        sent += self.socket.send(view[sent:])
                    except BlockingIOError:
                        pass
        except (OSError, ValueError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> Exception:
        if self.socket.fileno() < 0:
            return trio.ClosedResourceError("this stream was already closed")
        return trio.BrokenResourceError(f"the connection broke: {error}")

    async def wait_send_all_might_not_block(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self.socket)
        except (OSError, ValueError) as error:
            raise self._broken(error) from error

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._broken(error) from error

    async def aclose(self) -> None:
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
        await trio.lowlevel.checkpoint()
