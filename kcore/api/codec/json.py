"""JSON objects, read and refused as Go's decoder (sigs.k8s.io/json) does.

Reading is msgspec's; only a body that msgspec refuses is looked at again, to accept the little that Go accepts
beyond it (bytes that are no UTF-8, lone surrogates) and to find Go's sentence for the rest.
"""

from __future__ import annotations

import json as _json
import math
import re
from typing import Any

import msgspec

from kcore.errors import BadRequest
from kcore.objects import Object

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
_SPACED_COLONS = (b" :", b"\n:", b"\t:", b"\r:")
_SURROGATES = re.compile("[\ud800-\udfff]")
# Go's words for what it reads first of any object
_TYPE_META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'


def encode(obj: Any) -> bytes:
    """Compact JSON, keys in the order they have."""
    try:
        return _encoder.encode(obj)
    except OverflowError:  # an integer beyond 64 bits, which only a free-form field can hold
        return _json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode()


def encode_sorted(obj: Any) -> bytes:
    """The same with keys in order, as Go writes its maps."""
    return _json.dumps(obj, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def decode(body: bytes) -> Object:
    """The object in `body`; ``null`` reads as an empty one.

    Raises BadRequest on anything malformed, nested too deeply, followed by other data, or no object.
    """
    try:
        value = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        try:
            value = loads(body)
        except ValueError as e:
            raise BadRequest(f"couldn't get version/kind; json parse error: {e}") from None
    return as_object(value)


def as_object(value: Any) -> Object:
    """`value` if it can be an object: a dict whose apiVersion and kind are strings. Raises BadRequest."""
    if type(value) is dict:
        for key in ("apiVersion", "kind"):
            given = value.get(key)
            if given is not None and type(given) is not str:
                problem = f"json: cannot unmarshal {go_kind(given)} into Go struct field .{key} of type string"
                raise BadRequest(f"couldn't get version/kind; json parse error: {problem}")
        return value
    if value is None:
        return {}
    problem = f"json: cannot unmarshal {go_kind(value)} into Go value of type {_TYPE_META}"
    raise BadRequest(f"couldn't get version/kind; json parse error: {problem}")


def decode_patch(body: bytes) -> Any:
    """Any JSON value, for a JSON or merge patch. Raises BadRequest."""
    try:
        return loads(body)
    except ValueError as e:
        raise BadRequest(f"error decoding patch: {e}") from None


def loads(body: bytes) -> Any:
    """Any JSON value. Raises ValueError with the sentence Go has for what is wrong."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError:
        raise ValueError("exceeded max depth") from None
    text = body.decode("utf-8", "replace")
    try:
        value = _json.loads(text, parse_constant=_refuse, parse_float=_float)
    except RecursionError:
        raise ValueError("exceeded max depth") from None
    except _OutOfRange:
        raise
    except ValueError:
        raise ValueError(syntax_error(text)) from None
    return _json.loads(_SURROGATES.sub("\ufffd", _json.dumps(value, ensure_ascii=False)))


def go_kind(value: Any) -> str:
    """What Go's decoder calls a JSON value in its errors."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "number"


class _OutOfRange(ValueError):
    """A number too large for a float."""


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _OutOfRange(f"json: cannot unmarshal number {text} into Go value of type float64")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


# --- Go's syntax errors --------------------------------------------------------------------------

_TOKEN = re.compile(
    r'[ \t\r\n]*(?:(?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    r"|(?P<number>-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<word>true|false|null)|(?P<punct>[\[\]{},:]))"
)
_SPACE = " \t\r\n"


def syntax_error(text: str) -> str:
    """Go's sentence for text that is not one JSON value."""
    stack: list[str] = []
    expect = "value"  # value, key, key-or-end, value-or-end, colon, after
    at = 0
    while True:
        rest = text[at:].lstrip(_SPACE)
        if not rest:
            return "unexpected end of JSON input"
        match = _TOKEN.match(text, at)
        if match is None:
            return _bad_literal(rest, expect, stack)
        at, punct = match.end(), match.group("punct") or ""
        follow = _follow(expect, match.lastgroup or "", punct, stack)
        if follow is None:
            return f"invalid character {_quote(rest[0])} {_context(expect, stack)}"
        expect = follow


def _follow(expect: str, group: str, punct: str, stack: list[str]) -> str | None:
    """What may come after a token, or None if the token itself may not stand there."""
    if expect in ("value", "value-or-end"):
        if punct in ("{", "["):
            stack.append(punct)
            return "key-or-end" if punct == "{" else "value-or-end"
        if punct == "]" and expect == "value-or-end":
            stack.pop()
            return "after"
        return None if punct else "after"
    if expect in ("key", "key-or-end"):
        if group == "string":
            return "colon"
        if punct == "}" and expect == "key-or-end":
            stack.pop()
            return "after"
        return None
    if expect == "colon":
        return "value" if punct == ":" else None
    if not stack:
        return None
    if punct == ",":
        return "key" if stack[-1] == "{" else "value"
    if punct == {"{": "}", "[": "]"}[stack[-1]]:
        stack.pop()
        return "after"
    return None


def _context(expect: str, stack: list[str]) -> str:
    if expect in ("value", "value-or-end"):
        return "looking for beginning of value"
    if expect in ("key", "key-or-end"):
        return "looking for beginning of object key string"
    if expect == "colon":
        return "after object key"
    if not stack:
        return "after top-level value"
    return "after object key:value pair" if stack[-1] == "{" else "after array element"


def _bad_literal(rest: str, expect: str, stack: list[str]) -> str:
    """The error inside a string, a number or a word that has begun well."""
    first = rest[0]
    if first == '"':
        return _bad_string(rest)
    if expect not in ("value", "value-or-end"):
        return f"invalid character {_quote(first)} {_context(expect, stack)}"
    for word in ("true", "false", "null"):
        if first == word[0]:
            same = next((i for i in range(1, len(word)) if rest[i : i + 1] != word[i]), len(word))
            if same >= len(rest):
                return "unexpected end of JSON input"
            return f"invalid character {_quote(rest[same])} in literal {word} (expecting {_quote(word[same])})"
    if first == "-":
        if len(rest) == 1:
            return "unexpected end of JSON input"
        return f"invalid character {_quote(rest[1])} in numeric literal"
    return f"invalid character {_quote(first)} {_context(expect, stack)}"


def _bad_string(rest: str) -> str:
    i = 1
    while i < len(rest):
        if rest[i] < " ":
            return f"invalid character {_quote(rest[i])} in string literal"
        if rest[i] == "\\":
            i += 1
            if i < len(rest) and rest[i] not in '"\\/bfnrtu':
                return f"invalid character {_quote(rest[i])} in string escape code"
            if rest[i : i + 1] == "u":
                for digit in rest[i + 1 : i + 5]:
                    if digit not in "0123456789abcdefABCDEF":
                        return f"invalid character {_quote(digit)} in \\u hexadecimal character escape"
        i += 1
    return "unexpected end of JSON input"


def _quote(char: str) -> str:
    if char == "'":
        return r"'\''"
    if char == '"':
        return "'\"'"
    special = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\"}
    plain = char if char.isprintable() else f"\\x{ord(char):02x}"
    return f"'{special.get(char, plain)}'"


# --- strict decoding -----------------------------------------------------------------------------


def duplicate_fields(body: bytes, obj: Object | None = None) -> list[str]:
    """``duplicate field "spec.x"`` for each member that is given twice, in the order of the text.

    `obj` is what `decode` made of `body`, if the caller has it. In the usual case it is the same text when it is
    encoded again, or at least has as many members: each is a ``":``, unless that is written in another way.
    """
    again = encode(decode(body) if obj is None else obj)
    if again == body:
        return []
    if body.count(b'":') == again.count(b'":') and b"\\u00" not in body:
        a, b, c, d = _SPACED_COLONS
        if not (a in body or b in body or c in body or d in body):
            return []
    found: list[str] = []
    tree = _json.loads(body.decode("utf-8", "replace"), object_pairs_hook=_Pairs)
    _walk_duplicates(tree, "", found)
    return found


def strict_problems(body: bytes, unknown: list[str]) -> list[str]:
    """Unknown members (told as `unknown`) and duplicate ones in the order of the text.

    What is both is told as unknown. So upstream's decoder meets them when it reads into a Go struct.
    """
    found: list[str] = []
    tree = _json.loads(body.decode("utf-8", "replace"), object_pairs_hook=_Pairs)
    _walk_duplicates(tree, "", found, frozenset(unknown))
    return [*found, *(text for text in unknown if text not in found)]


class _Pairs(list[tuple[str, Any]]):
    """An object's members with their duplicates."""


def _walk_duplicates(value: Any, path: str, found: list[str], unknown: frozenset[str] = frozenset()) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            at = f"{path}.{key}" if path else key
            if unknown and (text := f'unknown field "{at}"') in unknown:
                if text not in found:
                    found.append(text)
                continue
            if key in seen:
                found.append(f'duplicate field "{at}"')
            seen.add(key)
            _walk_duplicates(item, at, found, unknown)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _walk_duplicates(item, f"{path}[{i}]", found, unknown)
