"""A checked tree to closures. Nothing of the tree is looked at when the program runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcore.cel import access, comprehensions, operators
from kcore.cel.checker import member_of
from kcore.cel.code import Code, Frame, Run, charged
from kcore.cel.nodes import Call, Ident, ListNode, Literal, Macro, MapNode, Node, Select, Struct
from kcore.cel.types import DYN, Type
from kcore.cel.values import Instance, Optional, no_overload

LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40


class Compiler:
    """One program. Variables live in a frame's slots, the declared ones first (slot 0 is the budget)."""

    def __init__(self, variables: tuple[str, ...], select: Callable[[Type, str], str]) -> None:
        self.slots = {name: index + 1 for index, name in enumerate(variables)}
        self.size = len(variables) + 1
        self.scopes: list[dict[str, int]] = []
        self.key_of = select

    def compile(self, node: Node) -> Code:
        return _MAKERS[type(node)](self, node)

    def slot(self, name: str) -> int:
        if name.startswith("."):
            return self.slots[name[1:]]
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return self.slots[name]

    # --- leaves and members ----------------------------------------------------------------------

    def literal(self, node: Literal) -> Code:
        value = node.value
        return Code(lambda v: value)

    def ident(self, node: Ident) -> Code:
        if node.constant is not None:
            constant = node.constant
            return Code(lambda v: constant, 1)
        slot = self.slot(node.name)
        return Code(lambda v: v[slot], 1)

    def select(self, node: Select) -> Code:
        if node.resolved is not None:
            return self.ident(node.resolved)
        if node.test:
            return access.presence(self.compile(node.operand), self.key_of(node.operand.type, node.field))
        if node.operand.type.kind == "optional":
            key = self.key_of(node.operand.type.params[0], node.field)
            return access.optional_select(self.compile(node.operand), key, node.field, node.type)
        keys: list[tuple[str, str]] = []
        base: Node = node
        while isinstance(base, Select) and not base.test and base.resolved is None:
            if base.operand.type.kind == "optional":
                break
            if keys and base.type.convertible:
                break  # a map that is converted as a whole when it is selected
            keys.append((self.key_of(base.operand.type, base.field), base.field))
            base = base.operand
        keys.reverse()
        slot = None
        if isinstance(base, Ident) and base.constant is None:
            slot = self.slot(base.name)
        return access.path(self.compile(base), slot, keys, self.unconverted(base, keys, node.type))

    def unconverted(self, base: Node, keys: list[tuple[str, str]], type_: Type) -> Type:
        """A value out of a map that was converted as a whole is not converted again."""
        return DYN if base.type.convertible and len(keys) == 1 else type_

    # --- calls -----------------------------------------------------------------------------------

    def call(self, node: Call) -> Code:
        operands = node.operands()
        codes = [self.compile(operand) for operand in operands]
        special = _SPECIAL.get(node.function)
        made = None if special is None else special(node, *codes)
        if made is not None:
            return made
        return operators.call(node.function, node.overloads, codes, [operand.type for operand in operands])

    # --- literals of several parts -----------------------------------------------------------------

    def list_literal(self, node: ListNode) -> Code:
        codes = [self.compile(element) for element in node.elements]
        cost = LIST_COST + sum(code.cost for code in codes)
        if all(isinstance(element, Literal) for element in node.elements) and not node.optional:
            values = [element.value for element in node.elements if isinstance(element, Literal)]
            return Code(lambda v: values, cost)
        runs = [code.run for code in codes]
        if not node.optional:
            return Code(lambda v: [run(v) for run in runs], cost)
        marked = [(run, index in node.optional) for index, run in enumerate(runs)]

        def some(v: Frame) -> list[Any]:
            made = []
            for run, optional in marked:
                value = run(v)
                if not optional:
                    made.append(value)
                elif not isinstance(value, Optional):
                    raise no_overload()
                elif value.present:
                    made.append(value.value)
            return made

        return Code(some, cost)

    def map_literal(self, node: MapNode) -> Code:
        parts: list[tuple[Run, Run, bool]] = []
        cost = MAP_COST
        for key, value, optional in node.entries:
            made, held = self.compile(key), self.compile(value)
            cost += made.cost + held.cost
            parts.append((made.run, held.run, optional))

        def run(v: Frame) -> dict[Any, Any]:
            result: dict[Any, Any] = {}
            for key_of, value_of, optional in parts:
                key, value = key_of(v), value_of(v)
                if optional:
                    if not isinstance(value, Optional):
                        raise no_overload()
                    if not value.present:
                        continue
                    value = value.value
                result[key] = value
            return result

        return Code(run, cost)

    def struct(self, node: Struct) -> Code:
        parts: list[tuple[str, Run, bool]] = []
        cost = STRUCT_COST
        for _, field, value, optional in node.entries:
            code = self.compile(value)
            cost += code.cost
            parts.append((self.key_of(node.type, field), code.run, optional))
        name = node.type.name

        def run(v: Frame) -> Instance:
            members: dict[str, Any] = {}
            for key, value_of, optional in parts:
                value = value_of(v)
                if optional:
                    if not isinstance(value, Optional):
                        raise no_overload()
                    if not value.present:
                        continue
                    value = value.value
                members[key] = value
            return Instance(name, members)

        return Code(run, cost)

    # --- macros ----------------------------------------------------------------------------------

    def macro(self, node: Macro) -> Code:
        items = self.compile(node.range)
        scope = {}
        for name in node.variables:
            scope[name] = self.size
            self.size += 1
        self.scopes.append(scope)
        condition = None if node.condition is None else self.compile(node.condition)
        body = None if node.body is None else self.compile(node.body)
        self.scopes.pop()
        slots = tuple(scope.values())
        if node.kind in ("optMap", "optFlatMap"):
            assert body is not None
            return comprehensions.over_optional(node, items, slots[0], charged(body))
        return comprehensions.compiled(node, items, slots, condition, body)


_MAKERS: dict[type[Node], Callable[[Compiler, Any], Code]] = {
    Literal: Compiler.literal,
    Ident: Compiler.ident,
    Select: Compiler.select,
    Call: Compiler.call,
    ListNode: Compiler.list_literal,
    MapNode: Compiler.map_literal,
    Struct: Compiler.struct,
    Macro: Compiler.macro,
}
_SPECIAL: dict[str, Callable[..., Code | None]] = {
    "_&&_": lambda node, left, right: operators.logical(node, left, right, decisive=False),
    "_||_": lambda node, left, right: operators.logical(node, left, right, decisive=True),
    "_?_:_": operators.conditional,
    "!_": operators.negation,
    "_==_": lambda node, left, right: operators.equality(node, left, right, wanted=True),
    "_!=_": lambda node, left, right: operators.equality(node, left, right, wanted=False),
    "_+_": operators.arithmetic,
    "_-_": operators.arithmetic,
    "_*_": operators.arithmetic,
    "_<_": operators.ordering,
    "_<=_": operators.ordering,
    "_>_": operators.ordering,
    "_>=_": operators.ordering,
    "startsWith": operators.text_test,
    "endsWith": operators.text_test,
    "contains": operators.text_test,
    "@in": operators.membership,
    "_[_]": lambda node, items, key: access.index(items, key, node.args[0].type),
    "_[?_]": lambda node, items, key: access.optional_index(items, key),
    "_?._": lambda node, operand, field: _optional_select(node, operand),
    "or": operators.alternative,
    "orValue": operators.alternative,
}


def _optional_select(node: Call, operand: Code) -> Code:
    type_ = node.args[0].type
    field = node.args[1]
    assert isinstance(field, Literal)
    return access.optional_select(operand, field_key(type_, field.value), field.value, node.type)


def field_key(type_: Type, field: str) -> str:
    """The JSON name of a field of an operand of this type."""
    if type_.kind == "optional":
        type_ = type_.params[0]
    if type_.kind == "object":
        found = member_of(type_, field)
        if found is not None:
            return found.key
    return field


def build(root: Node, variables: tuple[str, ...]) -> tuple[Run, int, int]:
    """The program's closure, its fixed cost and the size of its frames."""
    compiler = Compiler(variables, field_key)
    code = compiler.compile(root)
    return code.run, code.cost, compiler.size
