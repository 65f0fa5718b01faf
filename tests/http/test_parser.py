"""Requests whose header is the one before, byte for byte: they are read another way, and must mean the same."""

from __future__ import annotations

import pytest

from kcore.http.limits import Limits
from kcore.http.messages import Request
from kcore.http.parser import RequestParser

HOST = b"Host: h\r\n"


def post(path: bytes, body: bytes, rest: bytes = HOST, length: bytes | None = None) -> bytes:
    size = b"%d" % len(body) if length is None else length
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %b\r\nAccept: */*\r\n\r\n%b" % (path, rest, size, body)


def get(path: bytes, rest: bytes = HOST) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (path, rest)


def read(*pieces: bytes) -> tuple[list[tuple[str, str, str, dict[str, str], bytes]], int]:
    """(the requests of one connection, the code with which it was refused or 0)"""
    parser = RequestParser(Limits(body_bytes=1000, url_bytes=200))
    for piece in pieces:
        parser.feed(piece)
    return [_shown(incoming.request) for incoming in parser.ready], parser.refused.code if parser.refused else 0


def _shown(request: Request) -> tuple[str, str, str, dict[str, str], bytes]:
    return request.method, request.path, request.query, request.headers, request.body


SECOND = [
    get(b"/b?x=1"),
    get(b"/%41"),
    post(b"/b", b"other"),
    post(b"/b", b"of another length"),
    post(b"/b", b""),
    post(b"/b", b"{}", b"Host: h\r\nX-More: 1\r\n"),
    post(b"/b", b"x" * 1001),
    post(b"/b", b"abc", length=b"0003"),
    post(b"/b", b"abc", length=b"+3"),
    post(b"/b", b"abc", length=b"3, 3"),
    post(b"/b", b"abc", length=b"-1"),
    post(b"/b", b"abc", length=b""),
    post(b"/" + b"u" * 300, b"abc"),
    post(b"/b c", b"abc"),
    post(b"/b", b"abc") + get(b"/c"),
    post(b"/b", b"abc", length=b"2"),
    get(b"/b") + get(b"/c"),
    b"\r\n" + get(b"/b"),
    b"BREW /b HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /b HTTP/1.0\r\nHost: h\r\n\r\n",
]


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", [get(b"/a"), post(b"/a", b"first")])
def test_a_second_request_means_what_it_means_as_the_first(first: bytes, second: bytes) -> None:
    before, _ = read(first)
    alone, refused = read(second)
    assert read(first, second) == (before + alone, refused)


@pytest.mark.parametrize("at", range(1, len(post(b"/b", b"abc"))))
def test_a_request_that_repeats_a_header_may_come_in_pieces(at: int) -> None:
    first, second = post(b"/a", b"first"), post(b"/b", b"abc")
    assert read(first, second[:at], second[at:]) == read(first, second)
