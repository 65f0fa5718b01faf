"""A connection to the server without a socket, and what is said on it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import trio
import trio.testing

from kcore.http.messages import AnyResponse, Request, Response, StreamResponse
from kcore.http.server import Limits, serve_stream

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(request: Request) -> AnyResponse:
    """Tells what it was asked."""
    told = {"method": request.method, "path": request.path, "query": request.query, "body": request.body.decode()}
    return Response(200, json.dumps(told).encode())


async def exchange(sent: bytes, handler: Any = echo, limits: Limits | None = None, eof: bool = True) -> bytes:
    """Everything that the server answers to these bytes until it closes."""
    ours, theirs = trio.testing.memory_stream_pair()
    answer = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_stream(theirs, handler, limits=limits))
        await ours.send_all(sent)
        if eof:
            await ours.send_eof()
        async for piece in ours:
            answer += piece
    return bytes(answer)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> Any:
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


class Silent:
    """A watch that has nothing to say; knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = trio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            await trio.sleep_forever()
            yield b""
        finally:
            self.closed.set()

    async def handler(self, request: Request) -> AnyResponse:
        return StreamResponse(self.pieces())
