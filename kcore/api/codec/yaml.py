"""YAML objects, read as kubectl and kube-apiserver read them (sigs.k8s.io/yaml, which is go-yaml 2).

That is YAML 1.1 with differences: ``y``, ``yes`` and ``on`` are true; ``0644``, ``0o644`` and ``0x1a4`` are
integers, as are floats without a fraction; times and ``1:30`` are strings; keys are always strings; of two equal
keys the last counts. An alias is a copy, so that no two places of an object ever share a dict; what that may grow to
is bounded.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from kcore.api.codec.json import as_object
from kcore.errors import BadRequest
from kcore.objects import Object

if TYPE_CHECKING:
    import yaml

_MAX_NODES = 400_000  # nodes of a document, aliases expanded
_MAX_EXPANSION = 100_000  # of them, those that only aliases made
_MAX_DEPTH = 500
_MAX_DIGITS = 100  # an integer of 64 bits has fewer in any base

_BOOL = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"), False),
}
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_INFINITE = frozenset(
    (".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN")
)
_INT = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_STR = "tag:yaml.org,2002:str"


class _Problem(Exception):
    """What is wrong, in go-yaml's words."""


def decode(body: bytes) -> Object:
    """The first document of `body` as an object. Raises BadRequest."""
    return next(_documents(body), {})


def decode_strict(body: bytes) -> tuple[Object, list[str]]:
    """The first document, and its duplicate keys as `duplicate_fields` tells them. Raises BadRequest."""
    for node in _nodes(body):
        if node is not None:
            build = _Build()
            obj = _object(node, build)
            found: list[str] = []
            if build.doubled:
                _find_duplicates(node, found, set())
            return obj, found
    return {}, []


def decode_all(body: bytes) -> list[Object]:
    """All documents that are not empty. Raises BadRequest."""
    return [d for d in _documents(body) if d]


def duplicate_fields(body: bytes) -> list[str]:
    """``line 3: key "a" already set in map`` for each key of the first document that is given twice."""
    found: list[str] = []
    for node in _nodes(body):
        if node is not None:
            _find_duplicates(node, found, set())
        break
    return found


def encode(obj: Any) -> bytes:
    """Block style with sorted keys, as upstream answers ``Accept: application/yaml``."""
    import yaml

    text: str = yaml.dump(obj, Dumper=_dumper(), default_flow_style=False, allow_unicode=True, width=10**9)
    return text.encode()


def _documents(body: bytes) -> Iterator[Object]:
    for node in _nodes(body):
        if node is not None:
            yield _object(node, _Build())


def _object(node: yaml.Node, build: _Build) -> Object:
    try:
        value = build.value(node, 0)
    except _Problem as e:
        raise BadRequest(f"yaml: {e}") from None
    except RecursionError:
        raise BadRequest(f"yaml: exceeded max depth of {_MAX_DEPTH}") from None
    return as_object(value)


def _nodes(body: bytes) -> Iterator[yaml.Node | None]:
    import yaml

    if _deeper_than(body, _MAX_DEPTH):
        raise BadRequest(f"yaml: exceeded max depth of {_MAX_DEPTH}")
    try:
        loader = _loader()(body)
        while loader.check_node():
            yield loader.get_node()
    except (yaml.reader.ReaderError, UnicodeDecodeError):
        raise BadRequest("yaml: invalid Unicode character") from None
    except yaml.MarkedYAMLError as e:
        raise BadRequest(f"yaml: {_where(e)}{e.problem}") from None
    except RecursionError:
        raise BadRequest(f"yaml: exceeded max depth of {_MAX_DEPTH}") from None


def _where(e: yaml.MarkedYAMLError) -> str:
    """go-yaml names a line, unless it is the first; the scanner counts from one, the parser from zero."""
    import yaml

    line = e.problem_mark.line if e.problem_mark else 0
    if line and isinstance(e, yaml.scanner.ScannerError):
        line += 1
    if not line and e.context_mark:
        line = e.context_mark.line
    return f"line {line}: " if line else ""


def _deeper_than(body: bytes, limit: int) -> bool:
    """Whether the text can nest deeper than `limit`: the C parser recurses and must not meet such a text."""
    if body.count(b"[") + body.count(b"{") > limit:
        depth = deepest = 0
        for bracket in re.findall(rb"[\[\]{}]", body):
            depth += 1 if bracket in b"[{" else -1
            deepest = max(deepest, depth)
        if deepest > limit:
            return True
    # block nesting shows as indentation, or as dashes and question marks in one line
    return any(len(indent) > limit for indent in re.findall(rb"(?m)^[ \t]{%d,}(?=\S)" % limit, body)) or bool(
        re.search(rb"(?:[-?:][ \t]+){%d}" % limit, body)
    )


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.CSafeLoader):
        """Composes nodes; a plain scalar keeps the tag "?" and is resolved when the value is built."""

        def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
            if kind is yaml.ScalarNode:
                return "?" if implicit[0] else _STR
            return "map" if kind is yaml.MappingNode else "seq"

    return Loader


class _Build:
    """The value of one document. Counts what it makes, so that aliases cannot explode."""

    def __init__(self) -> None:
        self.made = 0
        self.seen: set[int] = set()  # ids of nodes built once already: building them again is expansion
        self.open: set[int] = set()  # ids of the nodes around the one being built
        self.expanded = 0
        self.doubled = False  # a map has a key twice

    def value(self, node: Any, depth: int) -> Any:
        self._count(node)
        if node.id == "scalar":
            return _scalar(node)
        if depth > _MAX_DEPTH:
            raise _Problem(f"exceeded max depth of {_MAX_DEPTH}")
        if id(node) in self.open:
            raise _Problem("anchor value contains itself")
        self.open.add(id(node))
        built: Any
        if node.id == "mapping":
            built = self._mapping(node, depth)
        else:
            built = [self.value(item, depth + 1) for item in node.value]
        self.open.discard(id(node))
        return built

    def _count(self, node: yaml.Node) -> None:
        self.made += 1
        if id(node) in self.seen:
            self.expanded += 1
        else:
            self.seen.add(id(node))
        if self.made > _MAX_NODES or self.expanded > _MAX_EXPANSION:
            raise _Problem("document contains excessive aliasing")

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.value:
            if (key.tag == "?" and key.value == "<<") or key.tag == "tag:yaml.org,2002:merge":
                for source in reversed(item.value) if item.id == "sequence" else [item]:
                    if source.id != "mapping":
                        raise _Problem("map merge requires map or sequence of maps as the value")
                    merged.update(self.value(source, depth + 1))
                continue
            name = self._key(key)
            self.doubled = self.doubled or name in out
            out[name] = self.value(item, depth + 1)
        return {**merged, **out} if merged else out

    def _key(self, node: Any) -> str:
        if node.id != "scalar":
            raise _Problem(f"invalid map key: {node.id}")
        self._count(node)
        value = _scalar(node)
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None:
            return "null"
        return str(value)


def _scalar(node: Any) -> Any:
    text: str = node.value
    tag: str = node.tag
    if tag == _STR:
        return text
    if tag == "tag:yaml.org,2002:binary":
        try:
            return base64.b64decode(text).decode("utf-8", "replace")
        except ValueError:
            raise _Problem("!!binary value contains invalid base64 data") from None
    if tag.startswith("tag:yaml.org,2002:"):
        return _tagged(tag.rpartition(":")[2], text)
    return text if node.style else resolve(text)


def _tagged(tag: str, text: str) -> Any:
    value = resolve(text)
    if tag == "float" and isinstance(value, int):
        return value
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(tag)
    if wanted is None:
        return text
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise _Problem(f"cannot decode !!str `{text}` as a !!{tag}")
    return value


def resolve(text: str) -> Any:
    """The value of a plain scalar."""
    if text in _NULL:
        return None
    first = text[0]
    if first in "0123456789+-.":
        plain = text.replace("_", "")
        if _INT.fullmatch(plain) and len(plain) <= _MAX_DIGITS:
            number = _integer(plain)
            return number if -(2**63) <= number < 2**64 else float(number)
        if _FLOAT.fullmatch(plain):
            real = float(plain)
            if math.isinf(real):
                return text
            return int(real) if real.is_integer() and abs(real) < 1e21 else real
        if text in _INFINITE:
            raise _Problem(f"json: unsupported value: {text.lstrip('+').replace('.', '').title()}")
        return text
    if text in _BOOL:
        return _BOOL[text]
    return text


def _integer(plain: str) -> int:
    sign, digits = (-1, plain[1:]) if plain[0] == "-" else (1, plain.lstrip("+"))
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _find_duplicates(node: Any, found: list[str], visited: set[int]) -> None:
    if id(node) in visited or node.id == "scalar":
        return
    visited.add(id(node))
    if node.id == "sequence":
        for item in node.value:
            _find_duplicates(item, found, visited)
        return
    seen: set[str] = set()
    for key, item in node.value:
        if key.id == "scalar" and key.value in seen:
            found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
        if key.id == "scalar" and key.value != "<<":
            seen.add(key.value)
        _find_duplicates(item, found, visited)


@cache
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.CSafeDumper):
        """Never writes aliases; quotes whatever `resolve` would not read back as the string it is."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def string(dumper: Any, text: str) -> Any:
        try:
            plain = isinstance(resolve(text), str) and not re.match(r"\d{4}-\d\d?-\d\d?", text)
        except _Problem:
            plain = False
        style = "|" if "\n" in text else None if plain else '"'
        return dumper.represent_scalar(_STR, text, style=style)

    Dumper.add_representer(str, string)
    return Dumper
