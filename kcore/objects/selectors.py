"""Label and field selectors: the query-string form and the LabelSelector object.

Both become a `Selector`, which is immutable, hashable by its text and quick to match. The grammar is that of
apimachinery's ``labels.Parse``: ``a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs

from kcore.errors import BadRequest
from kcore.objects import Object


@attrs.frozen(slots=True)
class Requirement:
    """One condition on one key. `op` is one of: in, notin, exists, !, gt, lt."""

    key: str
    op: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.op == "in":
            return value is not None and value in self.values
        if self.op == "notin":
            return value is None or value not in self.values
        if self.op == "exists":
            return value is not None
        if self.op == "!":
            return value is None
        if value is None:
            return False
        try:
            number, bound = int(value), int(next(iter(self.values)))
        except ValueError:
            return False
        return number > bound if self.op == "gt" else number < bound

    def __str__(self) -> str:
        values = sorted(self.values)
        if self.op == "in":
            return f"{self.key}={values[0]}" if len(values) == 1 else f"{self.key} in ({','.join(values)})"
        if self.op == "notin":
            return f"{self.key}!={values[0]}" if len(values) == 1 else f"{self.key} notin ({','.join(values)})"
        if self.op == "exists":
            return self.key
        if self.op == "!":
            return f"!{self.key}"
        return f"{self.key}{'>' if self.op == 'gt' else '<'}{values[0]}"


@attrs.frozen(slots=True)
class Selector:
    """All of its requirements must hold. An empty one matches everything, `NOTHING` nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        for r in self.requirements:
            if not r.matches(labels):
                return False
        return True

    @property
    def everything(self) -> bool:
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)

_TOKEN = re.compile(r"\s*(!=|==|=|!|>|<|\(|\)|,|[^\s!=<>(),]+)")
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def from_object(selector: Object | None) -> Selector:
    """A LabelSelector (matchLabels, matchExpressions). None matches nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    requirements = [Requirement(k, "in", frozenset((v,))) for k, v in (selector.get("matchLabels") or {}).items()]
    for e in selector.get("matchExpressions") or ():
        requirements.append(Requirement(e["key"], _OPERATORS[e["operator"]], frozenset(e.get("values") or ())))
    return Selector(tuple(requirements))


def from_map(labels: Mapping[str, str] | None) -> Selector:
    """A plain map (Service, ReplicationController). None or empty matches nothing, as upstream has it there."""
    if not labels:
        return NOTHING
    return Selector(tuple(Requirement(k, "in", frozenset((v,))) for k, v in labels.items()))


def parse(text: str) -> Selector:
    """The query-string form. Raises BadRequest with upstream's summary."""
    if not text.strip():
        return EVERYTHING
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s+", "", text):
        raise BadRequest(f"unable to parse requirement: {text!r}")
    stream = _Tokens(tokens, text)
    requirements = [_requirement(stream)]
    while not stream.done:
        stream.expect(",")
        requirements.append(_requirement(stream))
    return Selector(tuple(requirements))


def parse_fields(text: str) -> list[tuple[str, str, str]]:
    """A field selector as (path, "=" or "!=", value) triples. Raises BadRequest."""
    out = []
    for term in _split_terms(text):
        match = re.fullmatch(r"([^=!]+?)(==|!=|=)(.*)", term, re.S)
        if not match:
            raise BadRequest(f"invalid selector: '{term}'; can't understand '{term}'")
        path, op, value = match.groups()
        out.append((path.strip(), "!=" if op == "!=" else "=", re.sub(r"\\(.)", r"\1", value)))
    return out


def _split_terms(text: str) -> Iterator[str]:
    for term in re.split(r"(?<!\\),", text):
        if term:
            yield term


class _Tokens:
    def __init__(self, tokens: list[str], text: str):
        self._tokens, self._at, self._text = tokens, 0, text

    @property
    def done(self) -> bool:
        return self._at >= len(self._tokens)

    def peek(self) -> str:
        return "" if self.done else self._tokens[self._at]

    def next(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def expect(self, token: str) -> None:
        found = self.next()
        if found != token:
            raise BadRequest(f"unable to parse requirement: found '{found}', expected: '{token}'")


def _requirement(stream: _Tokens) -> Requirement:
    key = stream.next()
    if key == "!":
        return Requirement(_word(stream.next()), "!")
    _word(key)
    op = stream.peek()
    if op in (",", ""):
        return Requirement(key, "exists")
    stream.next()
    if op in ("=", "=="):
        return Requirement(key, "in", frozenset((_value(stream),)))
    if op == "!=":
        return Requirement(key, "notin", frozenset((_value(stream),)))
    if op in (">", "<"):
        return Requirement(key, "gt" if op == ">" else "lt", frozenset((_value(stream),)))
    if op in ("in", "notin"):
        stream.expect("(")
        values = [_value(stream)]
        while stream.peek() == ",":
            stream.next()
            values.append(_value(stream))
        stream.expect(")")
        return Requirement(key, op, frozenset(values))
    raise BadRequest(f"unable to parse requirement: found '{op}', expected: in, notin, =, ==, !=, gt, lt")


def _word(token: str) -> str:
    if not token or token in "!=<>(),":
        raise BadRequest(f"unable to parse requirement: found '{token}', expected: !, identifier, or 'end of string'")
    return token


def _value(stream: _Tokens) -> str:
    """A value may be empty: ``a=`` and ``a in (,b)``."""
    if stream.peek() in (",", ")", ""):
        return ""
    token = stream.next()
    if token in ("=", "==", "!=", "!", "<", ">", "("):
        raise BadRequest(
            f"unable to parse requirement: found '{token[0] if token[0] == '=' else token}', expected: identifier"
        )
    return token
