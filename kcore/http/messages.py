"""What a handler sees of HTTP: a request with its body read, and the three forms an answer may take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import attrs
import trio

LISTED = ("impersonate-", "x-remote-")
"""How headers begin whose values may hold a comma: each repetition is a value of its own (`values`)."""
Body = list[bytes | memoryview]  # pieces
HeaderList = list[tuple[bytes, bytes]]  # names in lower case, as on the wire otherwise


@attrs.define(slots=True)
class Request:
    """One request. The body has been read and is within the server's limit."""

    method: str
    path: str  # percent-decoded, begins with "/"
    query: str  # raw, without "?"
    headers: dict[str, str]  # lower-case names; repeated headers joined with ", ", those of `LISTED` with NUL
    body: bytes = b""
    raw_path: str = ""  # as on the wire, for proxying
    peer: str = ""  # the client's address, "127.0.0.1:50000"
    local: str = ""  # the address that was dialled
    peer_certificate: bytes | None = None  # DER of a client certificate that the TLS layer verified
    peer_unverified: bytes | None = None  # DER of one that it could not verify: another authority's, or expired
    decoded: Any = None  # what a body has been decoded to before it was asked for, or the error
    long: bool = False  # set by the handler: the answer may take as long as it likes
    late: bool = False  # set by the server when it gives up waiting for the handler, whom it cancels then
    _params: dict[str, list[str]] | None = None

    @property
    def params(self) -> dict[str, list[str]]:
        """The query's parameters, parsed once when first asked for."""
        if self._params is None:
            params: dict[str, list[str]] = {}
            if self.query:
                for key, value in parse_qsl(self.query, keep_blank_values=True):
                    params.setdefault(key, []).append(value)
            self._params = params
        return self._params

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.params.get(name)
        return values[0] if values else default


def values(headers: dict[str, str], name: str) -> list[str]:
    """All values of a header of `LISTED`, as the text that the client meant (UTF-8)."""
    found = headers.get(name)
    if found is None:
        return []
    return [v if v.isascii() else v.encode("latin-1").decode("utf-8", "replace") for v in found.split("\0")]


@attrs.define(slots=True)
class Response:
    """A complete answer. `body` may be a list of pieces, joined only when they are written."""

    status: int = 200
    body: bytes | Body = b""
    content_type: str = "application/json"
    headers: HeaderList = attrs.Factory(list)
    close: bool = False  # close the connection after this answer


@attrs.define(slots=True)
class StreamResponse:
    """An answer without a known end: sent with chunked transfer coding, flushed piece by piece.

    The server iterates `body` and closes it (`aclose`) whatever happens, so cleanup belongs in the generator.
    """

    body: AsyncIterator[bytes]
    status: int = 200
    content_type: str = "application/json"
    headers: HeaderList = attrs.Factory(list)


@attrs.define(slots=True)
class UpgradeResponse:
    """Switch protocols: the server writes a 101 with `headers`, then hands the connection to `run`.

    `run(stream, leftover)` owns the stream until it returns; `leftover` are bytes that arrived after the request.
    """

    run: Callable[[trio.abc.Stream, bytes], Awaitable[None]]
    headers: HeaderList = attrs.Factory(list)


AnyResponse = Response | StreamResponse | UpgradeResponse
Handler = Callable[[Request], Awaitable[AnyResponse]]
