"""Where a rule or a selectable field points to: ``.spec.a['b.c']``, checked against the schema it walks."""

from __future__ import annotations

import re

from kcore.api.schema import Schema

_TOKEN = re.compile(r"[.\[\]]|'(?:[^'\\]|\\.)*'|[^.\[\]]+")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


def resolve(path: str, schema: Schema, *, arrays: bool = True) -> tuple[str, Schema]:
    """The field as errors name it, without a dot before it, and its schema. Raises ValueError in upstream's words."""
    tokens = _TOKEN.findall(path)
    at, named = 0, ""

    def take() -> str:
        nonlocal at
        if at >= len(tokens):
            raise ValueError("unexpected end of JSON path")
        at += 1
        return str(tokens[at - 1])

    while at < len(tokens):
        token = take()
        if token == "[":
            if not arrays:
                raise ValueError("array notation is not allowed")
            name = _quoted(take())
            schema, named = _into(schema, name, named)
            closing = take()
            if closing != "]":
                raise ValueError(f"expected ] but got {closing}")
        elif token == ".":
            schema, named = _into(schema, take(), named)
        else:
            raise ValueError(f"expected [ or . but got: {token}")
    return named, schema


def _quoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise ValueError(f"expected single quoted string but got {token}")

    def unescape(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise ValueError(f"invalid string literal: invalid escape char {match[0]}")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", unescape, token[1:-1])


def _into(schema: Schema, name: str, named: str) -> tuple[Schema, str]:
    if schema.properties:
        if name not in schema.properties:
            raise ValueError("does not refer to a valid field")
        return schema.properties[name], f"{named}.{name}" if named else name
    if schema.values is None:
        raise ValueError("does not refer to a valid field")
    return schema.values, f"{named}[{name}]"
