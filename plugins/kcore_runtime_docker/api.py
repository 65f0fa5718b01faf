"""The Docker Engine API over its unix socket."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import trio

from kcore.errors import KcoreError
from kcore.http.client import HttpClient
from kcore.runtime import NoSuch, RuntimeFailure

VERSION = "v1.41"  # of Docker 20.10: what Debian's stable releases have
_HEAD_MOST = 64 * 1024
Object = dict[str, Any]


class Refused(RuntimeFailure):
    """The engine's answer was an error; `status` is its code."""

    def __init__(self, status: int, message: str):
        self.status = status
        super().__init__(message)


class DockerApi:
    """Requests to one engine. Raises RuntimeFailure, of which NoSuch is a 404 and Refused the others."""

    def __init__(self, socket: str, timeout: float):
        self.socket = socket
        url = f"http://docker/{VERSION}"
        self._http = HttpClient(url, unix=socket, timeout=timeout)
        self._patient = HttpClient(url, unix=socket, timeout=math.inf, connections=1024)

    async def aclose(self) -> None:
        await self._http.aclose()
        await self._patient.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        patient: bool = False,
    ) -> Any:
        """The decoded answer; None if it is empty. `patient` waits for it as long as it takes."""
        data = b"" if body is None else json.dumps(body).encode()
        return await self.send(method, path, data, "application/json", query=query, patient=patient)

    async def send(
        self,
        method: str,
        path: str,
        data: bytes,
        content_type: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patient: bool = False,
    ) -> Any:
        """The same with a body of any type."""
        said = {"Content-Type": content_type, **(headers or {})}
        try:
            http = self._patient if patient else self._http
            answer = await http.request(method, path + _query(query), data, said)
        except OSError as error:
            raise self._unreachable(error) from error
        if answer.status >= 400:
            raise _refused(answer.status, answer.body)
        return _decode(answer.body)

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, Any] | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of an endless answer."""
        try:
            async with self._http.stream("GET", path + _query(query)) as (answer, pieces):
                if answer.status >= 400:
                    raise _refused(answer.status, answer.body)
                yield pieces
        except OSError as error:
            raise self._unreachable(error) from error

    async def hijack(
        self, path: str, body: Object | None = None, *, query: Mapping[str, Any] | None = None
    ) -> tuple[trio.abc.HalfCloseableStream, bytes]:
        """A connection that has become a stream of bytes both ways, and what has arrived on it."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"POST /{VERSION}{path}{_query(query)} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        try:
            stream = await trio.open_unix_socket(self.socket)
        except OSError as error:
            raise self._unreachable(error) from error
        try:
            await stream.send_all(head.encode() + data)
            received = b""
            while b"\r\n\r\n" not in received and len(received) < _HEAD_MOST:
                piece = await stream.receive_some(65536)
                if not piece:
                    raise RuntimeFailure("the engine closed the connection without an answer")
                received += piece
            answered, _, rest = received.partition(b"\r\n\r\n")
            status = int(answered.split(b" ", 2)[1])
            if status != 101 and status != 200:
                while piece := await stream.receive_some(65536):
                    rest += piece
                raise _refused(status, rest[rest.find(b"{") : rest.rfind(b"}") + 1])
            return stream, rest
        except (trio.BrokenResourceError, OSError) as error:
            await trio.aclose_forcefully(stream)
            raise self._unreachable(error) from error
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    def _unreachable(self, error: Exception) -> RuntimeFailure:
        return RuntimeFailure(f"the Docker engine at {self.socket} does not answer: {error}")


def path(*parts: str) -> str:
    """A path of which every part is taken as it is."""
    return "".join(f"/{quote(part, safe=':@')}" for part in parts)


def _query(query: Mapping[str, Any] | None) -> str:
    if not query:
        return ""
    said = {
        k: json.dumps(v) if isinstance(v, dict) else str(int(v)) if isinstance(v, bool) else v
        for k, v in query.items()
    }
    return "?" + urlencode(said)


def _decode(body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _refused(status: int, body: bytes) -> KcoreError:
    said = _decode(body)
    message = said.get("message", "") if isinstance(said, dict) else str(said or f"status {status}")
    return NoSuch(message) if status == 404 else Refused(status, message)
