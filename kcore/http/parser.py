"""From bytes to `Request`s: llhttp (through httptools) with the bounds and checks that it leaves to us.

What two implementations might read differently is refused, not interpreted: more than one Host, a transfer
coding other than exactly ``chunked``, a repeated Content-Length, a body after an upgrade (RFC 9112, sections 3 and 6).
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import httptools

from kcore.http.limits import Limits
from kcore.http.messages import LISTED, Request

_SIMPLE = re.compile(rb"(GET|HEAD|DELETE|POST|PUT|PATCH|OPTIONS) (/[!-~]*) HTTP/1\.1").fullmatch
_LENGTH = re.compile(rb"(?i:\r\ncontent-length: ?)\d+(?=\r\n)").search
_SPECIAL = frozenset(("transfer-encoding", "expect"))
_DIGITS = 12  # of a length, and the end of its line
_SINGLE = frozenset(("host", "content-length", "transfer-encoding", "content-type", "authorization", "upgrade"))


class Refused(Exception):
    """The bytes are no request that this server takes: the HTTP status and what to tell the client."""

    def __init__(self, code: int, message: str):
        self.code, self.message = code, message
        super().__init__(message)


class Incoming(NamedTuple):
    """A complete request, and what the connection needs to know to answer it."""

    request: Request
    keep_alive: bool
    http10: bool
    upgrade: bool


class Known(NamedTuple):
    """A header's bytes around the number of its Content-Length, and what they mean."""

    before: bytes
    after: bytes
    headers: dict[str, str]


class RequestParser:
    """Feed it bytes; take complete requests from `ready`. After `refused` is set it takes nothing more."""

    def __init__(
        self,
        limits: Limits,
        peer: str = "",
        local: str = "",
        certificate: bytes | None = None,
        unverified: bytes | None = None,
    ):
        self.ready: deque[Incoming] = deque()
        self.refused: Refused | None = None
        self.leftover = b""  # what followed a request that asked for an upgrade
        self.in_message = False  # bytes of an unfinished request have arrived
        self.in_body = False  # ... and its header is complete
        self.wants_continue = False  # the client waits for "100 Continue"; the connection resets it
        self._limits, self._peer, self._local, self._certificate = limits, peer, local, certificate
        self._unverified = unverified
        self._known: Known | None = None  # of the last request without a body
        self._known_with_body: Known | None = None
        self._fed = 0  # bytes fed since the request began, for headers and chunk framing that never end
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes | bytearray) -> None:
        """Parse; a request that cannot be taken sets `refused` (after those in `ready`, which are good)."""
        if self.refused is not None:
            return
        if not self.in_message and self._again(data):
            return
        whole = not self.in_message
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.leftover = bytes(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self.refused = cause if isinstance(cause, Refused) else Refused(400, "the request could not be read")
            return
        except httptools.HttpParserError as error:
            self.refused = self._explain(error, data)
            return
        if self.in_message:
            self._fed += len(data)
            if not self.in_body:
                if self._fed > self._limits.header_bytes:
                    self.refused = Refused(431, "request header fields too large")
            elif self._fed - self._body_size > self._limits.header_bytes + self._limits.body_bytes:
                self.refused = Refused(413, "chunk framing too large")

        elif whole and len(self.ready) == 1:
            self._remember(data, self.ready[0])

    def _remember(self, data: bytes | bytearray, incoming: Incoming) -> None:
        """Keep the header of a request that came in one piece, for `_again`."""
        headers = incoming.request.headers
        if not incoming.keep_alive or incoming.http10 or incoming.upgrade or not _SPECIAL.isdisjoint(headers):
            return
        begin, end = data.find(b"\r\n"), data.find(b"\r\n\r\n") + 4
        if not _SIMPLE(data[:begin]):
            return
        block = bytes(data[begin:end])
        if "content-length" not in headers:
            if end == len(data):
                self._known = Known(block, b"", headers.copy())
        elif (length := _LENGTH(block)) is not None and end + len(incoming.request.body) == len(data):
            number = length[0].rpartition(b":")[2].strip()
            at = length.end() - len(number)
            self._known_with_body = Known(block[:at], block[length.end() :], headers.copy())

    def _again(self, data: bytes | bytearray) -> bool:
        """Whether this is a request with the very header of one before it: clients repeat themselves, and llhttp
        has approved of these bytes, so that only the request line, the body and its length are new."""
        begin = data.find(b"\r\n")
        known, body = self._known, b""
        if known is None or data[begin:] != known.before:
            known = self._known_with_body
            if known is None or not data.startswith(known.before, begin):
                return False
            at = begin + len(known.before)
            end = data.find(b"\r\n", at, at + _DIGITS)
            length = data[at:end]
            if end < 0 or not length.isdigit() or not data.startswith(known.after, end):
                return False
            body = bytes(data[end + len(known.after) :])
            if len(body) != int(length) or len(body) > self._limits.body_bytes:
                return False
            known.headers["content-length"] = length.decode("ascii")
        simple = _SIMPLE(data, 0, begin)
        if simple is None or begin > self._limits.url_bytes:
            return False
        method, raw = simple.groups()
        try:
            path, query = _target(raw)
        except Refused as refused:
            self.refused = refused
            return True
        request = Request(
            method.decode("ascii"),
            path,
            query,
            known.headers.copy(),
            body,
            raw.decode("ascii"),
            self._peer,
            self._local,
            self._certificate,
            self._unverified,
        )
        self.ready.append(Incoming(request, True, False, False))
        return True

    def resume(self) -> None:
        """Go on with HTTP after an upgrade that was not granted."""
        data, self.leftover = self.leftover, b""
        self._start()
        if data:
            self.feed(data)

    @staticmethod
    def _explain(error: Exception, data: bytes | bytearray) -> Refused:
        text = str(error)
        if "HTTP version" in text or data.startswith(b"PRI * HTTP/2"):
            return Refused(505, "only HTTP/1.1 is served here")
        return Refused(400, f"malformed HTTP request: {text}")

    # --- called by httptools, from feed_data ---

    def on_message_begin(self) -> None:
        self.in_message, self.in_body = True, False
        self._url = b""
        self._headers: dict[str, str] = {}
        self._size = self._fed = self._body_size = 0
        self._body: list[bytes] = []

    def on_url(self, piece: bytes) -> None:
        self._url += piece
        if len(self._url) > self._limits.url_bytes:
            raise Refused(414, "request URI too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4
        headers = self._headers
        if self._size > self._limits.header_bytes or len(headers) >= self._limits.header_count:
            raise Refused(431, "request header fields too large")
        if self.in_body:
            return  # a trailer: bounded, but of no meaning to us
        key = name.decode("latin-1").lower()
        if key in headers:
            if key in _SINGLE:
                raise Refused(400, f"more than one {key} header")
            joint = "\0" if key.startswith(LISTED) else "; " if key == "cookie" else ", "
            headers[key] += joint + value.decode("latin-1")
        else:
            headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.in_body = True
        headers = self._headers
        version = self._parser.get_http_version()
        if version != "1.1" and version != "1.0":
            raise Refused(505, "only HTTP/1.1 is served here")
        self._http10 = version == "1.0"
        if "host" not in headers and not self._http10:
            raise Refused(400, "missing required Host header")
        coding = headers.get("transfer-encoding")
        if coding is not None and (coding.lower() != "chunked" or "content-length" in headers or self._http10):
            raise Refused(400, "unsupported transfer encoding")
        length = headers.get("content-length")
        if length is not None and int(length) > self._limits.body_bytes:
            raise Refused(413, f"Request entity too large: limit is {self._limits.body_bytes}")
        if "expect" in headers and headers["expect"].lower() == "100-continue" and (length or coding):
            self.wants_continue = True

    def on_body(self, piece: bytes) -> None:
        self.wants_continue = False
        self._body_size += len(piece)
        if self._body_size > self._limits.body_bytes:
            raise Refused(413, f"Request entity too large: limit is {self._limits.body_bytes}")
        self._body.append(piece)

    def on_message_complete(self) -> None:
        self.in_message = self.in_body = self.wants_continue = False
        parser, body = self._parser, self._body
        upgrade = parser.should_upgrade()
        if upgrade and (self._headers.get("content-length", "0") != "0" or "transfer-encoding" in self._headers):
            raise Refused(400, "a request for an upgrade may not have a body")
        raw = self._url
        path, query = _target(raw)
        self.ready.append(
            Incoming(
                Request(
                    parser.get_method().decode("ascii"),
                    path,
                    query,
                    self._headers,
                    b"" if not body else body[0] if len(body) == 1 else b"".join(body),
                    raw.decode("latin-1"),
                    self._peer,
                    self._local,
                    self._certificate,
                    self._unverified,
                ),
                parser.should_keep_alive(),
                self._http10,
                upgrade,
            )
        )


def _target(raw: bytes) -> tuple[str, str]:
    """(decoded path, raw query) of a request target in origin, absolute or asterisk form."""
    try:
        text = raw.decode("ascii")
        if not text.startswith("/"):
            if text == "*":
                return "*", ""
            parts = urlsplit(text)
            if parts.scheme not in ("http", "https"):
                raise Refused(400, "malformed request target")
            text = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        path, _, query = text.partition("?")
        if "#" in text:
            raise Refused(400, "malformed request target")
        if "%" in path:
            path = unquote(path, errors="strict")
    except ValueError:  # not ASCII, or not UTF-8 behind the percent signs
        raise Refused(400, "malformed request target") from None
    return path, query
