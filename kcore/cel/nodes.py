"""The parsed expression. Each node knows its place (``pos``, a code-point offset) and, once checked, its type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcore.cel.types import DYN, Type


class Node:
    __slots__ = ("depth", "pos", "type")

    def __init__(self, pos: int, *children: Node) -> None:
        self.pos = pos
        self.type: Type = DYN
        self.depth: int = 1 + max((child.depth for child in children), default=0)


class Literal(Node):
    __slots__ = ("value",)

    def __init__(self, pos: int, value: Any, type_: Type) -> None:
        super().__init__(pos)
        self.value = value
        self.type = type_


class Ident(Node):
    """A variable, or a name of several parts that the checker found declared as a whole."""

    __slots__ = ("constant", "name")

    def __init__(self, pos: int, name: str) -> None:
        super().__init__(pos)
        self.name = name
        self.constant: Any = None  # the value of a name that is a constant: a type


class Select(Node):
    """``operand.field``; with ``test`` it is ``has(operand.field)``."""

    __slots__ = ("field", "operand", "resolved", "test")

    def __init__(self, pos: int, operand: Node, field: str, test: bool = False) -> None:
        super().__init__(pos, operand)
        self.operand = operand
        self.field = field
        self.test = test
        self.resolved: Ident | None = None  # set if the whole dotted name is one declared name


class Call(Node):
    """A function, an operator (``_+_``) or, with a target, a method."""

    __slots__ = ("args", "function", "overloads", "target")

    def __init__(self, pos: int, function: str, args: tuple[Node, ...], target: Node | None = None) -> None:
        super().__init__(pos, *args, *(() if target is None else (target,)))
        self.function = function
        self.args = args
        self.target = target
        self.overloads: tuple[Any, ...] = ()  # the ones that fit the argument types

    def operands(self) -> tuple[Node, ...]:
        return self.args if self.target is None else (self.target, *self.args)


class ListNode(Node):
    __slots__ = ("elements", "optional")

    def __init__(self, pos: int, elements: tuple[Node, ...], optional: frozenset[int]) -> None:
        super().__init__(pos, *elements)
        self.elements = elements
        self.optional = optional  # indexes of elements written `?x`


class MapNode(Node):
    __slots__ = ("entries",)

    def __init__(self, pos: int, entries: tuple[tuple[Node, Node, bool], ...]) -> None:
        super().__init__(pos, *(node for key, value, _ in entries for node in (key, value)))
        self.entries = entries  # (key, value, written `?key: value`)


class Struct(Node):
    __slots__ = ("entries", "name")

    def __init__(self, pos: int, name: str, entries: tuple[tuple[int, str, Node, bool], ...]) -> None:
        super().__init__(pos, *(value for _, _, value, _ in entries))
        self.name = name
        self.entries = entries  # (place, field, value, written `?field: value`)


class Macro(Node):
    """A comprehension, kept whole: what the checker, the estimator and the compiler know of its expansion is by kind.

    ``kind``: all, exists, exists_one, filter, map, transformList, transformMap, transformMapEntry (over a range) and
    optMap, optFlatMap (over an optional).
    """

    __slots__ = ("body", "condition", "kind", "range", "variables")

    def __init__(
        self, pos: int, kind: str, range_: Node, variables: tuple[str, ...], condition: Node | None, body: Node | None
    ) -> None:
        super().__init__(pos, range_, *(node for node in (condition, body) if node is not None))
        self.kind = kind
        self.range = range_
        self.variables = variables
        self.condition = condition
        self.body = body


def children(node: Node) -> Iterator[Node]:
    if isinstance(node, Select):
        yield node.operand
    elif isinstance(node, Call):
        yield from node.operands()
    elif isinstance(node, ListNode):
        yield from node.elements
    elif isinstance(node, MapNode):
        for key, value, _ in node.entries:
            yield key
            yield value
    elif isinstance(node, Struct):
        for _, _, value, _ in node.entries:
            yield value
    elif isinstance(node, Macro):
        yield node.range
        for part in (node.condition, node.body):
            if part is not None:
                yield part
