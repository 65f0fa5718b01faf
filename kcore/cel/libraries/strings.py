"""The extended strings library, in the version that Kubernetes enables (2). Positions count code points."""

from __future__ import annotations

from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.libraries.formatting import formatted
from kcore.cel.standard import half_open, text_cost
from kcore.cel.values import within

SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)


def _in_range(text: str, index: int) -> int:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return index


def char_at(text: str, index: int) -> str:
    return text[_in_range(text, index) :][:1]


def index_of(text: str, part: str, start: int = 0) -> int:
    if not part:
        return start
    return text.find(part, _in_range(text, start))


def last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not part:
        return start
    return text.rfind(part, 0, _in_range(text, start) + len(part))


def substring(text: str, start: int, end: int | None = None) -> str:
    _in_range(text, start)
    if end is None:
        return text[start:]
    _in_range(text, end)
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    if len(new) > len(old):
        times = text.count(old)
        within(len(text) + (times if count < 0 else min(times, count)) * (len(new) - len(old)))
    return text.replace(old, new, count) if count >= 0 else text.replace(old, new)


def split(text: str, separator: str, count: int = -1) -> list[str]:
    """At most ``count`` parts, all if it is negative; an empty separator splits into characters."""
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    if count < 0 or count >= len(text):
        return list(text)
    return [*text[: count - 1], text[count - 1 :]]


def join(items: list[Any], separator: str = "") -> str:
    within(sum(map(len, items)) + len(separator) * len(items))
    return separator.join(items)


def _ascii(change: str) -> Any:
    letters = "abcdefghijklmnopqrstuvwxyz"
    table = str.maketrans(letters.upper(), letters) if change == "lower" else str.maketrans(letters, letters.upper())
    return lambda text: text.translate(table)


_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for char, code in _QUOTED.items():
        escaped = escaped.replace(char, code)
    return f'"{escaped}"'


def result_cost(*arguments: Any) -> int:
    """The traversal and the construction; upstream does not count what replacing makes longer, but it must be paid."""
    text, result = arguments[0], arguments[-1]
    return half_open(2 * len(text)) + half_open(max(len(result) - len(text), 0))


def join_cost(*arguments: Any) -> int:
    return half_open(2 * len(arguments[-1]))


def _format_cost(text: str, _: Any, result: str) -> int:
    return half_open(max(len(text), len(result)))


def library() -> Library:
    made = Library("strings")
    add = made.add
    add("charAt", "string_char_at_int", "string.(int) -> string", char_at)
    add("indexOf", "string_index_of_string", "string.(string) -> int", index_of, cost=text_cost)
    add("indexOf", "string_index_of_string_int", "string.(string, int) -> int", index_of, cost=text_cost)
    add("lastIndexOf", "string_last_index_of_string", "string.(string) -> int", last_index_of, cost=text_cost)
    add("lastIndexOf", "string_last_index_of_string_int", "string.(string, int) -> int", last_index_of, cost=text_cost)
    add("lowerAscii", "string_lower_ascii", "string.() -> string", _ascii("lower"), cost=text_cost)
    add("upperAscii", "string_upper_ascii", "string.() -> string", _ascii("upper"), cost=text_cost)
    add("replace", "string_replace_string_string", "string.(string, string) -> string", replace, cost=result_cost)
    add(
        "replace",
        "string_replace_string_string_int",
        "string.(string, string, int) -> string",
        replace,
        cost=result_cost,
    )
    add("split", "string_split_string", "string.(string) -> list(string)", split, cost=result_cost)
    add("split", "string_split_string_int", "string.(string, int) -> list(string)", split, cost=result_cost)
    add("substring", "string_substring_int", "string.(int) -> string", substring, cost=text_cost)
    add("substring", "string_substring_int_int", "string.(int, int) -> string", substring, cost=text_cost)
    add("trim", "string_trim", "string.() -> string", lambda text: text.strip(SPACE), cost=text_cost)
    add("join", "list_join", "list(string).() -> string", join, cost=join_cost)
    add("join", "list_join_string", "list(string).(string) -> string", join, cost=join_cost)
    add("format", "string_format", "string.(list(dyn)) -> string", formatted, cost=_format_cost)
    add("strings.quote", "strings_quote", "string -> string", quote, cost=text_cost)
    return made
