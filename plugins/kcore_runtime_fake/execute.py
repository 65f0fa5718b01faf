"""Commands in a running container: for probes and hooks (sync), and joined to streams (kubectl exec)."""

from __future__ import annotations

import posixpath

import trio

from kcore.runtime import ExecResult, RuntimeFailure, Streams
from kcore_runtime_fake import shell
from kcore_runtime_fake.container import FakeContainer
from kcore_runtime_fake.syntax import Command
from kcore_runtime_fake.terminal import interactive

OUTPUT_MOST = 16 * 1024  # bytes of each output that `sync` keeps


async def sync(container: FakeContainer, command: tuple[str, ...]) -> ExecResult:
    """Run a probe's or hook's command. One that is not understood succeeds if the container is ready to.

    The scripts that images bring along (/ready-probe.sh, pg_isready) do not exist here; what they would say is what
    the container's behaviour says.
    """
    program = shell.program(command)
    if program is None or not container.ready:
        await trio.lowlevel.checkpoint()
        return ExecResult(0 if container.ready else 1, b"", b"")
    out, err = bytearray(), bytearray()
    io = shell.Io(shell.nothing, _collect(out), _collect(err))
    code = await shell.run_program(container.session(), program, io)
    return ExecResult(code, bytes(out), bytes(err))


def _collect(buffer: bytearray) -> shell.Write:
    async def write(data: bytes) -> None:
        buffer.extend(data[: OUTPUT_MOST - len(buffer)])

    return write


async def joined(container: FakeContainer, command: tuple[str, ...], streams: Streams, *, tty: bool) -> int:
    """Run a command joined to streams; it ends when the container does. Raises RuntimeFailure for one that is not
    there."""
    session = container.session()
    name = shell.builtin(command[0]) if command else None
    if name is None and not (command and "/" in command[0] and session.files.exists(session.path(command[0]))):
        what = command[0] if command else ""
        why = "no such file or directory" if "/" in what else "executable file not found in $PATH"
        where = "stat " + what if "/" in what else f'exec: "{what}"'
        raise RuntimeFailure(
            "OCI runtime exec failed: exec failed: unable to start container process: "
            + (f'exec: "{what}": {where}: {why}' if "/" in what else f"{where}: {why}")
            + ": unknown"
        )
    out = _send(streams.stdout)
    err = out if tty or streams.stderr is None else _send(streams.stderr)
    if tty:
        out, err = _terminal(out), _terminal(err)
    io = shell.Io(_receive(streams.stdin), out, err)
    code = 137
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await container.ended.wait()
            nursery.cancel_scope.cancel()

        async def resize() -> None:
            assert streams.resize is not None
            async for size in streams.resize:
                session.resize(size.width, size.height)

        nursery.start_soon(watch)
        if streams.resize is not None:
            nursery.start_soon(resize)
        if name in shell.SHELLS and shell.shell_arguments(list(command))[0] is None and _bare(command):
            raw = shell.Io(io.read, _send(streams.stdout), _send(streams.stderr or streams.stdout))
            code = await interactive(session, raw, tty=tty)
        else:
            code = await shell.run_program(session, Command(tuple(map(shell.literal, command))), io)
        nursery.cancel_scope.cancel()
    return code


def _bare(command: tuple[str, ...]) -> bool:
    return all(a.startswith("-") for a in command[1:]) and posixpath.basename(command[0]) in shell.SHELLS


def _send(write: shell.Write | None) -> shell.Write:
    if write is None:
        return shell.drop

    async def send(data: bytes) -> None:
        try:
            await write(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise shell.BrokenPipe from None

    return send


def _terminal(write: shell.Write) -> shell.Write:
    async def out(data: bytes) -> None:
        await write(data.replace(b"\n", b"\r\n"))

    return out


def _receive(read: shell.Read | None) -> shell.Read:
    if read is None:
        return shell.nothing

    async def receive() -> bytes:
        try:
            return await read()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    return receive
