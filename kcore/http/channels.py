"""Kubernetes' remote-command protocol over WebSocket: exec and attach (``v5.channel.k8s.io`` and its predecessors).

Every message begins with the number of a channel: 0 standard input, 1 output, 2 error output, 3 the outcome, 4 the
terminal's size; in v5 also 255, by which a client closes one of the others. The ``base64`` protocols say the same as
text. (Kubernetes, "remotecommand"; KEP-4006.)

    return accept(request, session, stdin=True, stdout=True)

    async def session(io: Channels) -> None:
        await io.stdout(b"hello ")
        await io.stdout(await io.read_stdin())
        await io.finish(exit_status(0))
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import msgspec
import trio

from kcore.http import websocket
from kcore.http.messages import Request, UpgradeResponse
from kcore.http.websocket import WebSocket

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
_PIECE = 32 * 1024  # of output in one message
_AHEAD = 16  # messages of input that are taken in before the process has read them


@attrs.frozen
class Size:
    """Of a terminal, in characters."""

    width: int
    height: int


def exit_status(code: int) -> dict[str, Any]:
    """The Status that tells a client how the process ended."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure(message: str) -> dict[str, Any]:
    """The Status of a command that could not be run."""
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}


class Channels:
    """The client's end of a process. One task reads; any may write; writing waits for the client to make room."""

    def __init__(self, ws: WebSocket, *, stdin: bool):
        self._ws = ws
        self.protocol = ws.subprotocol
        self._base64 = "base64" in ws.subprotocol
        self._input, self._stdin = trio.open_memory_channel[bytes](_AHEAD)
        self._sizes, self.resizes = trio.open_memory_channel[Size](_AHEAD)
        """`resizes`: the terminal's sizes as they change (a channel to iterate; ends with the session)."""
        self._finished = False
        if not stdin:
            self._input.close()

    async def read_stdin(self) -> bytes:
        """Some input; b"" at its end."""
        try:
            return await self._stdin.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return b""

    async def stdout(self, data: bytes) -> None:
        await self._write(STDOUT, data)

    async def stderr(self, data: bytes) -> None:
        await self._write(STDERR, data)

    async def finish(self, status: dict[str, Any]) -> None:
        """Report the outcome (see `exit_status`); nothing is sent after it."""
        if self._finished:
            return
        self._finished = True
        if self.protocol.startswith(("v4.", "v5.")):
            await self._send(ERROR, msgspec.json.encode(status))
        elif status.get("status") != "Success":  # the first version knew only a text for a failure
            await self._send(ERROR, str(status.get("message", "")).encode())

    async def _write(self, channel: int, data: bytes) -> None:
        if self._finished:
            return
        for at in range(0, len(data), _PIECE):
            await self._send(channel, data[at : at + _PIECE])

    async def _send(self, channel: int, data: bytes) -> None:
        if self._base64:
            await self._ws.send(str(channel) + base64.b64encode(data).decode("ascii"))
        else:
            await self._ws.send(bytes((channel,)) + data)

    # --- the session's own side ---

    async def _announce(self, *, stdout: bool, stderr: bool) -> None:
        """An empty message on the first channel that goes out tells the client that it is connected."""
        await self._send(STDOUT if stdout else STDERR if stderr else ERROR, b"")

    async def _read(self, gone: Callable[[], None]) -> None:
        """Sort what comes in until the client leaves, which ends the session."""
        try:
            while (message := await self._ws.receive()) is not None:
                channel, data = self._split(message)
                if channel == STDIN and data:
                    try:
                        await self._input.send(data)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        pass  # there is nobody who reads, or no standard input
                elif channel == RESIZE:
                    self._resize(data)
                elif channel == CLOSE and data[:1] == b"\0":
                    self._input.close()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._input.close()
            self._sizes.close()
        gone()

    def _split(self, message: bytes | str) -> tuple[int, bytes]:
        if isinstance(message, str) and not self._base64:
            message = message.encode()  # the Python client sends text as text; the channel is a number all the same
        if isinstance(message, str):
            if not message:
                return -1, b""
            try:
                return _digit(message[0]), base64.b64decode(message[1:], validate=True)
            except (binascii.Error, ValueError):
                return -1, b""
        return (message[0], message[1:]) if message else (-1, b"")

    def _resize(self, data: bytes) -> None:
        try:
            told = msgspec.json.decode(data, type=dict[str, int])
            self._sizes.send_nowait(Size(told["Width"], told["Height"]))
        except (msgspec.MsgspecError, KeyError, trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # a size that makes no sense, or that nobody wants to know


def _digit(text: str) -> int:
    return ord(text) - ord("0") if text in "01234" else -1


def accept(
    request: Request,
    session: Callable[[Channels], Awaitable[None]],
    *,
    stdin: bool = False,
    stdout: bool = True,
    stderr: bool = False,
) -> UpgradeResponse:
    """The answer to an exec or attach request: `session` runs with its channels, and is cancelled when the client
    goes.

    Raises BadRequest or Forbidden when the client asks for something else than a WebSocket with these channels.
    """

    async def run(ws: WebSocket) -> None:
        channels = Channels(ws, stdin=stdin)
        await channels._announce(stdout=stdout, stderr=stderr)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channels._read, nursery.cancel_scope.cancel)
                try:
                    await session(channels)
                except Exception:
                    await channels.finish(failure("the session failed"))
                    raise
                nursery.cancel_scope.cancel()
        finally:
            channels._stdin.close()
            channels.resizes.close()

    return websocket.accept(request, PROTOCOLS, run)
