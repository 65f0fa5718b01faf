"""SPDY/3.1, as far as port forwarding needs it: many streams over one connection, server side.

The framing is that of the SPDY Protocol, draft 3.1; like the other implementations around Kubernetes this one neither
sends nor minds window updates, so a slow stream holds up its connection. What the streams mean:
`kcore.http.portforward`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from kcore.http.messages import Request, UpgradeResponse
from kcore.http.websocket import WebSocket

# The words that header blocks are compressed against (SPDY/3, 2.6.10.1), each with its length before it.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date etag "
    "expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since "
    "last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer "
    "retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate "
    "method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(
    struct.pack(">I", len(w)) + w.replace("_", " ").encode("ascii") for w in _WORDS.split()
) + _TEXT.encode("ascii")

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
_MAX_FRAME = 1024 * 1024
_MAX_HEADERS = 64 * 1024
MAX_STREAMS = 1000
PIECE = 32 * 1024
_AHEAD = 64  # pieces that a stream takes in before its reader has come for them
_REFUSED, _CANCEL = 3, 5
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class ProtocolError(Exception):
    """The peer does not speak SPDY/3.1, or too much of it."""


class Link(Protocol):
    """A stream of bytes, whatever carries it."""

    async def send_all(self, data: bytes) -> None: ...

    async def receive_some(self) -> bytes | bytearray: ...


Connect = Callable[[int], Awaitable[trio.abc.Stream]]
"""Opens a connection to a port of the pod. Raises OSError or ApiError, whose text the client is shown."""


class Tunnel:
    """The stream of bytes inside the messages of a WebSocket."""

    def __init__(self, ws: WebSocket):
        self._ws = ws

    async def send_all(self, data: bytes) -> None:
        await self._ws.send(data)

    async def receive_some(self) -> bytes:
        while True:
            message = await self._ws.receive()
            if message is None:
                return b""
            if message:
                return message if isinstance(message, bytes) else message.encode()


class Stream:
    """One stream that the peer opened."""

    def __init__(self, session: Session, number: int, headers: dict[str, str]):
        self.number, self.headers = number, headers
        self._session = session
        self._put, self._get = trio.open_memory_channel[bytes](_AHEAD)
        self.reset = trio.Event()
        """Set when the peer gives the stream up, or the connection ends."""
        self._finished = False

    async def receive(self) -> bytes:
        """Some data; b"" at the end."""
        try:
            return await self._get.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return b""

    async def send(self, data: bytes | bytearray) -> None:
        for at in range(0, len(data), PIECE):
            await self._session.send_data(self.number, bytes(data[at : at + PIECE]), 0)

    async def finish(self) -> None:
        """Nothing more will be sent."""
        if not self._finished:
            self._finished = True
            await self._session.send_data(self.number, b"", FIN)

    async def feed(self, data: bytes, last: bool) -> None:
        try:
            if data:
                await self._put.send(data)
        except _BROKEN:
            pass  # its reader has gone
        if last:
            self._put.close()

    def give_up(self) -> None:
        self.reset.set()
        self._put.close()
        self._get.close()


class Session:
    """The server's end of one connection. `opened` is called with each new stream, and must not wait."""

    def __init__(self, link: Link, opened: Callable[[Stream], None]):
        self._link, self._opened = link, opened
        self._streams: dict[int, Stream] = {}
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._lock = trio.Lock()
        self._buffer = bytearray()
        self._last = 0

    async def run(self) -> None:
        """Until the peer closes. Raises ProtocolError."""
        try:
            while (frame := await self._frame()) is not None:
                word, flags, payload = frame
                if word & 0x80000000:
                    if word >> 16 != 0x8003:
                        raise ProtocolError("not SPDY version 3")
                    if not await self._control(word & 0xFFFF, flags, payload):
                        return
                elif (stream := self._streams.get(word)) is not None:
                    await stream.feed(payload, bool(flags & FIN))
        except (struct.error, zlib.error) as error:
            raise ProtocolError(str(error)) from error
        finally:
            for stream in list(self._streams.values()):
                stream.give_up()

    async def _frame(self) -> tuple[int, int, bytes] | None:
        """(first word, flags, payload) of the next frame; None at the end."""
        if not await self._fill(8):
            return None
        buffer = self._buffer
        size = 8 + int.from_bytes(buffer[5:8], "big")
        if size > _MAX_FRAME:
            raise ProtocolError("a frame is too big")
        if not await self._fill(size):
            return None
        word, flags, payload = int.from_bytes(buffer[:4], "big"), buffer[4], bytes(buffer[8:size])
        del buffer[:size]
        return word, flags, payload

    async def _fill(self, size: int) -> bool:
        """Whether that much has come."""
        while len(self._buffer) < size:
            data = await self._link.receive_some()
            if not data:
                return False
            self._buffer += data
        return True

    async def _control(self, kind: int, flags: int, payload: bytes) -> bool:
        """Whether the session goes on."""
        if kind == SYN_STREAM:
            await self._syn_stream(flags, payload)
        elif kind == RST_STREAM:
            stream = self._streams.pop(struct.unpack_from(">I", payload)[0], None)
            if stream is not None:
                stream.give_up()
        elif kind == PING:
            if struct.unpack_from(">I", payload)[0] & 1:  # a client's; ours would be even
                await self._send_control(PING, payload[:4])
        elif kind == HEADERS:
            self._headers(payload[4:])  # nothing that we need, but the compression goes on
        return kind != GOAWAY

    async def _syn_stream(self, flags: int, payload: bytes) -> None:
        number = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
        headers = self._headers(payload[10:])
        if number % 2 == 0 or number <= self._last:
            raise ProtocolError("a stream's number is out of order")
        self._last = number
        if len(self._streams) >= MAX_STREAMS:
            await self._send_control(RST_STREAM, struct.pack(">II", number, _REFUSED))
            return
        stream = self._streams[number] = Stream(self, number, headers)
        async with self._lock:
            block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            await self._link.send_all(_control_frame(SYN_REPLY, struct.pack(">I", number) + block))
        if flags & FIN:
            await stream.feed(b"", True)
        self._opened(stream)

    def _headers(self, block: bytes) -> dict[str, str]:
        data = self._inflate.decompress(block, _MAX_HEADERS)
        if self._inflate.unconsumed_tail:
            raise ProtocolError("a stream's headers are too big")
        (count,) = struct.unpack_from(">I", data)
        at, headers = 4, {}
        if count > 100:
            raise ProtocolError("a stream has too many headers")
        for _ in range(count):
            pair = []
            for _ in range(2):
                (length,) = struct.unpack_from(">I", data, at)
                at += 4 + length
                if at > len(data):
                    raise ProtocolError("a stream's headers are cut off")
                pair.append(data[at - length : at].decode("latin-1"))
            headers[pair[0].lower()] = pair[1]
        return headers

    async def send_data(self, number: int, data: bytes, flags: int) -> None:
        async with self._lock:
            await self._link.send_all(struct.pack(">II", number, flags << 24 | len(data)) + data)

    async def abandon(self, stream: Stream) -> None:
        """Forget a stream, and tell the peer unless it knows."""
        known = self._streams.pop(stream.number, None) is not None
        stream.give_up()
        if known and not stream._finished:
            await self._send_control(RST_STREAM, struct.pack(">II", stream.number, _CANCEL))

    async def _send_control(self, kind: int, payload: bytes) -> None:
        async with self._lock:
            await self._link.send_all(_control_frame(kind, payload))


def _control_frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", 0x80030000 | kind, flags << 24 | len(payload)) + payload


def serve_portforward(request: Request, connect: Connect) -> UpgradeResponse:
    """The answer to a port-forward request; see `kcore.http.portforward.accept`."""
    from kcore.http.portforward import accept

    return accept(request, connect)
