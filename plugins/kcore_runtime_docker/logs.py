"""What containers print, as the engine kept it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from kcore.runtime import LogLine
from kcore_runtime_docker.api import DockerApi, path
from kcore_runtime_docker.streams import frames

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
        if tty:
            rest = b""
            async for piece in pieces:
                *whole, rest = (rest + piece).split(b"\n")
                for text in whole:
                    if (line := _line(1, text + b"\n")).time >= since:
                        yield line
            if rest:
                yield _line(1, rest)
        else:
            async for number, data in frames(pieces):
                if (line := _line(number, data)).time >= since:
                    yield line


def _line(number: int, data: bytes) -> LogLine:
    time, _, text = data.partition(b" ")
    return LogLine(epoch(time.decode()), _STREAMS.get(number, "stdout"), text)
