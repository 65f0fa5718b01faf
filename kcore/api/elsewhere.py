"""What another server answers, for clients in this process: their calls go the HTTP way, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

from kcore.api.auth import User
from kcore.client.remote import RemoteClient
from kcore.http.client import Answer
from kcore.http.messages import AnyResponse, Request, Response, StreamResponse

if TYPE_CHECKING:
    from kcore.api.server import ApiServer

MOST = 256 * 1024 * 1024  # bytes of one answer


class Loopback:
    """The transport: requests that are known to be allowed, handled by the server itself in a user's name."""

    def __init__(self, server: ApiServer, user: User, agent: str) -> None:
        self._server, self._user, self._agent = server, user, agent

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        async with self._pieces(method, path, body, headers) as (status, found, pieces):
            return Answer(status, found, await _whole(pieces))

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        async with self._pieces(method, path, b"", headers) as (status, found, pieces):
            yield Answer(status, found, await _whole(pieces) if status >= 400 else b""), pieces

    @asynccontextmanager
    async def _pieces(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None
    ) -> AsyncIterator[tuple[int, dict[str, str], AsyncIterator[bytes]]]:
        plain, _, query = path.partition("?")
        sent = {name.lower(): value for name, value in (headers or {}).items()} | {"user-agent": self._agent}
        request = Request(method, unquote(plain), query, sent, body, raw_path=path)
        answer: AnyResponse = await self._server.handle_as(request, self._user)
        found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
        if isinstance(answer, StreamResponse):
            try:
                yield answer.status, found, answer.body
            finally:
                close = getattr(answer.body, "aclose", None)
                if close is not None:
                    await close()
        elif isinstance(answer, Response):
            yield answer.status, found, _once(answer)
        else:
            raise ConnectionAbortedError("the server switched protocols")


async def _once(answer: Response) -> AsyncIterator[bytes]:
    yield answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)


async def _whole(pieces: AsyncIterator[bytes]) -> bytes:
    found, size = [], 0
    async for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size > MOST:
            raise ConnectionAbortedError(f"the answer is longer than {MOST} bytes")
    return b"".join(found)


def client(server: ApiServer, user: User, agent: str) -> RemoteClient:
    return RemoteClient(Loopback(server, user, agent))
