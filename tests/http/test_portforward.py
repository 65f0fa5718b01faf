"""Port forwarding as kubectl and the Python client speak it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from kcore import errors
from kcore.http import spdy
from kcore.http.messages import AnyResponse, Request
from kcore.http.portforward import SUBPROTOCOL, TUNNELLED, accept
from kcore.http.server import serve_stream
from kcore.http.spdy import DICTIONARY, Tunnel
from kcore.http.websocket import connect


async def shout(stream: trio.abc.Stream) -> None:
    """What listens in the pod: says everything back in capitals, and closes when told to."""
    while data := await stream.receive_some():
        await stream.send_all(data.upper())
    await stream.aclose()


def handler(nursery: trio.Nursery) -> Any:
    async def dial(port: int) -> trio.abc.Stream:
        if port != 80:
            raise OSError("connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(shout, theirs)
        return ours

    async def handle(request: Request) -> AnyResponse:
        return spdy.serve_portforward(request, dial)

    return handle


class Client:
    """A SPDY/3.1 client: opens streams, reads frames."""

    def __init__(self, link: Any) -> None:
        self._link, self._buffer = link, bytearray()
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    async def send(self, kind: int, payload: bytes, flags: int = 0) -> None:
        await self._link.send_all(struct.pack(">II", 0x80030000 | kind, flags << 24 | len(payload)) + payload)

    async def open(self, number: int, **headers: str) -> None:
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name, value):
                block += struct.pack(">I", len(text)) + text.encode()
        packed = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self.send(spdy.SYN_STREAM, struct.pack(">IIH", number, 0, 0) + packed)

    async def data(self, number: int, data: bytes, flags: int = 0) -> None:
        await self._link.send_all(struct.pack(">II", number, flags << 24 | len(data)) + data)

    async def frame(self) -> tuple[int, int, bytes]:
        """(type, or stream number of data; flags; payload)."""
        while len(self._buffer) < 8 or len(self._buffer) < 8 + int.from_bytes(self._buffer[5:8], "big"):
            received = await self._link.receive_some()
            assert received, "the server has closed"
            self._buffer += received
        size = 8 + int.from_bytes(self._buffer[5:8], "big")
        word, flags, payload = int.from_bytes(self._buffer[:4], "big"), self._buffer[4], bytes(self._buffer[8:size])
        del self._buffer[:size]
        if word & 0x80000000:
            if word & 0xFFFF == spdy.SYN_REPLY:
                assert self._inflate.decompress(payload[4:]) == b"\0\0\0\0"
                payload = payload[:4]
            return -(word & 0xFFFF), flags, payload
        return word, flags, payload

    async def forward(self, number: int, port: int, request: int) -> None:
        """Open a pair of streams as kubectl does, error stream first and closed for writing."""
        await self.open(number, streamtype="error", port=str(port), requestid=str(request))
        assert await self.frame() == (-spdy.SYN_REPLY, 0, struct.pack(">I", number))
        await self.data(number, b"", spdy.FIN)
        await self.open(number + 2, streamtype="data", port=str(port), requestid=str(request))
        assert await self.frame() == (-spdy.SYN_REPLY, 0, struct.pack(">I", number + 2))


@asynccontextmanager
async def session(kind: str) -> AsyncIterator[Client]:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, handler(nursery))
        if kind == "websocket":
            link: Any = Tunnel(await connect(ours, "a", "/portforward", [TUNNELLED]))
        else:
            link = ours
            fields = f"Upgrade: SPDY/3.1\r\nConnection: Upgrade\r\nX-Stream-Protocol-Version: {SUBPROTOCOL}\r\n"
            await ours.send_all(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields.encode() + b"\r\n")
            assert b"101 Switching Protocols" in await ours.receive_some()
        yield Client(link)
        await ours.aclose()


def test_the_dictionary_is_the_one_that_everybody_has() -> None:
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2  # what every SPDY/3 stream names in its first bytes


@pytest.mark.parametrize("kind", ["websocket", "spdy"])
async def test_connections_are_forwarded_side_by_side(kind: str) -> None:
    async with session(kind) as client:
        await client.forward(1, 80, 0)
        await client.forward(5, 80, 1)
        await client.data(3, b"one")
        assert await client.frame() == (3, 0, b"ONE")
        await client.data(7, b"two")
        assert await client.frame() == (7, 0, b"TWO")
        await client.data(3, b"last", spdy.FIN)
        assert await client.frame() == (3, 0, b"LAST")
        assert await client.frame() == (3, spdy.FIN, b"")
        assert await client.frame() == (1, spdy.FIN, b"")
        await client.send(spdy.PING, struct.pack(">I", 7))
        assert await client.frame() == (-spdy.PING, 0, struct.pack(">I", 7))
        await client.data(7, b"still here")
        assert await client.frame() == (7, 0, b"STILL HERE")


async def test_a_port_that_refuses_is_told_on_the_error_stream() -> None:
    async with session("websocket") as client:
        await client.forward(1, 81, 0)
        number, _, told = await client.frame()
        assert (number, told) == (1, b"error forwarding port 81 to pod: connection refused")
        assert {(await client.frame())[:2] for _ in range(2)} == {(1, spdy.FIN), (3, spdy.FIN)}


async def test_a_stream_that_is_reset_ends_its_connection_only() -> None:
    async with session("spdy") as client:
        await client.forward(1, 80, 0)
        await client.forward(5, 80, 1)
        await client.send(spdy.RST_STREAM, struct.pack(">II", 3, 5))
        await client.data(7, b"other")
        frames = []
        while (frame := await client.frame())[0] != 7:
            frames.append(frame)
        assert frame[2] == b"OTHER"


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        struct.pack(">II", 0x80020001, 4) + b"\0\0\0\1",  # SPDY/2
        struct.pack(">II", 0x80030001, 12) + b"\0" * 12,  # headers that were never compressed
        struct.pack(">II", 0x80030001, 0xFFFFFF),  # a frame of 16 MB
        struct.pack(">II", 0x80030003, 1) + b"\0",  # a reset that is cut off
        struct.pack(">II", 0x80030006, 4)[:6],  # half a head
    ],
)
async def test_garbage_ends_the_session(garbage: bytes) -> None:
    async with session("spdy") as client:
        await client._link.send_all(garbage)
        await client._link.send_stream.aclose()
        while await client._link.receive_some():
            pass


async def test_a_header_block_that_blows_up_is_refused() -> None:
    async with session("spdy") as client:
        await client.open(1, streamtype="x" * 1_000_000)
        assert await client._link.receive_some() == b""


async def test_the_python_client_names_its_ports_in_the_request() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, handler(nursery))
        ws = await connect(ours, "a", "/portforward?ports=80&ports=81", ["v4.channel.k8s.io"])
        first = [await ws.receive() for _ in range(4)]
        assert first == [b"\0\x50\0", b"\1\x50\0", b"\2\x51\0", b"\3\x51\0"]
        assert await ws.receive() == b"\3error forwarding port 81 to pod: connection refused"
        await ws.send(b"\0hello")
        assert await ws.receive() == b"\0HELLO"
        await ws.send(b"\2nobody reads this")
        await ws.aclose()


@pytest.mark.parametrize(
    ("headers", "query", "error"),
    [
        ({}, "", errors.BadRequest),
        ({"upgrade": "SPDY/3.1", "x-stream-protocol-version": "other"}, "", errors.Forbidden),
        ({"upgrade": "websocket", "sec-websocket-protocol": "v4.channel.k8s.io"}, "ports=x", errors.BadRequest),
        ({"upgrade": "websocket", "sec-websocket-protocol": "v4.channel.k8s.io"}, "", errors.BadRequest),
        ({"upgrade": "websocket", "sec-websocket-protocol": "v4.channel.k8s.io"}, "ports=70000", errors.BadRequest),
    ],
)
async def test_what_cannot_be_forwarded_is_refused(headers: dict[str, str], query: str, error: Any) -> None:
    async def nobody(port: int) -> trio.abc.Stream:
        raise AssertionError("dialled")

    with pytest.raises(error):
        accept(Request("GET", "/", query, headers), nobody)
