"""WebSocket and the remote-command channels, between our two ends and against raw bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from kcore import errors
from kcore.http import channels
from kcore.http.channels import Channels, Size, exit_status
from kcore.http.messages import AnyResponse, Request
from kcore.http.server import serve_stream
from kcore.http.websocket import WebSocket, accept, connect

Session = Callable[[Any], Awaitable[None]]


@asynccontextmanager
async def client(handler: Any, subprotocols: list[str] | None = None) -> AsyncIterator[WebSocket]:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, handler)
        refused: errors.ApiError | None = None
        try:
            ws = await connect(ours, "a", "/exec?command=sh", subprotocols or [])
        except errors.ApiError as error:
            refused = error
        else:
            yield ws
            await ws.aclose()
        finally:
            await ours.aclose()
    if refused is not None:
        raise refused


async def echo(request: Request) -> AnyResponse:
    async def run(ws: WebSocket) -> None:
        while (message := await ws.receive()) is not None:
            await ws.send(message)

    return accept(request, ["a", "b", ""], run, max_message=1000)


async def test_messages_go_both_ways_as_what_they_are() -> None:
    async with client(echo, ["x", "b"]) as ws:
        assert ws.subprotocol == "b"
        for message in (b"bytes", "text ä", b"", "", b"x" * 1000):
            await ws.send(message)
            assert await ws.receive() == message


async def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(errors.Forbidden, match=r"client supports \[x\], server accepts \[a b\]"):
        async with client(echo, ["x"]):
            pass


async def test_a_message_that_is_too_big_closes_with_1009() -> None:
    async with client(echo) as ws:
        await ws.send(b"x" * 1001)
        assert await ws.receive() is None
        assert ws.close_code == 1009


@pytest.mark.parametrize(
    "frames",
    [
        b"\x81\x02\xff\xff",  # not masked
        b"\x81\x82\0\0\0\0\xff\xff",  # not UTF-8
        b"\xf1\x80\0\0\0\0",  # reserved bits
        b"\x80\x80\0\0\0\0",  # continues nothing
        b"\x83\x80\0\0\0\0",  # unknown opcode
        b"\x89\xfe\0\x7e\0\0\0\0" + b"x" * 126,  # long control frame
        b"\x82\xff" + struct.pack(">Q", 2**62) + b"\0\0\0\0",  # absurd length
        b"\x88\x81\0\0\0\0x",  # malformed close
        b"",  # half-closed at once
        b"\x82\xfe",  # half-closed within a frame
    ],
)
async def test_frames_that_break_the_rules_end_the_connection(frames: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    ended = trio.Event()

    async def handler(request: Request) -> AnyResponse:
        async def run(ws: WebSocket) -> None:
            assert await ws.receive() is None
            ended.set()

        return accept(request, [""], run)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, handler)
        await ours.send_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + frames
        )
        await ours.send_eof()
        answer = bytearray()
        async for piece in ours:
            answer += piece
        assert answer.startswith(b"HTTP/1.1 101 ")
        await ended.wait()


@pytest.mark.parametrize(
    "fields",
    [
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AA==\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !!\r\n",
        b"",
    ],
)
async def test_a_bad_handshake_is_a_bad_request(fields: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, echo)
        await ours.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
        assert b"HTTP/1.1 400 " in await ours.receive_some()
        await ours.aclose()


async def test_a_client_that_goes_without_a_word_ends_the_session() -> None:
    ended = trio.Event()

    async def handler(request: Request) -> AnyResponse:
        async def session(io: Channels) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        return channels.accept(request, session)

    async with client(handler, ["v5.channel.k8s.io"]) as ws:
        assert await ws.receive() == b"\x01"
        await ws._stream.aclose()
        await ended.wait()


def exec_handler(session: Session) -> Any:
    async def handler(request: Request) -> AnyResponse:
        return channels.accept(request, session, stdin=True, stdout=True, stderr=True)

    return handler


async def upper(io: Channels) -> None:
    """A process that shouts its input back, complains, and exits with 3."""
    while data := await io.read_stdin():
        await io.stdout(data.upper())
    await io.stderr(b"done")
    await io.finish(exit_status(3))


async def test_exec_by_v5_closes_standard_input_on_request() -> None:
    async with client(exec_handler(upper), ["v5.channel.k8s.io", "v4.channel.k8s.io"]) as ws:
        assert ws.subprotocol == "v5.channel.k8s.io"
        assert await ws.receive() == b"\x01"
        await ws.send(b"\0hello")
        assert await ws.receive() == b"\x01HELLO"
        await ws.send(b"\xff\0")
        assert await ws.receive() == b"\x02done"
        status = await ws.receive()
        assert isinstance(status, bytes)
        assert status[0] == 3
        assert json.loads(status[1:])["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        assert await ws.receive() is None


async def test_text_on_a_protocol_of_bytes_has_its_channel_as_a_number_too() -> None:
    async with client(exec_handler(upper), ["v4.channel.k8s.io"]) as ws:
        assert await ws.receive() == b"\x01"
        await ws.send("\0typed")
        assert await ws.receive() == b"\x01TYPED"


async def test_the_base64_protocol_speaks_text() -> None:
    async def session(io: Channels) -> None:
        await io.stdout(await io.read_stdin())
        await io.finish(exit_status(0))

    async with client(exec_handler(session), ["base64.channel.k8s.io"]) as ws:
        assert await ws.receive() == "1"
        await ws.send("0aGk=")
        assert await ws.receive() == "1aGk="
        assert await ws.receive() is None


async def test_the_terminal_size_follows_the_client() -> None:
    async def session(io: Channels) -> None:
        async for size in io.resizes:
            await io.stdout(f"{size.width}x{size.height}".encode())
            if size == Size(80, 24):
                await io.finish(exit_status(0))
                return

    async with client(exec_handler(session), ["v4.channel.k8s.io"]) as ws:
        assert await ws.receive() == b"\x01"
        for garbage in (b"\x04nonsense", b"\x04[]", b"\x07?", b"", b'\x04{"Width":1}', "text", "4{}"):
            await ws.send(garbage)
        await ws.send(b'\x04{"Width":80,"Height":24}')
        assert await ws.receive() == b"\x0180x24"
        assert json.loads((await ws.receive() or b"")[1:])["status"] == "Success"


async def test_big_output_comes_in_pieces_and_waits_for_a_slow_client() -> None:
    sent = trio.Event()

    async def session(io: Channels) -> None:
        await io.stdout(b"x" * 1_000_000)
        sent.set()

    async with client(exec_handler(session), ["v4.channel.k8s.io"]) as ws:
        received = 0
        while received < 1_000_000:
            message = await ws.receive()
            assert isinstance(message, bytes)
            received += len(message) - 1
        await sent.wait()
