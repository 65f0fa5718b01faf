"""What containers print, as the engine kept it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from kcore.runtime import LogLine
from kcore_runtime_docker.api import DockerApi, path
from kcore_runtime_docker.streams import frames

_LONGEST = 16 * 1024  # bytes: the engine breaks longer lines
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
_BROKEN = re.compile(rb"\r(?=%b)" % _STAMP.pattern)  # the end of a long line of a terminal
_STREAMS = {1: "stdout", 2: "stderr"}


def epoch(text: str) -> float:
    """Seconds of an RFC 3339 time with up to nine decimals; 0 for the engine's "never"."""
    if not text or text.startswith("0001"):
        return 0.0
    whole, _, rest = text.rstrip("Z").partition(".")
    nanos = float(f"0.{rest}") if rest else 0.0
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + nanos


async def lines(
    api: DockerApi, id: str, *, tty: bool, follow: bool, since: float, tail: int | None
) -> AsyncIterator[LogLine]:
    """See `NodeRuntime.logs`."""
    query: dict[str, object] = {"stdout": True, "stderr": True, "timestamps": True, "follow": follow}
    query["tail"] = "all" if tail is None else tail
    if since:
        query["since"] = f"{since - 1e-6:.9f}"  # a float may be a little more than the time that it came from
    async with api.stream(path("containers", id, "logs"), query=query) as pieces:
        found = _of_terminal(pieces) if tty else frames(pieces)
        async for number, data in found:
            if (line := _line(number, data)).time >= since:
                yield line


async def _of_terminal(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """The same as `frames`, of a stream that has none: a stamp begins each line, and each part of a long one."""
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            for part in _parts(line + b"\n"):
                yield 1, part
    for part in _parts(rest):
        yield 1, part


def _parts(line: bytes) -> Iterator[bytes]:
    while line:
        end = line.find(b" ") + 1 + _LONGEST
        if not _STAMP.match(line, end):
            found = _BROKEN.search(line)
            end = found.end() if found else len(line)
        yield line[:end]
        line = line[end:]


def _line(number: int, data: bytes) -> LogLine:
    time, _, text = data.partition(b" ")
    if len(text) < _LONGEST and not text.endswith(b"\n"):
        text += b"\n"  # the end of a long line, of which some drivers forget that it is one
    return LogLine(epoch(time.decode()), _STREAMS.get(number, "stdout"), text)
