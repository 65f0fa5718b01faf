"""The server as a whole, on loopback, and what it does with clients that leave."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from kcore import errors
from kcore.http.listen import bound, listen
from kcore.http.messages import AnyResponse, Request, Response
from kcore.http.server import Limits, serve
from tests.http.exchange import GET, Silent, body, echo, exchange, status


async def connect(listener: trio.SocketListener) -> trio.SocketStream:
    return await trio.open_tcp_stream(*bound(listener))


async def test_stopping_lets_a_request_in_flight_finish_and_ends_watches_well() -> None:
    begun, go_on, watch = trio.Event(), trio.Event(), Silent()

    async def handler(request: Request) -> AnyResponse:
        if request.path == "/watch":
            return await watch.handler(request)
        begun.set()
        await go_on.wait()
        return Response(200, b"done")

    async with trio.open_nursery() as nursery:
        listener = await listen(0)
        port = bound(listener)[1]
        server = trio.CancelScope()

        async def run(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            with server:
                await serve(handler, [listener], limits=Limits(grace_seconds=30), task_status=task_status)

        await nursery.start(run)
        slow, watcher, idle = [await connect(listener) for _ in range(3)]
        await slow.send_all(GET)
        await watcher.send_all(b"GET /watch HTTP/1.1\r\nHost: a\r\n\r\n")
        await watcher.receive_some()
        await begun.wait()
        server.cancel()
        assert await watcher.receive_some() == b"0\r\n\r\n"
        assert await watcher.receive_some() == b""
        assert await idle.receive_some() == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", port)
        go_on.set()
        answer = await slow.receive_some()
        assert b"Connection: close" in answer
        assert answer.endswith(b"done")
        for stream in (slow, watcher, idle):
            await stream.aclose()


async def test_beyond_the_limit_of_connections_the_longest_idle_one_gives_way() -> None:
    async with trio.open_nursery() as nursery:
        listener = await listen(0)
        await nursery.start(lambda task_status: serve(echo, [listener], limits=Limits(connections=2),
                                                      task_status=task_status))  # fmt: skip
        first, second = await connect(listener), await connect(listener)
        for stream in (first, second):
            await stream.send_all(GET)
            assert status(await stream.receive_some()) == 200
        third = await connect(listener)
        assert await first.receive_some() == b""
        await third.send_all(GET)
        assert status(await third.receive_some()) == 200
        for stream in (first, second, third):
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_nothing_is_left_of_clients_that_misbehave() -> None:
    watch = Silent()

    async def handler(request: Request) -> AnyResponse:
        return await (watch.handler(request) if request.path == "/watch" else echo(request))

    async with trio.open_nursery() as nursery:
        listener = await listen(0)
        await nursery.start(lambda task_status: serve(handler, [listener], task_status=task_status))
        first = await connect(listener)
        await first.send_all(GET)
        await first.receive_some()
        tasks, files = trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd"))
        for sent in (b"", b"GET / HT", b"nonsense\r\n\r\n", GET, GET.replace(b"/x", b"/watch"), GET * 50):
            for half in (False, True):
                stream = await connect(listener)
                await stream.send_all(sent)
                if half:
                    await stream.send_eof()
                    async for _ in stream:
                        pass
                await stream.aclose()
        await watch.closed.wait()
        await first.send_all(GET)  # the server is well, and has seen all that came before
        assert status(await first.receive_some()) == 200
        while len(os.listdir("/proc/self/fd")) > files or trio.lowlevel.current_statistics().tasks_living > tasks:
            await trio.testing.wait_all_tasks_blocked(0.001)
        await first.aclose()
        nursery.cancel_scope.cancel()


async def test_a_busy_port_is_one_line_that_says_what_to_do() -> None:
    listener = await listen(0)
    port = bound(listener)[1]
    with pytest.raises(errors.UserError, match=f"cannot listen on 127.0.0.1:{port}: the port is in use"):
        await listen(port)
    await listener.aclose()


async def test_a_loopback_only_listener_answers_on_every_address_of_127() -> None:
    listener = await listen(0, "0.0.0.0", loopback_only=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve(local, [listener], task_status=task_status))
        stream = await trio.open_tcp_stream("127.100.3.4", bound(listener)[1])
        await stream.send_all(GET)
        assert b"127.100.3.4:" in await stream.receive_some()
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def local(request: Request) -> AnyResponse:
    return Response(200, request.local.encode())


# --- the client that leaves, and the handler that takes its time ---------------------------------------------------


async def test_a_handler_whose_client_has_gone_is_cancelled() -> None:
    begun, cancelled = trio.Event(), trio.Event()

    async def handler(request: Request) -> AnyResponse:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve(handler, [listener], task_status=task_status))
        client = await connect(listener)
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await begun.wait()
        await client.aclose()
        with trio.fail_after(10):
            await cancelled.wait()
        nursery.cancel_scope.cancel()


async def test_a_client_that_closes_only_its_own_side_still_gets_a_quick_answer() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def handler(request: Request) -> AnyResponse:
        await trio.sleep(0.05)
        return await echo(request)

    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve(handler, [listener], task_status=task_status))
        client = await connect(listener)
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.send_eof()
        with trio.fail_after(10):
            answer = b"".join([piece async for piece in client])
        assert status(answer) == 200
        await client.aclose()
        nursery.cancel_scope.cancel()


async def test_a_request_that_takes_too_long_is_answered_with_504(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> AnyResponse:
        seen.append(request)
        if request.path == "/long":
            request.long = True
            await trio.sleep(200)
            return Response()
        await trio.sleep_forever()
        raise AssertionError

    limits = Limits(request_seconds=60)
    answer = await exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", handler, limits, eof=False)
    assert status(answer) == 504
    assert body(answer)["reason"] == "Timeout"
    assert body(answer)["message"] == "Timeout: request did not complete within the allotted timeout"
    assert seen[0].late
    answer = await exchange(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n", handler, limits, eof=False)
    assert status(answer) == 200


async def test_at_the_limit_an_address_with_its_share_makes_room_among_its_own() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]

    async def connect_from(host: str) -> trio.SocketStream:
        sock = trio.socket.socket()
        await sock.bind((host, 0))
        await sock.connect(("127.0.0.1", port))
        return trio.SocketStream(sock)

    async def works(stream: trio.SocketStream) -> bool:
        try:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return bool(await stream.receive_some())
        except trio.BrokenResourceError:
            return False

    async with trio.open_nursery() as nursery:
        limits = Limits(connections=4)
        await nursery.start(lambda task_status: serve(echo, [listener], limits=limits, task_status=task_status))
        quiet = await connect_from("127.0.0.3")
        assert await works(quiet)
        crowd = []
        for _ in range(8):
            crowd.append(await connect_from("127.0.0.2"))
            assert await works(crowd[-1])
        assert await works(quiet)  # the crowd has crowded out itself
        for stream in (quiet, *crowd):
            await stream.aclose()
        nursery.cancel_scope.cancel()
