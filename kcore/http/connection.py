"""One HTTP/1.1 connection: read requests, ask the handler, write answers, one after the other.

All time-outs are one: `patience` is set anew as the connection goes from idle to header to body to handler to
writing, and a `Watchdog` calls `expire` when it is over. A cancel scope for each step would cost more than parsing the
request.
"""

from __future__ import annotations

import enum
import logging
import zlib
from collections.abc import AsyncIterator

import trio

from kcore import errors
from kcore.http import wire
from kcore.http.limits import Limits
from kcore.http.messages import (
    AnyResponse,
    Body,
    Handler,
    HeaderList,
    Request,
    Response,
    StreamResponse,
    UpgradeResponse,
)
from kcore.http.parser import Incoming, RequestParser
from kcore.http.tls import TlsStream

READ = 64 * 1024
_JOIN = 64 * 1024  # bodies below this are copied behind their head, so that one write sends all
_PIECE = 256 * 1024  # of a big answer: joined and sent before the next one is
_GZIP_PIECES = 256
_PIPELINE = 64 * 1024  # what a client may send behind a request whose answer is a stream
_INFINITE = float("inf")
_NO_BODY = (204, 304)
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class Phase(enum.Enum):
    IDLE = "idle"  # between requests
    READING = "reading"  # a request has begun
    HANDLING = "handling"  # the handler works, or its answer is being written
    STREAMING = "streaming"  # the answer has no known end
    UPGRADED = "upgraded"


class StreamBudget:
    """How many streams and upgraded connections a server may still take."""

    def __init__(self, limit: int):
        self.left = limit


class Connection:
    """Serves one stream, which it owns and closes."""

    __slots__ = (
        "_budget", "_closing", "_handler", "_limits", "_log", "_parser", "_request", "_scope", "_stream",
        "_stream_scope", "due", "host", "patience", "phase",
    )  # fmt: skip

    def __init__(
        self,
        stream: trio.abc.Stream,
        handler: Handler,
        limits: Limits,
        log: logging.Logger,
        budget: StreamBudget,
        *,
        peer: str = "",
        local: str = "",
        certificate: bytes | None = None,
        unverified: bytes | None = None,
    ):
        self._stream, self._handler, self._limits, self._log, self._budget = stream, handler, limits, log, budget
        self._parser = RequestParser(limits, peer, local, certificate, unverified)
        self._scope = trio.CancelScope()
        self._stream_scope: trio.CancelScope | None = None
        self._request: Request | None = None  # the one that the handler has
        self._closing = False
        self.phase = Phase.IDLE
        self.host = ""  # the peer's address, without its port
        self.patience = _INFINITE
        self.due: float | None = None

    def expire(self) -> None:
        """The peer, or the handler, has not done in time what was awaited from it."""
        request = self._request
        if request is not None:
            if request.long:
                self.patience, self.due = _INFINITE, None
                return
            request.late = True
        self._scope.cancel()

    def left(self) -> None:
        """The peer has gone: nobody waits for the answer any more."""
        if self._request is not None:
            self._scope.cancel()

    def drain(self) -> None:
        """End soon: at once when idle, else after the answer in flight; a stream ends cleanly where it is."""
        self._closing = True
        if self.phase is Phase.IDLE:
            self._scope.cancel()
        elif self.phase is Phase.STREAMING and self._stream_scope is not None:
            self._stream_scope.cancel()

    async def run(self) -> None:
        limits = self._limits
        try:
            with self._scope as scope:
                self.patience, self.due = limits.idle_seconds, None
                await self._requests()
            if self._request is not None and self._request.late:
                await self._refuse(504, "Timeout: request did not complete within the allotted timeout")
            elif scope.cancelled_caught and self.phase is Phase.READING and not self._closing:
                await self._refuse(408, "the request did not arrive in time")
            elif self._parser.refused is not None:
                await self._refuse(self._parser.refused.code, self._parser.refused.message)
        except _BROKEN:
            pass  # the peer has gone: nobody is left to be told
        finally:
            await self._close()

    async def _close(self) -> None:
        try:
            await self._stream.aclose()
        except _BROKEN:
            pass

    # --- reading ---

    async def _requests(self) -> None:
        """Until the peer closes, an answer closes, or the parser refuses."""
        parser, limits, receive = self._parser, self._limits, self._stream.receive_some
        ready = parser.ready
        in_body = False
        while True:
            data = await receive(READ)
            if not data:
                return
            parser.feed(data)
            if ready:
                self.phase = Phase.HANDLING
                while ready:
                    if not await self._answer(ready.popleft()):
                        return
                if parser.refused is not None or self._closing:
                    return
                in_body = False
                self.phase = Phase.READING if parser.in_message else Phase.IDLE
                self.patience = limits.header_seconds if parser.in_message else limits.idle_seconds
                self.due = None
                continue
            if parser.refused is not None:
                return
            if self.phase is Phase.IDLE and parser.in_message:
                self.phase = Phase.READING
                self.patience, self.due = limits.header_seconds, None
            if parser.in_body and not in_body:
                in_body = True
                self.patience, self.due = limits.body_seconds, None
            if parser.wants_continue:
                parser.wants_continue = False
                await self._stream.send_all(wire.CONTINUE)

    async def _refuse(self, code: int, message: str) -> None:
        """Answer, then let the peer read the answer: closing with unread input would reset the connection."""
        with trio.move_on_after(min(2.0, self._limits.header_seconds)):
            await self._write(wire.refusal(code, message), None)
            stream: trio.abc.Stream = self._stream
            if isinstance(stream, TlsStream):
                await stream.send_goodbye()
                stream = stream.lower  # what still comes is counted, not decrypted
            if isinstance(stream, trio.abc.HalfCloseableStream):
                await stream.send_eof()
            left = self._limits.body_bytes + self._limits.header_bytes
            while left > 0:
                data = await stream.receive_some(READ)
                if not data:
                    return
                left -= len(data)

    # --- answering ---

    async def _answer(self, incoming: Incoming) -> bool:
        """Whether the connection goes on."""
        self._request = request = incoming.request
        self.patience, self.due = self._limits.request_seconds, None
        response = await self._ask(request)
        self._request = None
        self.patience, self.due = _INFINITE, None
        if type(response) is Response:
            alive = incoming.keep_alive and not response.close and not self._closing
            big = self._limits.gzip_bytes and incoming.request.headers.get("accept-encoding")
            if big and _size(response.body) >= self._limits.gzip_bytes and _may_gzip(incoming.request, response):
                response = await trio.to_thread.run_sync(_gzip, response)
            self.patience, self.due = self._limits.write_seconds, None
            await self._write(response, incoming, alive)
            if incoming.upgrade and alive:
                self._parser.resume()
            return alive
        if self._budget.left <= 0:
            if isinstance(response, StreamResponse):
                await _aclose(response.body)
            error = errors.TooManyRequests("too many streams are open", headers={"Retry-After": "1"})
            await self._write(wire.status_response(error, close=True), incoming)
            return False
        self._budget.left -= 1
        try:
            if isinstance(response, UpgradeResponse):
                return await self._upgrade(response, incoming)
            assert isinstance(response, StreamResponse), f"a handler returned {response!r}"
            return await self._send_stream(response, incoming)
        finally:
            self._budget.left += 1

    async def _ask(self, request: Request) -> AnyResponse:
        try:
            return await self._handler(request)
        except errors.ApiError as error:
            return wire.status_response(error)
        except Exception:
            self._log.exception("%s %s failed", request.method, request.path)
            return wire.status_response(errors.InternalError("an internal error occurred"))

    async def _write(self, response: Response, incoming: Incoming | None, alive: bool = False) -> None:
        body, status = response.body, response.status
        size = _size(body)
        parts: Body = [wire.start(status, response.content_type if size else "")]
        if status not in _NO_BODY:
            parts.append(b"Content-Length: %d\r\n" % size)
        parts.append(wire.date())
        if response.headers:
            parts.append(wire.fields(response.headers))
        if not alive:
            parts.append(b"Connection: close\r\n")
        elif incoming is not None and incoming.http10:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        send = self._stream.send_all
        if (incoming is not None and incoming.request.method == "HEAD") or status in _NO_BODY:
            await send(b"".join(parts))
        elif size <= _JOIN:
            parts += body if isinstance(body, list) else (body,)
            await send(b"".join(parts))
        else:
            await self._write_big(b"".join(parts), body, size)

    async def _write_big(self, head: bytes, body: bytes | Body, size: int) -> None:
        """In pieces, each with a time-out of its own: a slow reader of a big answer may take long, but must read."""
        if isinstance(body, bytes):
            await self._stream.send_all(head)
            return await self._write_piece(body)
        step = max(len(body) * _PIECE // size, 1)  # so many are about a piece: measuring each of them costs more
        for at in range(0, len(body), step):
            await self._write_piece(head + b"".join(body[at : at + step]))
            head = b""

    async def _write_piece(self, piece: bytes) -> None:
        with memoryview(piece) as view:
            for at in range(0, len(view), _PIECE):
                self.patience, self.due = self._limits.write_seconds, None
                await self._stream.send_all(view[at : at + _PIECE])

    # --- streams ---

    async def _send_stream(self, response: StreamResponse, incoming: Incoming) -> bool:
        """Chunked; the body's generator is closed at the end of the stream, of the client, or of the server."""
        alive = incoming.keep_alive and not incoming.http10
        parts = [wire.start(response.status, response.content_type), wire.date(), wire.fields(response.headers)]
        if not incoming.http10:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if not alive:
            parts.append(b"Connection: close\r\n")
        parts.append(b"\r\n")
        self.phase = Phase.STREAMING
        whole = False
        try:
            self.patience, self.due = self._limits.write_seconds, None
            await self._stream.send_all(b"".join(parts))
            if incoming.request.method == "HEAD":
                return alive
            with trio.CancelScope() as self._stream_scope:
                if self._closing:
                    self._stream_scope.cancel()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_peer, nursery.cancel_scope)
                    whole = await self._pump(response.body, chunked=not incoming.http10)
                    nursery.cancel_scope.cancel()
            if self._closing and self._stream_scope.cancelled_caught:
                whole = True
        finally:
            self._stream_scope = None
            self.phase = Phase.HANDLING
            await _aclose(response.body)
        if whole and not incoming.http10:
            self.patience, self.due = self._limits.write_seconds, None
            await self._stream.send_all(b"0\r\n\r\n")
        return whole and alive and not self._closing and not (incoming.upgrade or self._parser.refused)

    async def _pump(self, body: AsyncIterator[bytes], *, chunked: bool) -> bool:
        """Whether the body came to its end (an error cuts the connection, so that the client sees no end)."""
        send, patience = self._stream.send_all, self._limits.write_seconds
        self.patience, self.due = _INFINITE, None
        try:
            async for piece in body:
                if piece:
                    self.patience, self.due = patience, None
                    await send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                    self.patience, self.due = _INFINITE, None
            return True
        except Exception as error:
            if not _gone(error):
                self._log.exception("a stream failed")
            return False

    async def _watch_peer(self, stream_scope: trio.CancelScope) -> None:
        """Notice a client that has gone, even when there is nothing to send. What it sends meanwhile is kept."""
        received = 0
        try:
            while received < _PIPELINE:
                data = await self._stream.receive_some(READ)
                if not data:
                    break
                received += len(data)
                self._parser.feed(data)
            else:
                return  # a client that talks this much is there
        except _BROKEN:
            pass
        stream_scope.cancel()

    async def _upgrade(self, response: UpgradeResponse, incoming: Incoming) -> bool:
        if not incoming.upgrade:
            error = errors.BadRequest("unable to upgrade: the request does not ask for an upgrade")
            await self._write(wire.status_response(error, close=True), incoming)
            return False
        headers: HeaderList = response.headers
        head = wire.start(101, "") + wire.fields(headers) + b"\r\n"
        await self._stream.send_all(head)
        self.phase = Phase.UPGRADED
        self.patience, self.due = _INFINITE, None
        try:
            await response.run(self._stream, self._parser.leftover)
        except Exception as error:
            if not _gone(error):
                self._log.exception("an upgraded connection failed: %s", incoming.request.path)
        return False


def _gone(error: Exception) -> bool:
    """Whether an error says only that the peer has gone, be it from within nurseries."""
    return isinstance(error, _BROKEN) or (isinstance(error, ExceptionGroup) and error.split(_BROKEN)[1] is None)


def _size(body: bytes | Body) -> int:
    return len(body) if isinstance(body, bytes) else sum(map(len, body))


def _may_gzip(request: Request, response: Response) -> bool:
    """As upstream: answers to GET only, level 1, and only where nothing else has been encoded."""
    if request.method != "GET" or response.status != 200:
        return False
    if any(name == b"content-encoding" for name, _ in response.headers):
        return False
    for choice in request.headers["accept-encoding"].split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _gzip(response: Response) -> Response:
    """In a worker thread: zlib works without the interpreter's lock."""
    packer = zlib.compressobj(1, wbits=31)
    pieces = response.body if isinstance(response.body, list) else [response.body]
    packed: Body = []
    for at in range(0, len(pieces), _GZIP_PIECES):  # a big list is never in memory as a whole
        packed.append(packer.compress(b"".join(pieces[at : at + _GZIP_PIECES])))
    packed.append(packer.flush())
    headers = [*response.headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    return Response(response.status, packed, response.content_type, headers, response.close)


async def _aclose(body: AsyncIterator[bytes]) -> None:
    """Close a generator even while being cancelled, but do not wait for it without bound."""
    aclose = getattr(body, "aclose", None)
    if aclose is not None:
        with trio.move_on_after(5, shield=True):
            await aclose()
