"""HTTP/1.1 as clients see it, over memory streams and over loopback."""

from __future__ import annotations

import gzip
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from kcore import errors
from kcore.http.messages import AnyResponse, Request, Response, StreamResponse, UpgradeResponse
from kcore.http.server import Limits, serve_stream
from tests.http.exchange import GET, Silent, body, echo, exchange, status


async def test_a_request_gets_its_answer() -> None:
    answer = await exchange(b"POST /a%20b?c=d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz")
    assert status(answer) == 200
    assert b"Content-Type: application/json\r\n" in answer
    assert body(answer) == {"method": "POST", "path": "/a b", "query": "c=d", "body": "xyz"}


async def test_pipelined_requests_are_answered_in_order() -> None:
    answer = await exchange(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.index(b'"/1"') < answer.index(b'"/2"')


async def test_requests_with_the_same_header_are_each_understood() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    head = b" HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, echo)
        for method, target, path in (
            ("GET", "/1?q", "/1"),
            ("GET", "/2?q", "/2"),
            ("DELETE", "/%41?q", "/A"),
            ("GET", "/4?q", "/4"),
        ):
            await ours.send_all(f"{method} {target}".encode() + head)
            told = body(await ours.receive_some())
            assert (told["method"], told["path"], told["query"]) == (method, path, "q")
        await ours.send_all(b"GET /a" + head + b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        assert b'"/a"' in await ours.receive_some()
        assert body(await ours.receive_some())["body"] == "hi"
        await ours.send_all(b"GET /%ff" + head)
        assert status(await ours.receive_some()) == 400
        await ours.aclose()


@pytest.mark.parametrize("line", [b"GET /a b", b"G\xc3T /", b"GET /#x", b"GET /%ff", b"CONNECT a:1", b"get /"])
async def test_a_bad_request_line_is_refused_after_a_good_one_too(line: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    head = b" HTTP/1.1\r\nHost: a\r\n\r\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, echo)
        await ours.send_all(b"GET /" + head)
        assert status(await ours.receive_some()) == 200
        await ours.send_all(line + head)
        assert status(await ours.receive_some()) == 400
        await ours.aclose()


async def test_a_request_may_arrive_byte_by_byte() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, echo)
        for byte in b"PUT /slow?x=y HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok":
            await ours.send_all(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert body(await ours.receive_some()) == {"method": "PUT", "path": "/slow", "query": "x=y", "body": "ok"}
        await ours.aclose()


async def test_head_is_answered_without_a_body() -> None:
    answer = await exchange(GET.replace(b"GET", b"HEAD"))
    assert b"Content-Length: 57" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_chunked_body_is_put_together() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await exchange(head + b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: x\r\n\r\n")
    assert body(answer)["body"] == "abcde"


async def test_expect_100_continue_is_granted_before_the_body_comes() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, echo)
        await ours.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await ours.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await ours.send_all(b"hi")
        assert body(await ours.receive_some())["body"] == "hi"
        await ours.aclose()


async def test_http_1_0_is_answered_and_closed() -> None:
    answer = await exchange(b"GET / HTTP/1.0\r\n\r\n", eof=False)
    assert status(answer) == 200
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/3.1\r\nHost: a\r\n\r\n", 505),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 30_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(300)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nabc", 400),
    ],
)
async def test_what_is_malformed_or_too_big_is_refused_in_the_form_of_a_status(sent: bytes, code: int) -> None:
    async def unreachable(request: Request) -> AnyResponse:
        raise AssertionError("the handler was asked")

    answer = await exchange(sent, unreachable)
    assert status(answer) == code
    assert b"Connection: close\r\n" in answer
    told = body(answer)
    assert (told["kind"], told["status"], told["code"]) == ("Status", "Failure", code)


async def test_a_chunked_body_beyond_the_limit_is_refused() -> None:
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"a\r\n0123456789\r\n" * 20
    assert status(await exchange(sent, limits=Limits(body_bytes=100))) == 413


async def test_endless_chunk_extensions_are_refused() -> None:
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"e" * 400_000
    assert status(await exchange(sent, limits=Limits(body_bytes=100))) == 413


async def test_good_requests_before_a_bad_one_are_answered() -> None:
    answer = await exchange(GET + b"nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 400 Bad Request" in answer


async def test_a_slow_header_and_a_slow_body_time_out(autojump_clock: trio.testing.MockClock) -> None:
    assert status(await exchange(b"GET / HT", eof=False)) == 408
    slow = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
    assert status(await exchange(slow, eof=False)) == 408


async def test_an_idle_connection_is_closed_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    assert await exchange(b"", eof=False) == b""
    assert (await exchange(GET, eof=False)).count(b"HTTP/1.1") == 1


async def test_an_error_of_the_handler_is_a_status_and_the_connection_goes_on(caplog: Any) -> None:
    async def handler(request: Request) -> AnyResponse:
        if request.path == "/refuse":
            raise errors.TooManyRequests("slow down", headers={"Retry-After": "1"})
        raise ValueError("secret detail")

    with caplog.at_level(logging.CRITICAL, "kcore.http"):
        answer = await exchange(b"GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n" + GET, handler)
    assert b"HTTP/1.1 429 Too Many Requests" in answer
    assert b"retry-after: 1\r\n" in answer
    assert b"HTTP/1.1 500 Internal Server Error" in answer
    assert b"secret detail" not in answer


@pytest.mark.parametrize("accept", [b"gzip", b"deflate, gzip;q=0.5", b"identity", b"gzip;q=0"])
async def test_big_answers_are_compressed_where_the_client_allows(accept: bytes) -> None:
    big = [b'{"items":[', b"0," * 100_000, b"0]}"]

    async def handler(request: Request) -> AnyResponse:
        return Response(200, big)

    answer = await exchange(b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: " + accept + b"\r\n\r\n", handler)
    head, _, received = answer.partition(b"\r\n\r\n")
    if accept in (b"identity", b"gzip;q=0"):
        assert received == b"".join(big)
    else:
        assert b"content-encoding: gzip" in head
        assert gzip.decompress(received) == b"".join(big)


async def test_pieces_of_any_size_arrive_whole_and_in_order() -> None:
    sizes = (1, 3000, 262_143, 262_144, 262_145, 0, 5, 700_000, 3000, 1)
    pieces = [bytes([n]) * size for n, size in enumerate(sizes)]
    few = [b"ab"] * 200_000

    async def handler(request: Request) -> AnyResponse:
        return Response(200, few if request.path == "/few" else pieces)

    for path, sent in ((b"/few", few), (b"/any", pieces)):
        answer = await exchange(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path, handler)
        head, _, received = answer.partition(b"\r\n\r\n")
        assert received == b"".join(sent)
        assert b"Content-Length: %d\r\n" % len(received) in head


async def test_a_stream_is_flushed_piece_by_piece_and_ends_well() -> None:
    send, receive = trio.open_memory_channel[bytes](0)

    async def handler(request: Request) -> AnyResponse:
        async def pieces() -> AsyncIterator[bytes]:
            async for piece in receive:
                yield piece

        return StreamResponse(pieces())

    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, handler)
        await ours.send_all(GET)
        assert b"Transfer-Encoding: chunked\r\n" in await ours.receive_some()
        await send.send(b"one")
        assert await ours.receive_some() == b"3\r\none\r\n"
        await send.send(b"twotwotwotwotwotwo")
        assert await ours.receive_some() == b"12\r\ntwotwotwotwotwotwo\r\n"
        await send.aclose()
        assert await ours.receive_some() == b"0\r\n\r\n"
        await ours.aclose()


async def test_a_silent_watch_notices_that_its_client_has_gone() -> None:
    watch = Silent()
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, theirs, watch.handler)
        await ours.send_all(GET)
        await ours.receive_some()
        await ours.aclose()
        await watch.closed.wait()


async def test_a_client_that_does_not_read_its_watch_is_cut_off(autojump_clock: trio.testing.MockClock) -> None:
    async def handler(request: Request) -> AnyResponse:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1000

        return StreamResponse(pieces())

    ours, theirs = trio.testing.lockstep_stream_pair()
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_stream, theirs, handler)
            await ours.send_all(GET)


async def test_a_stream_that_fails_is_cut_without_an_end(caplog: Any) -> None:
    async def handler(request: Request) -> AnyResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            raise ValueError("broken")

        return StreamResponse(pieces())

    with caplog.at_level(logging.CRITICAL, "kcore.http"):
        answer = await exchange(GET, handler, eof=False)
    assert answer.endswith(b"3\r\none\r\n")


async def test_streams_beyond_the_limit_are_told_to_come_later() -> None:
    answer = await exchange(GET, Silent().handler, Limits(streams=0), eof=False)
    assert status(answer) == 429


async def test_an_upgrade_hands_over_the_stream_and_what_came_early() -> None:
    async def handler(request: Request) -> AnyResponse:
        async def run(stream: trio.abc.Stream, leftover: bytes) -> None:
            await stream.send_all(leftover.upper())

        return UpgradeResponse(run, [(b"upgrade", b"shout"), (b"connection", b"Upgrade")])

    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: shout\r\nConnection: Upgrade\r\n\r\nearly"
    answer = await exchange(upgrade, handler)
    assert status(answer) == 101
    assert answer.endswith(b"\r\n\r\nEARLY")
    assert status(await exchange(GET, handler)) == 400


async def test_an_upgraded_client_that_has_gone_is_no_fault_even_if_several_tasks_notice(caplog: Any) -> None:
    async def run(stream: trio.abc.Stream, leftover: bytes) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            await stream.aclose()
            outer.start_soon(stream.send_all, b"x")
            inner.start_soon(stream.receive_some)

    async def handler(request: Request) -> AnyResponse:
        return UpgradeResponse(run, [(b"upgrade", b"x"), (b"connection", b"Upgrade")])

    await exchange(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", handler)
    assert not caplog.records


async def test_an_upgrade_that_nobody_wants_is_an_ordinary_request() -> None:
    upgrade = b"GET /1 HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    answer = await exchange(upgrade + GET)
    assert answer.count(b"HTTP/1.1 200 OK") == 2


# --- the server as a whole, on loopback ---
