"""Characters to tokens, by the grammar of the CEL specification."""

from __future__ import annotations

import re
from typing import NamedTuple

INT = "NUM_INT"
UINT = "NUM_UINT"
FLOAT = "NUM_FLOAT"
STRING = "STRING"
BYTES = "BYTES"
IDENT = "IDENTIFIER"
QUOTED = "ESC_IDENTIFIER"
END = "<EOF>"
KEYWORDS = frozenset(["in", "true", "false", "null"])

_ESCAPE = r"\\(?:[abfnrtv\"'\\?`]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2})"
_TOKEN = re.compile(
    rf"""
      (?P<space>[\t\ \r\n\f]+|//[^\n]*)
    | (?P<NUM_FLOAT>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    | (?P<NUM_UINT>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])
    | (?P<NUM_INT>0x[0-9a-fA-F]+|[0-9]+)
    | (?P<string>[bB]?(?:
          [rR](?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"[^"\n\r]*"|'[^'\n\r]*')
        | \"\"\"(?:{_ESCAPE}|[^\\])*?\"\"\" | '''(?:{_ESCAPE}|[^\\])*?'''
        | "(?:{_ESCAPE}|[^\\"\n\r])*" | '(?:{_ESCAPE}|[^\\'\n\r])*'
      ))
    | (?P<IDENTIFIER>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<ESC_IDENTIFIER>`[A-Za-z0-9_./ -]+`)
    | (?P<op>==|!=|<=|>=|&&|\|\||[<>\[\]{{}}().,\-!?:+*/%])
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    kind: str  # the operator or keyword itself, or one of the names above
    text: str
    pos: int


def tokens(source: str) -> tuple[list[Token], list[tuple[int, str]]]:
    """All tokens, the last of kind `END`, and what could not be read as one (offset, message)."""
    found: list[Token] = []
    problems: list[tuple[int, str]] = []
    pos = 0
    match = _TOKEN.match
    while pos < len(source):
        hit = match(source, pos)
        if hit is None:
            pos = _unreadable(source, pos, problems)
            continue
        kind = hit.lastgroup or ""
        text = hit.group()
        if kind == "op":
            found.append(Token(text, text, pos))
        elif kind == "string":
            found.append(Token(BYTES if text[0] in "bB" else STRING, text, pos))
        elif kind == IDENT and text in KEYWORDS:
            found.append(Token(text, text, pos))
        elif kind != "space":
            found.append(Token(kind, text, pos))
        pos = hit.end()
    found.append(Token(END, "<EOF>", len(source)))
    return found, problems


_SINGLE = "&|="


def _unreadable(source: str, pos: int, problems: list[tuple[int, str]]) -> int:
    """Report what starts at ``pos`` and return where to go on: a lone ``|`` takes the next character with it,
    a string that never ends takes its rest, as the recogniser upstream does."""
    end = pos + 1
    char = source[pos]
    if char in _SINGLE:
        end = min(pos + 2, len(source))
    elif char in "\"'":
        inner = re.compile(rf"(?:{_ESCAPE}|[^\\{char}\n\r])*").match(source, pos + 1)
        end = min((inner.end() if inner else pos) + 1, len(source))
    text = source[pos:end].replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    problems.append((pos, f"Syntax error: token recognition error at: '{text}'"))
    return end


_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    '"': '"',
    "'": "'",
    "\\": "\\",
    "?": "?",
    "`": "`",
}
_ESCAPED = re.compile(r"\\(?:([xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2})|(.))", re.DOTALL)


def unquote(text: str) -> str | bytes:
    """The value of a string or bytes literal. ValueError for an escape that names no character."""
    is_bytes = text[0] in "bB"
    if is_bytes:
        text = text[1:]
    raw = text[0] in "rR"
    if raw:
        text = text[1:]
    width = 3 if text[:3] in ('"""', "'''") else 1
    body = text[width:-width].replace("\r\n", "\n").replace("\r", "\n")
    if raw or "\\" not in body:
        return body.encode() if is_bytes else body
    if is_bytes:
        return _unescape_bytes(body)
    return _ESCAPED.sub(lambda m: _SIMPLE[m[2]] if m[2] else _char(m[1]), body)


def _char(code: str) -> str:
    value = int(code, 8) if code[0].isdigit() else int(code[1:], 16)
    if 0xD800 <= value < 0xE000 or value > 0x10FFFF:
        raise ValueError("invalid unicode code point")
    return chr(value)


def _unescape_bytes(body: str) -> bytes:
    made = bytearray()
    last = 0
    for match in _ESCAPED.finditer(body):
        made += body[last : match.start()].encode()
        last = match.end()
        if match[2]:
            made += _SIMPLE[match[2]].encode()
        elif match[1][0] in "uU":
            raise ValueError("unicode escapes are not allowed in bytes")
        else:
            made.append(int(match[1], 8) if match[1][0].isdigit() else int(match[1][1:], 16))
    made += body[last:].encode()
    return bytes(made)
