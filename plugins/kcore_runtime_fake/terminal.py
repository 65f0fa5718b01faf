"""Joining streams to a container: attach, and a shell that reads what is typed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from kcore.runtime import Streams
from kcore_runtime_fake.shell import Exit, Io, Read, Session, Write
from kcore_runtime_fake.syntax import NotShell

if TYPE_CHECKING:
    from kcore_runtime_fake.container import FakeContainer

PROMPT = b"/ # "
_AHEAD = 64  # pieces of input that are taken in before the program has read them


class Attachments:
    """Who is attached to a container: they get its output, and what they type is its input."""

    def __init__(self, container: FakeContainer) -> None:
        self._container = container
        self._streams: list[Streams] = []
        self._input: deque[bytes] = deque()
        self._taken = trio.Event()
        self._ended = False
        self._more: trio.Event | None = None

    async def read(self) -> bytes:
        """What somebody typed; b"" at the end of the input."""
        while not self._input:
            if self._ended or not self._container.config.stdin:
                return b""
            self._more = trio.Event()
            await self._more.wait()
        self._taken.set()
        self._taken = trio.Event()
        return self._input.popleft()

    async def send(self, name: str, data: bytes) -> None:
        for streams in tuple(self._streams):
            to = streams.stderr if name == "stderr" and streams.stderr is not None else streams.stdout
            if to is not None:
                try:
                    await to(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    if streams in self._streams:
                        self._streams.remove(streams)

    async def join(self, streams: Streams) -> None:
        """Attach `streams` until the container ends."""
        self._streams.append(streams)
        try:
            async with trio.open_nursery() as nursery:
                if streams.stdin is not None and self._container.config.stdin:
                    nursery.start_soon(self._feed, streams.stdin)
                if streams.resize is not None:
                    nursery.start_soon(self._resize, streams)
                await self._container.ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            if streams in self._streams:
                self._streams.remove(streams)

    async def _feed(self, stdin: Read) -> None:
        try:
            while data := await stdin():
                while len(self._input) >= _AHEAD:  # the program does not read: neither do we
                    await self._taken.wait()
                self._put(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        if self._container.config.stdin_once:
            self._ended = True
            self._put(b"")

    async def _resize(self, streams: Streams) -> None:
        assert streams.resize is not None
        async for size in streams.resize:
            self._container.resize(size.width, size.height)

    def _put(self, data: bytes) -> None:
        if data:
            self._input.append(data)
        if self._more is not None:
            self._more.set()


async def interactive(session: Session, io: Io, *, tty: bool) -> int:
    """A shell that runs line by line what it reads, until ``exit`` or the end of the input."""
    lines = Lines(io.read, io.out if tty else None)
    ends = Io(lines.pass_through, io.out, io.err)
    if tty:
        ends = Io(lines.pass_through, _carriage(io.out), _carriage(io.err))
    while True:
        if tty:
            await io.out(PROMPT)
        line = await lines.next()
        if line is None:
            return session.status
        if not line.strip():
            continue
        try:
            session.status = await run_one(session, line, ends)
        except Exit as exit:
            return exit.code


async def run_one(session: Session, line: str, io: Io) -> int:
    """One line of an interactive shell. Raises Exit."""
    from kcore_runtime_fake.syntax import parse

    try:
        return await session.run(parse(line), io)
    except NotShell as error:
        await io.err(f"sh: not supported by the fake runtime's shell: {error}\n".encode())
        return 2


def _carriage(write: Write) -> Write:
    async def out(data: bytes) -> None:
        await write(data.replace(b"\n", b"\r\n"))

    return out


class Lines:
    """Cuts input into lines; with a terminal it echoes and edits as a terminal does."""

    def __init__(self, read: Read, echo: Write | None) -> None:
        self._read, self._echo = read, echo
        self._buffer = b""
        self._ended = False

    async def pass_through(self) -> bytes:
        """Input for a command: what is left, then what comes."""
        data, self._buffer = self._buffer, b""
        return data or await self._read()

    async def next(self) -> str | None:
        """The next line; None at the end."""
        line = b""
        while True:
            while self._buffer:
                c, self._buffer = self._buffer[:1], self._buffer[1:]
                if c in (b"\r", b"\n"):
                    if self._echo:
                        await self._echo(b"\r\n")
                    return line.decode(errors="replace")
                if c == b"\x04":
                    if not line:
                        return None
                elif c == b"\x03":
                    if self._echo:
                        await self._echo(b"^C\r\n")
                    return ""
                elif c in (b"\x7f", b"\b"):
                    if line and self._echo:
                        await self._echo(b"\b \b")
                    line = line[:-1]
                else:
                    line += c
                    if self._echo:
                        await self._echo(c)
            if self._ended:
                return None
            data = await self._read()
            if not data:
                self._ended = True
                if line:
                    return line.decode(errors="replace")
            self._buffer += data
