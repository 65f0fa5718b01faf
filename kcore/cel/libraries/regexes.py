"""``find`` and ``findAll``."""

from __future__ import annotations

from typing import Any

from kcore.cel import regex
from kcore.cel.functions import Library


def find(text: str, pattern: str) -> str:
    match = regex.checked(pattern).search(text)
    return match.group(0) if match else ""


def find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    """All matches from the left, at most ``limit`` if it is not negative; an empty one does not follow on another."""
    found: list[str] = []
    end = -1
    for match in regex.checked(pattern).finditer(text):
        if len(found) == limit:
            break
        if match.start() == match.end() == end:
            continue
        end = match.end()
        found.append(match.group(0))
    return found


def _cost(*arguments: Any) -> int:
    return regex.cost(arguments[0], arguments[1], None)


def library() -> Library:
    made = Library("regex")
    made.add("find", "string_find_string", "string.(string) -> string", find, cost=_cost)
    made.add("findAll", "string_find_all_string", "string.(string) -> list(string)", find_all, cost=_cost)
    made.add("findAll", "string_find_all_string_int", "string.(string, int) -> list(string)", find_all, cost=_cost)
    return made
