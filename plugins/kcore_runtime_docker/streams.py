"""Commands and programs joined to somebody's streams, over connections that the engine has handed over."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import AsyncIterator, Sequence

import trio

from kcore.runtime import CommandTimeout, ExecResult, RuntimeFailure, Streams
from kcore_runtime_docker.api import DockerApi, Refused, path

_KEPT = 16 * 1024  # bytes of each output of `exec_sync`
_FAILED = b"OCI runtime exec failed"


async def frames(
    stream: trio.abc.ReceiveStream | AsyncIterator[bytes], early: bytes = b""
) -> AsyncIterator[tuple[int, bytes]]:
    """(1 for stdout or 2 for stderr, data): how the engine sends two streams as one. Close the iterator."""
    buffer = bytearray(early)
    pieces = aiter(stream)
    while True:
        while len(buffer) >= 8:
            kind, size = struct.unpack_from(">BxxxI", buffer)
            if len(buffer) < 8 + size:
                break
            yield kind, bytes(buffer[8 : 8 + size])
            del buffer[: 8 + size]
        piece = await anext(pieces, b"")
        if not piece:
            return
        buffer += piece


async def exec_sync(api: DockerApi, id: str, command: Sequence[str], timeout: float) -> ExecResult:
    """See `NodeRuntime.exec_sync`."""
    kept = {1: bytearray(), 2: bytearray()}

    def keeper(number: int) -> object:
        async def keep(data: bytes) -> None:
            kept[number] += data[: _KEPT - len(kept[number])]

        return keep

    streams = Streams(stdout=keeper(1), stderr=keeper(2))  # type: ignore[arg-type]  # made just here
    with trio.move_on_after(timeout if timeout > 0 else float("inf")):
        code = await run(api, id, command, streams, tty=False)
        return ExecResult(code, bytes(kept[1]), bytes(kept[2]))
    raise CommandTimeout(f"command {' '.join(command)!r} timed out")


async def run(api: DockerApi, id: str, command: Sequence[str], streams: Streams, *, tty: bool) -> int:
    """See `NodeRuntime.exec`."""
    wanted = {
        "Cmd": list(command),
        "Tty": tty,
        "AttachStdin": streams.stdin is not None,
        "AttachStdout": True,
        "AttachStderr": True,
    }
    try:
        made = await api.call("POST", path("containers", id, "exec"), wanted)
    except Refused as error:
        raise RuntimeFailure(str(error)) from error
    exec_id: str = made["Id"]
    where = path("exec", exec_id)
    said = bytearray()
    ended = False
    try:
        stream, early = await api.hijack(f"{where}/start", {"Detach": False, "Tty": tty})
        await _join(api, where, stream, early, streams, tty=tty, said=said)
        ended = True
    finally:
        if not ended:
            with trio.CancelScope(shield=True):
                await _kill(api, where)
    found = await api.call("GET", f"{where}/json")
    code = int(found["ExitCode"] or 0)
    if code in (126, 127) and said.startswith(_FAILED):
        raise RuntimeFailure(said.decode(errors="replace").strip())
    return code


async def attach(api: DockerApi, id: str, streams: Streams, *, tty: bool) -> None:
    """See `NodeRuntime.attach`."""
    query = {"stream": True, "stdin": streams.stdin is not None, "stdout": True, "stderr": not tty}
    stream, early = await api.hijack(path("containers", id, "attach"), query=query)
    await _join(api, path("containers", id), stream, early, streams, tty=tty, said=bytearray())


async def _join(
    api: DockerApi,
    where: str,
    stream: trio.abc.HalfCloseableStream,
    early: bytes,
    streams: Streams,
    *,
    tty: bool,
    said: bytearray,
) -> None:
    """Carry data both ways until the program's output ends. `said` gets the beginning of it."""
    async with stream, trio.open_nursery() as nursery:
        if streams.stdin is not None:
            nursery.start_soon(_feed, stream, streams)
        if streams.resize is not None:
            nursery.start_soon(_resize, api, where, streams)
        try:
            if tty:
                await _plain(stream, early, streams, said)
            else:
                async for number, data in frames(stream, early):
                    said += data[: 1024 - len(said)]
                    take = streams.stderr if number == 2 else streams.stdout
                    if take is not None:
                        await take(data)
        except trio.BrokenResourceError as error:
            raise RuntimeFailure(f"the stream broke: {error}") from error
        nursery.cancel_scope.cancel()


async def _plain(stream: trio.abc.ReceiveStream, early: bytes, streams: Streams, said: bytearray) -> None:
    data = early or await stream.receive_some(65536)
    while data:
        said += data[: 1024 - len(said)]
        if streams.stdout is not None:
            await streams.stdout(bytes(data))
        data = await stream.receive_some(65536)


async def _feed(stream: trio.abc.HalfCloseableStream, streams: Streams) -> None:
    assert streams.stdin is not None
    try:
        while data := await streams.stdin():
            await stream.send_all(data)
        await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the program reads no more; its output tells the rest


async def _resize(api: DockerApi, where: str, streams: Streams) -> None:
    assert streams.resize is not None
    async for size in streams.resize:
        try:
            await api.call("POST", f"{where}/resize", query={"h": size.height, "w": size.width})
        except RuntimeFailure:
            pass  # not yet there, or gone: the next size counts


async def _kill(api: DockerApi, where: str) -> None:
    """The engine has no way to end a command; the kernel has."""
    try:
        found = await api.call("GET", f"{where}/json")
        if found.get("Running") and found.get("Pid"):
            os.kill(found["Pid"], signal.SIGKILL)
    except (RuntimeFailure, OSError):
        pass
