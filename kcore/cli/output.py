"""How the program speaks: colour and progress on a terminal, plain lines elsewhere, JSON for scripts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


def colourful() -> bool:
    """A terminal that wants colour (https://no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    return f"\033[{_COLOURS[colour]}m{text}\033[0m" if colourful() else text


def say(text: str = "") -> None:
    print(text, flush=True)


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    """Columns as kubectl prints them: upper-case header, three spaces between."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for row in [[h.upper() for h in header], *rows]:
        say("   ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def json(value: Any) -> None:
    import json as _json

    say(_json.dumps(value, indent=2))
