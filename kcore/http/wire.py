"""The bytes of an answer's head, and of errors that are found before a handler is asked."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec

from kcore import clock, errors
from kcore.http.messages import HeaderList, Response

_PHRASES = {int(s): s.phrase.encode("ascii") for s in HTTPStatus}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_REASONS = {400: "BadRequest", 408: "Timeout", 413: "RequestEntityTooLarge", 504: "Timeout"}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_starts: dict[tuple[int, str], bytes] = {}
_date: tuple[float, bytes] = (-1.0, b"")


def start(status: int, content_type: str) -> bytes:
    """Status line and Content-Type; kept, as there are few combinations."""
    found = _starts.get((status, content_type))
    if found is None:
        phrase = _PHRASES.get(status, b"Unknown")
        found = b"HTTP/1.1 %d %s\r\n" % (status, phrase)
        if content_type:
            found += b"Content-Type: %s\r\n" % content_type.encode("latin-1")
        if len(_starts) < 1000:
            _starts[status, content_type] = found
    return found


def date() -> bytes:
    """The Date header field; made a few times a second at most."""
    global _date
    real = time.monotonic()
    if real - _date[0] > 0.25:
        at = datetime.fromtimestamp(int(clock.now()), UTC)
        text = f"Date: {_DAYS[at.weekday()]}, {at:%d} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} GMT\r\n"
        _date = (real, text.encode("ascii"))
    return _date[1]


def fields(headers: HeaderList) -> bytes:
    """Header fields as lines. A CR or LF in one would let it end the head: it is dropped."""
    text = b"".join([b"%b: %b\r\n" % field for field in headers])
    if text.count(b"\n") == text.count(b"\r") == len(headers):
        return text
    clean = [(name, value.replace(b"\r", b"").replace(b"\n", b"")) for name, value in headers]
    return b"".join([b"%b: %b\r\n" % field for field in clean])


def status_response(error: errors.ApiError, *, close: bool = False) -> Response:
    """An error in Kubernetes' own form."""
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in error.headers.items()]
    return Response(error.code, msgspec.json.encode(error.status()) + b"\n", headers=headers, close=close)


def refusal(code: int, message: str) -> Response:
    """The last answer on a connection whose bytes make no sense, or come too slowly."""
    error = errors.ApiError(message, code=code, reason=_REASONS.get(code, ""))
    return status_response(error, close=True)
