"""``/exec``, ``/attach``, ``/run`` and ``/portForward``: joining a client to what happens in a pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import trio

from kcore.errors import BadRequest, KcoreError
from kcore.http import channels
from kcore.http.channels import Channels
from kcore.http.messages import AnyResponse, Request, Response
from kcore.runtime import Container, RuntimeFailure, Size, Streams

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

RUN_SECONDS = 600.0  # a command of /run may take so long


def _flag(request: Request, *names: str) -> bool:
    return any(request.param(n) in ("true", "1") for n in names)


def _running(worker: PodWorker, name: str) -> Container:
    run = worker.runs.get(name)
    if run is None or run.current is None or not run.running:
        raise BadRequest(f'container not found ("{name}")')
    return run.current


def _wanted(request: Request) -> tuple[bool, bool, bool, bool]:
    """(stdin, stdout, stderr, tty). With a terminal there is no stderr of its own."""
    tty = _flag(request, "tty")
    stdin, stdout = _flag(request, "input", "stdin"), _flag(request, "output", "stdout")
    stderr = _flag(request, "error", "stderr") and not tty
    if not (stdin or stdout or stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    return stdin, stdout, stderr, tty


def _streams(io: Channels, wanted: tuple[bool, bool, bool, bool]) -> Streams:
    stdin, stdout, stderr, tty = wanted
    return Streams(
        io.read_stdin if stdin else None,
        io.stdout if stdout else None,
        io.stderr if stderr else None,
        _sizes(io) if tty else None,
    )


async def _sizes(io: Channels) -> AsyncIterator[Size]:
    async for size in io.resizes:
        yield Size(size.width, size.height)


def exec(worker: PodWorker, name: str, request: Request) -> AnyResponse:
    """Run a command in the container. Raises BadRequest."""
    container, wanted = _running(worker, name), _wanted(request)
    command = request.params.get("command") or []
    if not command:
        raise BadRequest("you must specify at least one command")

    async def session(io: Channels) -> None:
        try:
            code = await worker.agent.runtime.exec(container.id, command, _streams(io, wanted), tty=wanted[3])
            status = channels.exit_status(code)
        except RuntimeFailure as error:
            status = channels.failure(str(error))
        await io.finish(status)

    return channels.accept(request, session, stdin=wanted[0], stdout=wanted[1], stderr=wanted[2])


def attach(worker: PodWorker, name: str, request: Request) -> AnyResponse:
    """Join the container's own program. Raises BadRequest."""
    container, wanted = _running(worker, name), _wanted(request)

    async def session(io: Channels) -> None:
        status: dict[str, Any] = channels.exit_status(0)
        try:
            await worker.agent.runtime.attach(container.id, _streams(io, wanted))
        except RuntimeFailure as error:
            status = channels.failure(str(error))
        await io.finish(status)

    return channels.accept(request, session, stdin=wanted[0], stdout=wanted[1], stderr=wanted[2])


async def run(worker: PodWorker, name: str, request: Request) -> Response:
    """Run a command and answer with its output. Raises BadRequest, RuntimeFailure."""
    container = _running(worker, name)
    command = request.param("cmd").split()
    result = await worker.agent.runtime.exec_sync(container.id, command, RUN_SECONDS)
    status = 200 if result.exit_code == 0 else 500
    return Response(status, result.stdout + result.stderr, "text/plain; charset=utf-8")


def port_forward(worker: PodWorker, request: Request) -> AnyResponse:
    """Connections to ports of the pod, multiplexed over the upgraded connection. Raises BadRequest."""
    from kcore.http.spdy import serve_portforward

    if worker.sandbox is None or worker.stopped:
        raise BadRequest("pod is not running")
    id = worker.sandbox.id

    async def dial(port: int) -> trio.abc.Stream:
        try:
            return await worker.agent.runtime.dial(id, port)
        except KcoreError as error:
            raise OSError(str(error)) from error

    return serve_portforward(request, dial)
