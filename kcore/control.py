"""The control socket: how ``kcore status``, ``down``, ``swap`` and ``node`` reach a running process.

A Unix socket at ``DATA_DIR/control.sock``, usable by the owner of the directory only (it is 0700). One JSON request a
connection, one JSON answer: ``{"command": "swap", ...}`` -> ``{"ok": ...}`` or ``{"error": "one line"}``.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import trio

from kcore.errors import KcoreError, UserError

log = logging.getLogger("kcore.control")

NAME = "control.sock"
LIMIT = 1 << 20
Command = Callable[[dict[str, Any]], Awaitable[Any]]


async def serve(
    data_dir: Path,
    commands: Mapping[str, Command],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests until cancelled; removes the socket file at the end."""
    directory = os.open(data_dir, os.O_PATH)
    path = f"/proc/self/fd/{directory}/{NAME}"  # socket paths are short (108 bytes), data directories may be long
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            os.unlink(NAME, dir_fd=directory)  # left by a process that was killed: the lock file says we are alone
        except FileNotFoundError:
            pass
        await sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(16)
        listener = trio.SocketListener(sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, lambda stream: _answer(stream, commands), [listener])
            task_status.started()
    finally:
        sock.close()
        try:
            os.unlink(NAME, dir_fd=directory)
        except FileNotFoundError:
            pass
        os.close(directory)


async def _answer(stream: trio.SocketStream, commands: Mapping[str, Command]) -> None:
    try:
        with trio.move_on_after(10) as reading:
            line = b""
            while not line.endswith(b"\n") and len(line) < LIMIT:
                piece = await stream.receive_some(65536)
                if not piece:
                    return
                line += piece
        if reading.cancelled_caught:
            return
        await stream.send_all(msgspec.json.encode(await _run(line, commands)) + b"\n")
    except trio.BrokenResourceError:
        pass  # whoever asked has gone away
    finally:
        await stream.aclose()


async def _run(line: bytes, commands: Mapping[str, Command]) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as e:
        return {"error": f"not a request: {e}"}
    name = request.get("command")
    command = commands.get(name) if isinstance(name, str) else None
    if command is None:
        return {"error": f"no such command: {name}"}
    try:
        return {"ok": await command(request)}
    except (KcoreError, OSError) as e:
        return {"error": str(e)}
    except KeyError as e:
        return {"error": f"{name}: {e} is missing"}
    except (TypeError, ValueError, AttributeError) as e:  # an argument of the wrong type
        return {"error": f"{name}: {e}"}
    except Exception as e:  # a mistake in a command, or in a part that it asks, must not end the cluster
        log.exception("a command failed")
        return {"error": f"{name}: {type(e).__name__}: {e}"}


def ask(data_dir: Path, command: str, *, timeout: float = 30.0, **arguments: Any) -> Any:
    """Ask the process that runs on `data_dir`. Raises UserError if there is none, or with its answer's error."""
    try:
        directory = os.open(data_dir, os.O_PATH)
    except OSError:
        raise UserError(f"no cluster has run in {data_dir}; start one with `kcore up`") from None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(f"/proc/self/fd/{directory}/{NAME}")
            sock.sendall(msgspec.json.encode({"command": command, **arguments}) + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                piece = sock.recv(65536)
                if not piece:
                    break
                answer += piece
    except (FileNotFoundError, ConnectionRefusedError):
        raise UserError(f"no cluster is running in {data_dir}; start one with `kcore up`") from None
    except TimeoutError:
        raise UserError(f"the cluster in {data_dir} has not answered within {timeout:.0f} s") from None
    finally:
        os.close(directory)
    if not answer:
        raise UserError(f"the cluster in {data_dir} closed the connection; it may be shutting down")
    decoded = msgspec.json.decode(answer)
    if "error" in decoded:
        raise UserError(decoded["error"])
    return decoded["ok"]
