"""A small HTTP/1.1 client on trio: a pool of keep-alive connections to one server, and streams.

Small because it is on the path of every component that runs in a process of its own: it starts in a millisecond and a
request costs little more than its parsing. Redirects, cookies, proxies: none.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import httptools
import trio

from kcore.http.sockets import SocketStream
from kcore.http.tls import TlsStream

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))


@attrs.frozen(slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: dict[str, str]  # lower-case names
    body: bytes


class _Connection:
    """One connection: sends a request, parses the answer (it is httptools' protocol)."""

    def __init__(self, stream: trio.abc.Stream, sock: SocketStream):
        self.stream, self.sock = stream, sock
        self.fresh = True

    def start(self, method: str) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.head = self.done = self.begun = False
        self.without_body = method == "HEAD"

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.head = True
        self.status: int = self.parser.get_status_code()
        self.alive: bool = self.parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.done = True
        else:  # 100 Continue and its kind come before the answer
            self.head = False
            self.headers.clear()

    async def receive(self) -> bool:
        """Take in some of the answer; False at the connection's end. Raises ConnectionError."""
        try:
            data = await self.stream.receive_some(65536)
        except _BROKEN as error:
            raise ConnectionResetError(f"the connection broke: {error}") from error
        if not data:
            # an answer without length or chunks ends with the connection
            if self.head and "content-length" not in self.headers and "transfer-encoding" not in self.headers:
                self.done, self.alive = True, False
            return False
        self.begun = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ConnectionAbortedError(f"the server's answer is no HTTP: {error}") from error
        if self.head and self.without_body:
            self.done = True
        return True

    def stale(self) -> bool:
        """Whether the server has closed this idle connection."""
        try:
            return not self.sock.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)


class HttpClient:
    """Requests to one server. Safe to use from many tasks. Close it with `aclose`."""

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext | None = None,
        *,
        server_name: str = "",
        authority: str = "",
        headers: dict[str, str] | None = None,
        connections: int = 64,
        timeout: float = 60.0,
        max_body: int = 0,
        unix: str = "",
    ):
        """`authority` is what the Host header says, if not the URL's; an answer over `max_body` bytes is an error.

        `unix` is the path of a socket to connect to, in the place of the URL's host.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a server; it should look like https://127.0.0.1:6443")
        self.url = url.rstrip("/")
        self._host, self._prefix = parts.hostname, parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._context = (context or ssl.create_default_context()) if parts.scheme == "https" else None
        self._server_name = server_name or parts.hostname
        lines = [f"Host: {authority or parts.netloc.rpartition('@')[2]}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._common = ("\r\n".join(lines) + "\r\n").encode("latin-1")
        self._idle: list[_Connection] = []
        self._slots = trio.CapacityLimiter(connections)
        self._timeout = timeout
        self._max_body = max_body
        self._unix = unix

    async def aclose(self) -> None:
        """Close idle connections; those in use are closed by their users."""
        while self._idle:
            await self._idle.pop().close()

    async def connect(self) -> trio.abc.Stream:
        """A new connection of one's own, TLS done: for WebSockets. Raises OSError."""
        return (await self._connect()).stream

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        repeatable: bool = False,
    ) -> Answer:
        """Raises OSError (TimeoutError when the answer takes too long).

        `repeatable`: a POST or PATCH that does no harm twice, and may be sent again when a kept connection was closed
        by the server in the same moment.
        """
        with trio.move_on_after(self._timeout):
            async with self._slots:
                return await self._exchange(method, path, body, headers, repeatable or method in _IDEMPOTENT)
        raise TimeoutError(f"{self.url} has not answered within {self._timeout:.0f} s")

    async def _exchange(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None, repeatable: bool
    ) -> Answer:
        connection = await self._send(method, path, body, headers, repeatable)
        try:
            while True:
                if self._max_body and sum(map(len, connection.body)) > self._max_body:
                    raise ConnectionAbortedError(f"the answer is longer than {self._max_body} bytes")
                if connection.done:
                    break
                if not await connection.receive() and not connection.done:
                    raise ConnectionResetError("the server closed the connection before its answer was complete")
        except BaseException:
            await connection.close()
            raise
        answer = Answer(connection.status, connection.headers, b"".join(connection.body))
        await self._release(connection)
        return answer

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """An answer without a known end: its head, and its pieces as they come.

        When the status is 400 or more the Answer's body is complete and there are no pieces.
        """
        with trio.move_on_after(self._timeout):
            connection = await self._send(method, path, b"", headers, method in _IDEMPOTENT)
            break_off = True
            try:
                while not connection.head:
                    if not await connection.receive():
                        raise ConnectionResetError("the server closed the connection without an answer")
                while connection.status >= 400 and not connection.done and await connection.receive():
                    pass
                break_off = False
            finally:
                if break_off:
                    await connection.close()
        if break_off:
            raise TimeoutError(f"{self.url} has not answered within {self._timeout:.0f} s")
        body = b"".join(connection.body) if connection.status >= 400 else b""
        pieces = _Pieces(connection)
        try:
            yield Answer(connection.status, connection.headers, body), pieces
        finally:
            await connection.close()

    async def _send(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None, repeatable: bool
    ) -> _Connection:
        """Send a request; the answer has begun to arrive. On a connection that went stale meanwhile, once more."""
        head = [f"{method} {self._prefix}{path} HTTP/1.1\r\n".encode("latin-1"), self._common]
        for name, value in (headers or {}).items():
            if "\r" in value or "\n" in value:
                raise ValueError(f"a line break in the header {name}")
            head.append(f"{name}: {value}\r\n".encode("latin-1"))
        if body or method in ("POST", "PUT", "PATCH"):
            head.append(b"Content-Length: %d\r\n" % len(body))
        head += (b"\r\n", body)
        data = b"".join(head)
        while True:
            connection = await self._take()
            reused, connection.fresh = not connection.fresh, False
            connection.start(method)
            try:
                await connection.stream.send_all(data)
                if await connection.receive():
                    return connection
                error: Exception = ConnectionResetError("the server closed the connection without an answer")
            except (*_BROKEN, ConnectionError) as broken:
                error = broken
            except BaseException:
                await connection.close()
                raise
            await connection.close()
            if not reused or connection.begun or not repeatable:
                raise error if isinstance(error, OSError) else ConnectionResetError(str(error)) from error

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()  # the one used last: the others may time out
            if not connection.stale():
                return connection
            await connection.close()
        return await self._connect()

    async def _release(self, connection: _Connection) -> None:
        if connection.alive and connection.done:
            self._idle.append(connection)
        else:
            await connection.close()

    async def _connect(self) -> _Connection:
        if self._unix:
            sock = SocketStream.adopt(await trio.open_unix_socket(self._unix))
        else:
            sock = SocketStream.adopt(await trio.open_tcp_stream(self._host, self._port))
        if self._context is None:
            return _Connection(sock, sock)
        tls = TlsStream(sock, self._context, server_hostname=self._server_name)
        try:
            await tls.handshake()
        except _BROKEN as error:
            await trio.aclose_forcefully(sock)
            raise ConnectionRefusedError(f"no TLS with {self.url}: {error}") from error
        except BaseException:
            await trio.aclose_forcefully(sock)
            raise
        return _Connection(tls, sock)


class _Pieces:
    """The pieces of a stream as they come. Not a generator: nobody has to close it."""

    def __init__(self, connection: _Connection):
        self._connection = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection.status >= 400:
            raise StopAsyncIteration
        while not connection.body:
            if connection.done:
                raise StopAsyncIteration
            if not await connection.receive() and not connection.done:
                raise ConnectionResetError("the server broke the stream off")
        piece = b"".join(connection.body)
        connection.body.clear()
        return piece
