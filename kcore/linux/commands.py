"""Programs of the system, run to their end."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from kcore.errors import KcoreError


class CommandFailed(KcoreError):
    """A program ended with an error; the message is the last line that it said."""


async def run(command: Sequence[str], input: str = "") -> str:
    """What it printed. Raises CommandFailed, also when the program is not there."""
    try:
        with trio.CancelScope(shield=True):  # milliseconds; half-done is worse than late
            done = await trio.run_process(
                command, stdin=input.encode(), capture_stdout=True, capture_stderr=True, check=False
            )
    except FileNotFoundError as error:
        raise CommandFailed(f"{command[0]} is not installed") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise CommandFailed(f"{command[0]}: {said.splitlines()[-1]}")
    return bytes(done.stdout).decode(errors="replace")
