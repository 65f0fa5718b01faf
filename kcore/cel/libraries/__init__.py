"""The libraries that Kubernetes enables, one module each."""

from __future__ import annotations

from kcore.cel.functions import Library
from kcore.cel.nodes import Call, Literal, Node, children


def load() -> list[Library]:
    """All of them; made once, when the first environment is."""
    from kcore.cel import standard
    from kcore.cel.libraries import (
        authorization,
        formats,
        lists,
        mutation,
        networks,
        optionals,
        quantities,
        regexes,
        semvers,
        strings,
        urls,
    )

    modules = (
        standard,
        urls,
        regexes,
        lists,
        strings,
        optionals,
        quantities,
        networks,
        formats,
        semvers,
        authorization,
        mutation,
    )
    return [module.library() for module in modules]


def validate(root: Node) -> list[tuple[int, str]]:
    """What Kubernetes checks of literals: patterns, durations and timestamps must be well formed."""
    issues: list[tuple[int, str]] = []
    stack = [root]
    while stack:
        node = stack.pop()
        stack.extend(children(node))
        if isinstance(node, Call) and node.function in ("matches", "duration", "timestamp"):
            argument = node.args[-1] if node.args else None
            if isinstance(argument, Literal) and isinstance(argument.value, str):
                problem = _problem(node.function, argument.value)
                if problem:
                    issues.append((argument.pos, f"invalid {node.function} argument"))
    return issues


def _problem(function: str, text: str) -> str:
    from kcore.cel import regex, values

    try:
        if function == "matches":
            regex.compiled(text)
        elif function == "duration":
            values.parse_duration(text)
        else:
            values.parse_timestamp(text)
    except ValueError as error:
        return str(error) or "invalid"
    return ""
