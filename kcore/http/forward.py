"""Passing a request on, and its answer back: read only as far as the end of the header."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import attrs
import httptools
import trio

from kcore.errors import InternalError
from kcore.http.messages import AnyResponse, HeaderList, Request, Response, StreamResponse, UpgradeResponse

HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding")
)
_NOT_OURS = HOP | {"upgrade", "host", "content-length", "authorization", "expect"}
HEADER_MOST = 64 * 1024  # bytes of an answer's header
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define
class _Answer:
    """Parser callbacks: collects the head, then pieces of the body."""

    status: int = 0
    headers: HeaderList = attrs.Factory(list)
    body: list[bytes] = attrs.Factory(list)
    headed: bool = False
    complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True

    def header(self, name: bytes) -> str:
        return next((v.decode("latin-1") for k, v in self.headers if k == name), "")


def _head(request: Request, target: str, host: str, extra: Iterable[tuple[str, str]], drop: tuple[str, ...]) -> bytes:
    lines = [f"{request.method} {target} HTTP/1.1", f"host: {host}"]
    skipped = _NOT_OURS | {w.strip().lower() for w in request.headers.get("connection", "").split(",")}
    for k, v in request.headers.items():
        if k not in skipped and not k.startswith(drop):
            lines += [f"{k}: {one}" for one in v.split("\0")]
    lines += [f"{k}: {v}" for k, v in extra]
    if request.headers.get("upgrade"):
        lines += ["connection: Upgrade", f"upgrade: {request.headers['upgrade']}"]
    else:
        lines.append("connection: close")
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"content-length: {len(request.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", errors="replace")


async def forward(
    stream: trio.abc.Stream,
    request: Request,
    target: str,
    host: str,
    extra: Iterable[tuple[str, str]] = (),
    *,
    drop: tuple[str, ...] = (),
) -> AnyResponse:
    """Send the request with `target` in place of its path and `extra` headers, without its headers that begin with one
    of `drop`; the answer owns `stream` from then on.

    Raises InternalError when the other side does not speak HTTP.
    """
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    try:
        await stream.send_all(_head(request, target, host, extra, ("impersonate-", *drop)) + request.body)
        seen = 0
        while not answer.headed:
            data = bytes(await stream.receive_some(65536))
            seen += len(data)
            if not data or seen > HEADER_MOST:
                raise InternalError(f"error dialing backend: {host} answered nothing that can be understood")
            upgraded = _feed(parser, data)
            answer.status = parser.get_status_code() if answer.headed else 0
            if upgraded is not None:
                return _upgrade(stream, answer, upgraded)
    except InternalError:
        await trio.aclose_forcefully(stream)
        raise
    except (*_BROKEN, httptools.HttpParserError) as error:
        await trio.aclose_forcefully(stream)
        raise InternalError(f"error dialing backend: {host}: {error}") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    headers = [(k, v) for k, v in answer.headers if k.decode() not in HOP and k not in (b"content-length", b"date")]
    headers = [(k, v) for k, v in headers if k != b"content-type"]
    kind = answer.header(b"content-type")
    if answer.complete or request.method == "HEAD":
        await trio.aclose_forcefully(stream)
        return Response(answer.status, b"".join(answer.body), kind, headers)
    return StreamResponse(_body(stream, parser, answer), answer.status, kind, headers)


def _feed(parser: httptools.HttpResponseParser, data: bytes) -> bytes | None:
    """What follows the header of an answer that switches protocols; None for any other."""
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade as upgrade:
        return data[upgrade.args[0] :]
    return None


async def _body(
    stream: trio.abc.Stream, parser: httptools.HttpResponseParser, answer: _Answer
) -> AsyncIterator[bytes]:
    try:
        while True:
            pieces, answer.body = answer.body, []
            for piece in pieces:
                yield piece
            if answer.complete:
                return
            data = bytes(await stream.receive_some(65536))
            if not data:
                return
            parser.feed_data(data)
    except (*_BROKEN, httptools.HttpParserError):
        return  # the node has gone: what there was has been passed on
    finally:
        await trio.aclose_forcefully(stream)


def _upgrade(stream: trio.abc.Stream, answer: _Answer, leftover: bytes) -> UpgradeResponse:
    async def run(client: trio.abc.Stream, early: bytes) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pass, client, stream, early, nursery.cancel_scope)
                nursery.start_soon(_pass, stream, client, leftover, nursery.cancel_scope)
        finally:
            await trio.aclose_forcefully(stream)

    return UpgradeResponse(run, answer.headers)


async def _pass(source: trio.abc.Stream, target: trio.abc.Stream, first: bytes, scope: trio.CancelScope) -> None:
    """Bytes as they come; the end of one side ends both, since no protocol here is half closed."""
    try:
        data = first or bytes(await source.receive_some(65536))
        while data:
            await target.send_all(data)
            data = bytes(await source.receive_some(65536))
    except _BROKEN:
        pass
    scope.cancel()
