"""WebSocket (RFC 6455) over a trio stream: both ends. Framing is by ``websockets``, imported when first needed.

A server's handler returns what `accept` gives it; a client hands a connected stream to `connect`:

    async def handler(request: Request) -> AnyResponse:
        return accept(request, ["v5.channel.k8s.io"], session)

    async def session(ws: WebSocket) -> None:
        while (message := await ws.receive()) is not None:
            await ws.send(message)
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from kcore import errors
from kcore.http.messages import HeaderList, Request, UpgradeResponse

if TYPE_CHECKING:
    from websockets.protocol import Protocol

MAX_MESSAGE = 4 * 1024 * 1024  # bytes a peer may put into one message
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_GOODBYE = 2.0  # seconds that the peer has for its part of the closing handshake
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class WebSocket:
    """An open WebSocket. Any task may send; one at a time may receive. Sending waits until the peer makes room."""

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol, subprotocol: str = "", leftover: bytes = b""):
        self.subprotocol = subprotocol
        """What the two sides agreed on; "" for none."""
        self._stream, self._protocol = stream, protocol
        self._lock = trio.Lock()
        self._messages: deque[bytes | str] = deque()
        self._parts: list[bytes] = []
        self._text = False
        self._ended = self._closing = False
        if leftover:
            self._feed(leftover)

    @property
    def close_code(self) -> int | None:
        """What the peer said when it closed (RFC 6455, 7.4); None while it has not."""
        told = self._protocol.close_rcvd
        return None if told is None else int(told.code)

    async def receive(self) -> bytes | str | None:
        """The next message: bytes of a binary one, str of a text; None when the peer has closed or gone."""
        while not self._messages:
            try:
                await self._flush()
            except _BROKEN:
                self._ended = True
            if self._ended:
                return None
            try:
                data = await self._stream.receive_some(65536)
            except _BROKEN:
                data = b""
            if data:
                self._feed(data)
            else:
                self._ended = True
                self._protocol.receive_eof()
        return self._messages.popleft()

    async def send(self, data: bytes | str) -> None:
        """Raises BrokenResourceError when the connection is closed or closing."""
        if self._protocol.state != 1:  # State.OPEN
            raise trio.BrokenResourceError("the WebSocket is closed")
        if isinstance(data, str):
            self._protocol.send_text(data.encode())
        else:
            self._protocol.send_binary(data)
        await self._flush()

    async def ping(self, data: bytes = b"") -> None:
        """A sign of life; the answer is taken in by `receive`."""
        if self._protocol.state == 1:
            self._protocol.send_ping(data)
            await self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and wait a little for the peer's; messages that still come are dropped."""
        if self._protocol.state == 1:
            self._closing = True
            self._protocol.send_close(code, reason)
        with trio.move_on_after(_GOODBYE):
            try:
                await self._flush()
                while not self._ended:
                    self._messages.clear()
                    await self.receive()
            except _BROKEN:
                pass

    async def aclose(self) -> None:
        """`close`, and close the stream."""
        try:
            await self.close()
        finally:
            await self._stream.aclose()

    def _feed(self, data: bytes | bytearray) -> None:
        from websockets.frames import Opcode

        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            opcode = getattr(frame, "opcode", None)
            if opcode in (Opcode.TEXT, Opcode.BINARY):
                self._text = opcode is Opcode.TEXT
            elif opcode is Opcode.CLOSE:
                self._ended = True
                continue
            elif opcode is not Opcode.CONT:
                continue  # ping and pong: the protocol has answered
            self._parts.append(bytes(frame.data))  # type: ignore[union-attr]  # a Frame, as it has an opcode
            if frame.fin:  # type: ignore[union-attr]
                self._deliver()
        if self._protocol.state != 1 and not self._closing:
            self._ended = True  # the peer broke the rules: it has been told so

    def _deliver(self) -> None:
        message = b"".join(self._parts)
        self._parts.clear()
        if not self._text:
            self._messages.append(message)
            return
        try:
            self._messages.append(message.decode())
        except UnicodeDecodeError:
            self._protocol.fail(1007, "invalid UTF-8")
            self._ended = True

    async def _flush(self) -> None:
        async with self._lock:
            for data in self._protocol.data_to_send():
                if data:
                    await self._stream.send_all(data)


def _protocol(server: bool, max_message: int) -> Protocol:
    from websockets.protocol import Protocol, Side

    return Protocol(Side.SERVER if server else Side.CLIENT, max_size=max_message)


def _answer(key: str) -> bytes:
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest())


def wanted(request: Request) -> bool:
    """Whether the request asks for a WebSocket."""
    return request.headers.get("upgrade", "").lower() == "websocket"


def offered(request: Request) -> list[str]:
    """The subprotocols that the client would speak, best first."""
    return [p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",") if p.strip()]


def accept(
    request: Request,
    subprotocols: Sequence[str],
    run: Callable[[WebSocket], Awaitable[None]],
    *,
    max_message: int = MAX_MESSAGE,
) -> UpgradeResponse:
    """The answer that turns `request` into a WebSocket for `run`, which is closed when `run` returns.

    The first subprotocol of the client's that is in `subprotocols` is chosen; with "" among them a client may name
    none. Raises BadRequest for a bad handshake, Forbidden (as upstream) when there is nothing in common.
    """
    headers = request.headers
    key = headers.get("sec-websocket-key", "")
    if request.method != "GET" or not wanted(request) or "upgrade" not in headers.get("connection", "").lower():
        raise errors.BadRequest("unable to upgrade: not a WebSocket handshake")
    try:
        good = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        good = False
    if not good or headers.get("sec-websocket-version") != "13":
        raise errors.BadRequest("unable to upgrade: WebSocket version 13 and a key are needed")
    theirs = offered(request)
    chosen = next((p for p in theirs if p in subprotocols), "" if not theirs and "" in subprotocols else None)
    if chosen is None:
        ours = " ".join(p for p in subprotocols if p)
        raise errors.Forbidden(
            f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(theirs)}], "
            f"server accepts [{ours}]"
        )
    fields: HeaderList = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", _answer(key)),
    ]
    if chosen:
        fields.append((b"Sec-WebSocket-Protocol", chosen.encode("latin-1")))

    async def upgraded(stream: trio.abc.Stream, leftover: bytes) -> None:
        ws = WebSocket(stream, _protocol(True, max_message), chosen or "", leftover)
        code = 1011  # unless `run` returns
        try:
            await run(ws)
            code = 1000
        finally:
            await ws.close(code)

    return UpgradeResponse(upgraded, fields)


class _Head:
    """Collects a response's head (httptools' protocol)."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done = True


async def connect(
    stream: trio.abc.Stream,
    host: str,
    path: str,
    subprotocols: Sequence[str] = (),
    headers: Sequence[tuple[str, str]] = (),
    *,
    max_message: int = MAX_MESSAGE,
) -> WebSocket:
    """Open a WebSocket over a connected stream (which it then owns). `path` may carry a query.

    Raises the ApiError that the server answered, or BrokenResourceError.
    """
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers),
    ]
    if subprotocols:
        lines.append(f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}")
    await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    status, head, leftover = await _response(stream)
    if status != 101:
        raise refused(status, head.body)
    if head.headers.get("sec-websocket-accept", "").encode("latin-1") != _answer(key):
        raise trio.BrokenResourceError("the server's answer to the WebSocket handshake is wrong")
    chosen = head.headers.get("sec-websocket-protocol", "")
    if chosen and chosen not in subprotocols:
        raise trio.BrokenResourceError(f"the server chose a subprotocol that was not offered: {chosen}")
    return WebSocket(stream, _protocol(False, max_message), chosen, leftover)


def refused(status: int, body: bytes) -> errors.ApiError:
    """The error for an answer that is not the one hoped for."""
    import msgspec

    try:
        told: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        told = None
    if isinstance(told, dict) and told.get("kind") == "Status":
        return errors.ApiError.from_status(told)
    text = body[:200].decode("utf-8", "replace").strip()
    return errors.ApiError(text or f"the server answered {status}", code=status, reason="")


async def _response(stream: trio.abc.Stream) -> tuple[int, _Head, bytes]:
    import httptools

    head = _Head()
    parser = httptools.HttpResponseParser(head)
    received = 0
    while not head.done:
        data = await stream.receive_some(65536)
        received += len(data)
        if not data or received > 1024 * 1024:
            raise trio.BrokenResourceError("the server closed the connection during the handshake")
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return parser.get_status_code(), head, bytes(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            raise trio.BrokenResourceError(f"the server's answer is no HTTP: {error}") from error
    return parser.get_status_code(), head, b""
