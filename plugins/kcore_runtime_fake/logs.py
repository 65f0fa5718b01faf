"""Output of a container: the last lines of it, and whoever waits for more."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from itertools import islice

import trio

from kcore import clock
from kcore.runtime import LogLine

LINE_MOST = 16 * 1024  # bytes of a line; a longer one is split, as runtimes do


class Log:
    """Made when a container is created, closed when it ends."""

    def __init__(self, keep: int) -> None:
        self._lines: deque[LogLine] = deque(maxlen=keep)
        self._written = 0  # lines ever
        self._part: dict[str, bytes] = {}
        self._changed: trio.Event | None = None
        self._closed = False

    def write(self, stream: str, data: bytes) -> None:
        """Bytes of output; lines need not be whole."""
        data = self._part.pop(stream, b"") + data
        *lines, rest = data.split(b"\n")
        now = clock.now()
        for line in lines:
            while len(line) > LINE_MOST:
                self._add(LogLine(now, stream, line[:LINE_MOST]))
                line = line[LINE_MOST:]
            self._add(LogLine(now, stream, line + b"\n"))
        if len(rest) > LINE_MOST:
            self._add(LogLine(now, stream, rest))
        elif rest:
            self._part[stream] = rest
        self._notify()

    def close(self) -> None:
        """The container has ended."""
        for stream, rest in self._part.items():
            self._add(LogLine(clock.now(), stream, rest))
        self._part = {}
        self._closed = True
        self._notify()

    def _add(self, line: LogLine) -> None:
        self._lines.append(line)
        self._written += 1

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def last(self, lines: int, most: int) -> bytes:
        """The end of the output: what becomes the termination message on request."""
        found = b"".join(line.data for line in reversed(list(islice(reversed(self._lines), lines))))
        found += b"".join(self._part.values())
        return found[-most:]

    async def read(self, *, follow: bool, since: float, tail: int | None) -> AsyncIterator[LogLine]:
        """See `NodeRuntime.logs`."""
        ready = [line for line in self._lines if line.time >= since] if since else list(self._lines)
        at = self._written
        for line in ready if tail is None else ready[len(ready) - min(tail, len(ready)) :]:
            yield line
        while follow and not (self._closed and at == self._written):
            if at == self._written:
                if self._changed is None:
                    self._changed = trio.Event()
                await self._changed.wait()
                continue
            new = min(self._written - at, len(self._lines))
            at = self._written
            for line in list(islice(self._lines, len(self._lines) - new, None)):
                yield line
