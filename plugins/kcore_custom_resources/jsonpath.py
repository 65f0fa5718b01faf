"""JSONPath as printer columns and selectable fields use it: ``.spec.a``, ``.items[0].b``,
``.status.conditions[?(@.type=="Ready")].status``.

A path is compiled to steps; each step takes the values found so far to those one level further in.
https://kubernetes.io/docs/reference/kubectl/jsonpath/
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]
Path = Callable[[Any], list[Any]]
_TOKEN = re.compile(
    r"""
      \.\.                                          # everything below
    | \.? \[ \s* \?\( (?P<filter> (?:[^"'()]|"[^"]*"|'[^']*')* ) \) \s* \]
    | \.? \[ \s* (?P<index> [^\]"']* ) \s* \]
    | \.? \[ \s* (?P<quoted> (?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
                 (?: \s*,\s* (?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") )* ) \s* \]
    | \.? (?P<name> (?:[^.\[\]\\\s]|\\.)+ )
    | (?P<dot> \. )
    """,
    re.VERBOSE,
)
_FILTER = re.compile(r"\s*@(?P<left>[^=<>!\s]*)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<right>.+?))?\s*")
_STRINGS = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def compile(text: str) -> Path:
    """Raises ValueError for what is no path."""
    steps = _steps(text)

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [inner for outer in found for inner in step(outer)]
        return found

    return find


@lru_cache(maxsize=512)
def _steps(text: str) -> tuple[Step, ...]:
    return tuple([_step(match) for match in _tokens(text)])


def _tokens(text: str) -> list[re.Match[str]]:
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    at, out = 0, []
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"unrecognized character in action: {text[at]!r}")
        out.append(match)
        at = match.end()
    return out


def _step(match: re.Match[str]) -> Step:
    if match["filter"] is not None:
        return _filtered(match["filter"])
    if match["index"] is not None:
        return _indexed(match["index"].strip())
    if match["quoted"] is not None:
        return _named([_unescape(a or b) for a, b in _STRINGS.findall(match["quoted"])])
    if match["name"] is not None:
        return _every if match["name"] == "*" else _named([_unescape(match["name"])])
    return _below if match[0] == ".." else _same


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _same(value: Any) -> Iterator[Any]:
    yield value


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _below(value: Any) -> Iterator[Any]:
    yield value
    for inner in _every(value):
        yield from _below(inner)


def _named(names: list[str]) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            for name in names:
                if name in value:
                    yield value[name]

    return step


def _indexed(text: str) -> Step:
    if text in ("*", ""):
        return _every
    ranges = [[_number(part) for part in piece.split(":")] for piece in text.split(",")]
    if any(len(given) > 3 or (len(given) == 1 and given[0] is None) for given in ranges):
        raise ValueError(f"invalid array index {text}")

    def step(value: Any) -> Iterator[Any]:
        if not isinstance(value, list):
            return
        for given in ranges:
            if len(given) > 1:
                yield from value[slice(*given)]
            elif given[0] is not None and -len(value) <= given[0] < len(value):
                yield value[given[0]]

    return step


def _number(text: str) -> int | None:
    text = text.strip()
    if text and not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ValueError(f"invalid array index {text}")
    return int(text) if text else None


def _filtered(text: str) -> Step:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid filter: {text}")
    left = compile(match["left"])
    right = _literal(match["right"]) if match["op"] else None
    compare = _OPERATORS.get(match["op"] or "")

    def passes(item: Any) -> bool:
        found = left(item)
        if compare is None:
            return bool(found)
        wanted = right(item) if callable(right) else [right]
        if not found or not wanted or type(found[0]) is not type(wanted[0]):
            return False
        return compare(found[0], wanted[0])

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, (list, dict)):
            yield from (item for item in _every(value) if passes(item))

    return step


def _literal(text: str) -> Any:
    string = _STRINGS.fullmatch(text)
    if string:
        return _unescape(string[1] if string[1] is not None else string[2])
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("@"):
        return compile(text[1:])
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ValueError(f"invalid operand: {text}") from None
