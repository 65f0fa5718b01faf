"""Functions and their overloads: what a library declares, and how a call finds the right one at run time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from kcore.cel import types as t
from kcore.cel import values
from kcore.cel.errors import EvaluationError
from kcore.cel.types import Type

Implementation = Callable[..., Any]
Cost = Callable[..., int]


@attrs.frozen(eq=False)
class Overload:
    """One signature of a function. ``cost`` counts at run time from the arguments and the result; None: always 1."""

    id: str
    args: tuple[Type, ...]  # the receiver first, for a method
    result: Type
    member: bool
    run: Implementation
    cost: Cost | None
    generic: bool  # it has type parameters

    def fits(self, arguments: tuple[Any, ...]) -> bool:
        return len(arguments) == len(self.args) and all(
            matches(type_, value) for type_, value in zip(self.args, arguments, strict=True)
        )


@attrs.frozen(eq=False)
class Function:
    name: str
    overloads: tuple[Overload, ...]


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "bool": lambda v: v is True or v is False,
    "int": lambda v: type(v) is int,
    "uint": lambda v: type(v) is values.UInt,
    "double": lambda v: type(v) is float,
    "string": lambda v: isinstance(v, str),
    "bytes": lambda v: isinstance(v, bytes),
    "null": lambda v: v is None,
    "timestamp": lambda v: isinstance(v, values.Timestamp),
    "duration": lambda v: isinstance(v, values.Duration),
    "list": lambda v: isinstance(v, list),
    "map": lambda v: isinstance(v, dict),
    "object": lambda v: isinstance(v, dict),
    "optional": lambda v: isinstance(v, values.Optional),
    "type": lambda v: isinstance(v, values.TypeValue),
}


def matches(type_: Type, value: Any) -> bool:
    """Is this run-time value of the type, as far as an overload's choice goes (elements are not looked at)?"""
    check = _CHECKS.get(type_.kind)
    if check is not None:
        if not check(value):
            return False
        if type_.kind == "list" and type_.params[0].kind not in ("param", "dyn") and value:
            return matches(type_.params[0], value[0])
        return True
    if type_.kind == "opaque":
        return values.type_name(value) == type_.name
    return True  # dyn, a type parameter


def dispatcher(name: str, overloads: tuple[Overload, ...]) -> Callable[[tuple[Any, ...]], Overload]:
    """Chooses the overload for the values of a call whose types were not known when it was checked."""

    def choose(arguments: tuple[Any, ...]) -> Overload:
        for overload in overloads:
            if overload.fits(arguments):
                return overload
        if name[:1] in "_!-@":
            raise EvaluationError("no such overload")
        kinds = ", ".join(map(values.type_name, arguments))
        raise EvaluationError(f"no such overload: {name}({kinds})")

    return choose


# --- declaring -----------------------------------------------------------------------------------

_SCALARS = {
    "bool": t.BOOL,
    "int": t.INT,
    "uint": t.UINT,
    "double": t.DOUBLE,
    "string": t.STRING,
    "bytes": t.BYTES,
    "null": t.NULL,
    "dyn": t.DYN,
    "timestamp": t.TIMESTAMP,
    "duration": t.DURATION,
}
_WORD = re.compile(r"\s*([A-Za-z_.]+|->|[(),])")


def parse_type(text: str) -> Type:
    made, rest = _type(_WORD.findall(text))
    if rest:
        raise ValueError(text)
    return made


def _type(words: list[str]) -> tuple[Type, list[str]]:
    word, rest = words[0], words[1:]
    params: list[Type] = []
    if rest[:1] == ["("]:
        rest = rest[1:]
        while rest[0] != ")":
            param, rest = _type(rest[1:] if rest[0] == "," else rest)
            params.append(param)
        rest = rest[1:]
    if word in _SCALARS:
        return _SCALARS[word], rest
    if word == "list":
        return t.list_of(*params), rest
    if word == "map":
        return t.map_of(*params), rest
    if word == "optional":
        return t.optional_of(*params), rest
    if word == "type":
        return t.type_of_type(*params), rest
    if len(word) == 1:
        return Type("param", word), rest
    return t.opaque(word), rest


def overload(id_: str, signature: str, run: Implementation, *, cost: Cost | None = None) -> Overload:
    """``signature``: ``string, int -> string``; a method's receiver stands in front: ``string.(int) -> string``."""
    left, _, result = signature.partition("->")
    member = ".(" in left
    if member:
        receiver, _, rest = left.partition(".(")
        left = receiver + ("," + rest.rstrip()[:-1] if rest.rstrip() != ")" else "")
    words = _WORD.findall(left)
    args: list[Type] = []
    while words:
        arg, words = _type(words[1:] if words[0] == "," else words)
        args.append(arg)
    generic = any(re.search(r"\b[A-Z]\b", str(arg)) for arg in (*args, parse_type(result)))
    return Overload(id_, tuple(args), parse_type(result), member, run, cost, generic)


@attrs.define
class Library:
    """A set of functions, named types and, for a few, macros that belong together."""

    name: str
    overloads: dict[str, list[Overload]] = attrs.Factory(dict)
    names: dict[str, Type] = attrs.Factory(dict)  # type names that expressions may use

    def add(self, function: str, id_: str, signature: str, run: Implementation, *, cost: Cost | None = None) -> None:
        self.overloads.setdefault(function, []).append(overload(id_, signature, run, cost=cost))


def merge(libraries: Iterable[Library]) -> Mapping[str, Function]:
    """All functions of the libraries; a name in two of them has the overloads of both."""
    found: dict[str, list[Overload]] = {}
    for library in libraries:
        for name, overloads in library.overloads.items():
            found.setdefault(name, []).extend(overloads)
    return {name: Function(name, tuple(overloads)) for name, overloads in found.items()}
