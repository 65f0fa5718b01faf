"""What can go wrong with an expression: it does not compile, it fails on a value, or it costs too much."""

from __future__ import annotations

from collections.abc import Sequence

MAX_REPORTED = 100  # errors of one expression; the rest is cut, as upstream does


class CompileError(Exception):
    """The expression is no valid program. ``str()`` is cel-go's text: all errors in order, each with its place."""

    def __init__(self, source: str, issues: Sequence[tuple[int, str]]) -> None:
        """``issues``: (code-point offset or -1 for no place, message)."""
        self.issues = tuple(sorted(issues, key=lambda issue: issue[0])[:MAX_REPORTED])
        super().__init__("\n".join(render(source, offset, message) for offset, message in self.issues))


class EvaluationError(Exception):
    """Evaluation failed on this value: ``no such key: x``. ``&&`` and ``||`` may absorb it."""


class BudgetExceeded(Exception):
    """The evaluation cost more than it was given. Nothing absorbs it."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


def render(source: str, offset: int, message: str) -> str:
    """One error with the line it stands in and a caret below its column."""
    if offset < 0:
        return f"ERROR: <input>:-1:0: {message}"
    before = source[:offset]
    line = before.count("\n")
    start = before.rfind("\n") + 1
    end = source.find("\n", start)
    text = source[start : len(source) if end < 0 else end].replace("\t", " ")
    column = offset - start
    # a character of several bytes is drawn twice as wide
    dots = "".join("." if char < "\x80" else "．" for char in text[:column])
    caret = "＾" if text[column : column + 1] > "\x7f" else "^"
    return f"ERROR: <input>:{line + 1}:{column + 1}: {message}\n | {text}\n | {dots}{caret}"
