"""A checked tree to closures. Nothing of the tree is looked at when the program runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcore.cel import access, comprehensions, operators
from kcore.cel.checker import member_of
from kcore.cel.code import Code, Frame, Run, charged
from kcore.cel.errors import EvaluationError
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
        special = _SPECIAL.get(node.function)
        if special is not None:
            made = special(self, node)
            if made is not None:
                return made
        operands = node.operands()
        arguments = [self.compile(operand) for operand in operands]
        return operators.call(node.function, node.overloads, arguments, [operand.type for operand in operands])

    def pair(self, node: Call) -> tuple[Code, Code]:
        return self.compile(node.args[0]), self.compile(node.args[1])

    def logical(self, node: Call) -> Code:
        return operators.logical(node, *self.pair(node), decisive=node.function == "_||_")

    def conditional(self, node: Call) -> Code:
        return operators.conditional(node, *(self.compile(arg) for arg in node.args))

    def negation(self, node: Call) -> Code:
        return operators.negation(node, self.compile(node.args[0]))

    def equality(self, node: Call) -> Code:
        return operators.equality(node, *self.pair(node), wanted=node.function == "_==_")

    def arithmetic(self, node: Call) -> Code | None:
        return operators.arithmetic(node, *self.pair(node))

    def ordering(self, node: Call) -> Code | None:
        return operators.ordering(node, *self.pair(node))

    def index(self, node: Call) -> Code:
        container, key = self.pair(node)
        type_ = node.args[0].type
        return access.index(container, key, type_)

    def optional_index(self, node: Call) -> Code:
        container, key = self.pair(node)
        items, at = container.run, key.run
        return Code(lambda v: access.index_optional(items(v), at(v)), container.cost + key.cost + 1)

    def optional_select(self, node: Call) -> Code:
        operand, field = node.args
        assert isinstance(field, Literal)
        type_ = operand.type.params[0] if operand.type.kind == "optional" else operand.type
        key = self.key_of(type_, field.value)
        return access.optional_select(self.compile(operand), key, field.value, node.type)

    # --- literals of several parts -----------------------------------------------------------------

    def alternative(self, node: Call) -> Code:
        """``optional.or(other)`` and ``optional.orValue(other)``: the other is evaluated only if it is needed."""
        assert node.target is not None
        target, other = self.compile(node.target), self.compile(node.args[0])
        source, otherwise = target.run, charged(other)
        unwrap = node.function == "orValue"

        def run(v: Frame) -> Any:
            value = source(v)
            if not isinstance(value, Optional):
                raise no_overload()
            if not value.present:
                return otherwise(v)
            return value.value if unwrap else value

        return Code(run, target.cost + 1)

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
                if not isinstance(key, str | int):
                    raise EvaluationError(f"unsupported key type: {type(key).__name__}")
                if optional:
                    if not isinstance(value, Optional):
                        raise no_overload()
                    if not value.present:
                        continue
                    value = value.value
                if key in result:
                    raise EvaluationError(f"Failed with repeated key: {key}")
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
_SPECIAL: dict[str, Callable[[Compiler, Call], Code | None]] = {
    "_&&_": Compiler.logical,
    "_||_": Compiler.logical,
    "_?_:_": Compiler.conditional,
    "!_": Compiler.negation,
    "_==_": Compiler.equality,
    "_!=_": Compiler.equality,
    "_+_": Compiler.arithmetic,
    "_-_": Compiler.arithmetic,
    "_*_": Compiler.arithmetic,
    "_<_": Compiler.ordering,
    "_<=_": Compiler.ordering,
    "_>_": Compiler.ordering,
    "_>=_": Compiler.ordering,
    "_[_]": Compiler.index,
    "_[?_]": Compiler.optional_index,
    "_?._": Compiler.optional_select,
    "or": Compiler.alternative,
    "orValue": Compiler.alternative,
}


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
