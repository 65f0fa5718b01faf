"""``/containerLogs``: a container's output, as ``kubectl logs`` shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from kcore import clock
from kcore.errors import BadRequest
from kcore.http.messages import AnyResponse, Request, StreamResponse
from kcore.runtime import EXITED, Container, LogLine

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker


async def respond(worker: PodWorker, name: str, request: Request) -> AnyResponse:
    """Raises BadRequest, with upstream's texts."""
    container = _choose(worker, name, previous=request.param("previous") in ("true", "1"))
    since = _since(request)
    tail = _number(request, "tailLines")
    limit = _number(request, "limitBytes")
    follow = request.param("follow") in ("true", "1") and container.state != EXITED
    lines = worker.agent.runtime.logs(container.id, follow=follow, since=since, tail=tail)
    stamps = request.param("timestamps") in ("true", "1")
    wanted = {"Stdout": "stdout", "Stderr": "stderr"}.get(request.param("stream"), "")
    return StreamResponse(_format(lines, wanted, stamps, limit), content_type="text/plain")


def _choose(worker: PodWorker, name: str, *, previous: bool) -> Container:
    pod = worker.pod["metadata"]["name"]
    run = worker.runs.get(name)
    if run is None:
        raise BadRequest(f'container "{name}" in pod "{pod}" is not available')
    if previous:
        found = run.current if run.exited and run.waiting is not None else run.last
        if found is None or not found.sandbox_id:
            raise BadRequest(f'previous terminated container "{name}" in pod "{pod}" not found')
        return found
    if run.current is None or not run.current.sandbox_id:
        if run.waiting is not None and run.waiting[0] in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"):
            why = (
                "trying and failing to pull image"
                if run.waiting[0] != "ErrImageNeverPull"
                else "image can't be pulled"
            )
            raise BadRequest(f'container "{name}" in pod "{pod}" is waiting to start: {why}')
        has_init = any(r.kind in ("init", "sidecar") for r in worker.runs.values())
        reason = "PodInitializing" if has_init and not worker.initialized else "ContainerCreating"
        reason = run.waiting[0] if run.waiting is not None else reason
        raise BadRequest(f'container "{name}" in pod "{pod}" is waiting to start: {reason}')
    return run.current


def _since(request: Request) -> float:
    seconds = _number(request, "sinceSeconds")
    if seconds is not None:
        return clock.now() - seconds
    text = request.param("sinceTime")
    try:
        return clock.parse(text) if text else 0.0
    except ValueError:
        raise BadRequest(f"invalid sinceTime: {text}") from None


def _number(request: Request, name: str) -> int | None:
    text = request.param(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:  # an int64
        raise BadRequest(f'invalid value for {name}: "{text}"')
    return int(text)


async def _format(lines: AsyncIterator[LogLine], wanted: str, stamps: bool, limit: int | None) -> AsyncIterator[bytes]:
    left, broken = limit, ""
    try:
        async for line in lines:
            if wanted and line.stream != wanted:
                continue
            data = line.data
            if stamps and line.stream != broken:
                data = _stamp(line.time) + b" " + data
            broken = "" if data.endswith(b"\n") else line.stream  # of which the rest of a long line is to come
            if left is not None:
                data = data[:left]
                left -= len(data)
            yield data
            if left == 0:
                return
    finally:
        await lines.aclose()  # type: ignore[attr-defined]  # an async generator, seen as an iterator


def _stamp(at: float) -> bytes:
    """RFC 3339 with nine fraction digits."""
    text = clock.micro_timestamp(at)
    return f"{text[:-1]}000Z".encode()
