"""Gives every node its type and every call its overloads, and finds what cannot work, in cel-go's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kcore.cel.errors import CompileError
from kcore.cel.functions import Function, Overload
from kcore.cel.inference import Inference, most_general
from kcore.cel.nodes import Call, Ident, ListNode, Literal, Macro, MapNode, Node, Select, Struct
from kcore.cel.types import BOOL, DYN, ERROR, INT, Field, Type, list_of, map_of, optional_of
from kcore.cel.values import TypeValue

MAX_WEIGHT = 1000  # of a map's type: one whose key and value are of the same type doubles with each nesting


class Declarations(Protocol):
    """What a checker must know of its surroundings."""

    @property
    def variables(self) -> Mapping[str, Type]: ...
    @property
    def functions(self) -> Mapping[str, Function]: ...
    @property
    def names(self) -> Mapping[str, Type]:
        """Names of types, used as values."""
        ...

    def struct(self, name: str) -> Type | None:
        """The object type that ``name{...}`` makes."""
        ...


class Checker:
    def __init__(self, source: str, declarations: Declarations) -> None:
        self.source = source
        self.env = declarations
        self.inference = Inference()
        self.issues: list[tuple[int, str]] = []
        self.mixed: list[tuple[int, str]] = []  # literals whose members are of several types
        self.exempt = 0  # inside how many calls that take mixed literals
        self.scopes: list[dict[str, Type]] = []
        self.references: set[str] = set()
        self._visited: list[Node] = []

    def run(self, root: Node) -> None:
        """Check the tree; CompileError lists all mistakes."""
        self.check(root)
        for node in self._visited:
            node.type = self.inference.resolve(node.type, final=True)
        if self.issues or self.mixed:
            raise CompileError(self.source, self.issues or self.mixed)

    def issue(self, pos: int, message: str) -> None:
        self.issues.append((pos, message))

    def check(self, node: Node) -> Type:
        node.type = _CHECKS[type(node)](self, node)
        self._visited.append(node)
        return node.type

    # --- names -----------------------------------------------------------------------------------

    def lookup(self, name: str) -> tuple[Type, object] | None:
        """A declared name's type, and its value if it is a constant."""
        if name.startswith("."):
            name = name[1:]
        else:
            for scope in reversed(self.scopes):
                if name in scope:
                    return scope[name], None
        if name in self.env.variables:
            self.references.add(name)
            return self.env.variables[name], None
        if name in self.env.names:
            return self.env.names[name], TypeValue(name)
        return None

    def ident(self, node: Ident) -> Type:
        found = self.lookup(node.name)
        if found is None:
            self.issue(node.pos, f"undeclared reference to '{node.name}' (in container '')")
            return ERROR
        node.constant = found[1]
        return found[0]

    def select(self, node: Select) -> Type:
        if not node.test and (name := qualified(node)) is not None and not self.is_local(name.partition(".")[0]):
            found = self.lookup(name)
            if found is not None:
                node.resolved = Ident(node.pos, name)
                node.resolved.constant = found[1]
                node.resolved.type = found[0]
                return found[0]
        operand = self.inference.resolve(self.check(node.operand))
        type_ = self.field_type(node.pos, operand, node.field)
        if node.test:
            return BOOL
        return type_

    def is_local(self, name: str) -> bool:
        return any(name in scope for scope in self.scopes)

    def field_type(self, pos: int, operand: Type, field: str) -> Type:
        """The type of ``operand.field``; through an optional the result is one too."""
        kind = operand.kind
        if kind == "optional":
            inner = self.field_type(pos, self.inference.resolve(operand.params[0]), field)
            return inner if inner.kind == "error" else optional_of(inner)
        if kind in ("dyn", "error"):
            return DYN
        if kind == "param":
            self.inference.assignable(DYN, operand)
            return DYN
        if kind == "map":
            return operand.params[1]
        if kind == "object":
            found = member_of(operand, field)
            if found is None:
                self.issue(pos, f"undefined field '{field}'")
                return ERROR
            return found.type
        self.issue(pos, f"type '{self.text(operand)}' does not support field selection")
        return ERROR

    # --- calls -----------------------------------------------------------------------------------

    def call(self, node: Call) -> Type:
        if node.function == "_?._":
            return self.optional_select(node)
        # what a text is formatted with may be of many types
        self.exempt += node.function == "format"
        for arg in node.args:
            self.check(arg)
        self.exempt -= node.function == "format"
        if node.target is not None:
            name = qualified(node.target)
            if name is not None and not self.is_local(name.partition(".")[0]):
                whole = self.env.functions.get(f"{name}.{node.function}".lstrip("."))
                if whole is not None:
                    node.target = None
                    node.function = whole.name
                    return self.resolve(node, whole)
            self.check(node.target)
        else:
            node.function = node.function.lstrip(".")
        function = self.env.functions.get(node.function)
        if function is None:
            self.issue(node.pos, f"undeclared reference to '{node.function}' (in container '')")
            return ERROR
        return self.resolve(node, function)

    def optional_select(self, node: Call) -> Type:
        operand, field = node.args
        assert isinstance(field, Literal)
        self.check(field)
        found = self.field_type(node.pos, self.inference.resolve(self.check(operand)), field.value)
        return found if found.kind in ("optional", "error") else optional_of(found)

    def resolve(self, node: Call, function: Function) -> Type:
        arguments = tuple(self.inference.resolve(operand.type) for operand in node.operands())
        member = node.target is not None
        result: Type | None = None
        fitting: list[Overload] = []
        for overload in function.overloads:
            if overload.member is not member or len(overload.args) != len(arguments):
                continue
            signature = (*overload.args, overload.result)
            if overload.generic:
                signature = self.inference.instantiate(signature)
            if not self.inference.all_assignable(signature[:-1], arguments):
                continue
            fitting.append(overload)
            made = self.inference.resolve(signature[-1])
            if result is None:
                result = made
            elif str(result) != str(made):
                result = DYN
        if result is None:
            self.no_overload(node, arguments)
            return ERROR
        node.overloads = tuple(fitting)
        return result

    def no_overload(self, node: Call, arguments: tuple[Type, ...]) -> None:
        texts = [self.text(argument) for argument in arguments]
        receiver = f"{texts.pop(0)}." if node.target is not None else ""
        signature = f"{receiver}({', '.join(texts)})"
        self.issue(node.pos, f"found no matching overload for '{node.function}' applied to '{signature}'")

    def text(self, type_: Type) -> str:
        return str(self.inference.resolve(type_))

    # --- literals --------------------------------------------------------------------------------

    def list_literal(self, node: ListNode) -> Type:
        joined: Type | None = None
        first: Type | None = None
        for index, element in enumerate(node.elements):
            type_ = self.inference.resolve(self.check(element))
            if index in node.optional:
                type_ = self.unwrapped(element, type_)
            first = self.homogeneous(element.pos, first, type_)
            joined = self.join(joined, type_)
        return list_of(joined or self.inference.fresh(), max_size=len(node.elements))

    def map_literal(self, node: MapNode) -> Type:
        key_type: Type | None = None
        value_type: Type | None = None
        first_key: Type | None = None
        first_value: Type | None = None
        for key, value, optional in node.entries:
            found = self.inference.resolve(self.check(key))
            first_key = self.homogeneous(key.pos, first_key, found)
            key_type = self.join(key_type, found)
            type_ = self.inference.resolve(self.check(value))
            if optional:
                type_ = self.unwrapped(value, type_)
            first_value = self.homogeneous(value.pos, first_value, type_)
            value_type = self.join(value_type, type_)
        fresh = self.inference.fresh
        if sum(type_.weight for type_ in (key_type, value_type) if type_ is not None) > MAX_WEIGHT:
            self.issue(node.pos, "the type of the expression is too complex")
            return ERROR
        return map_of(key_type or fresh(), value_type or fresh(), max_size=len(node.entries))

    def unwrapped(self, node: Node, type_: Type) -> Type:
        if type_.kind == "optional":
            return self.inference.resolve(type_.params[0])
        if type_.kind not in ("dyn", "error"):
            expected = optional_of(type_)
            self.issue(node.pos, f"expected type '{self.text(expected)}' but found '{self.text(type_)}'")
        return type_

    def homogeneous(self, pos: int, first: Type | None, type_: Type) -> Type | None:
        """Kubernetes wants the members of a literal to be of one type; dyn may mix."""
        if type_.kind in ("dyn", "error") or self.exempt:
            return first
        if first is None:
            return type_
        if not self.inference.assignable(first, type_):
            self.mixed.append((pos, f"expected type '{self.text(first)}' but found '{self.text(type_)}'"))
        return first

    def join(self, previous: Type | None, type_: Type) -> Type:
        if previous is None:
            return type_
        if self.inference.assignable(previous, type_):
            return most_general(self.inference.resolve(previous), self.inference.resolve(type_))
        return DYN

    def struct(self, node: Struct) -> Type:
        type_ = self.env.struct(node.name)
        if type_ is None:
            if self.lookup(node.name) is not None:
                self.issue(node.pos, f"'{node.name}' is not a message type")
            else:
                self.issue(node.pos, f"undeclared reference to '{node.name}' (in container '')")
        for pos, name, value, optional in node.entries:
            found = self.inference.resolve(self.check(value))
            if type_ is None:
                continue
            if optional:
                found = self.unwrapped(value, found)
            field = type_.fields.get(name)
            if field is None:
                self.issue(pos, f"undefined field '{name}'")
            elif not self.inference.assignable(field.type, found):
                expected, given = self.text(field.type), self.text(found)
                message = f"expected type of field '{name}' is '{expected}' but provided type is '{given}'"
                self.issue(pos, message)
        return type_ or ERROR

    # --- macros ----------------------------------------------------------------------------------

    def macro(self, node: Macro) -> Type:
        if node.kind in ("optMap", "optFlatMap"):
            return self.optional_macro(node)
        range_ = self.inference.resolve(self.check(node.range))
        self.scopes.append(dict(zip(node.variables, self.iterated(node, range_), strict=True)))
        result = self.comprehension(node, range_)
        self.scopes.pop()
        return result

    def iterated(self, node: Macro, range_: Type) -> tuple[Type, ...]:
        """The types of the iteration variables."""
        two = len(node.variables) == 2
        if range_.kind == "list":
            return (INT, range_.params[0]) if two else (range_.params[0],)
        if range_.kind == "map":
            return range_.params if two else (range_.params[0],)
        if range_.kind not in ("dyn", "error", "param"):
            message = f"expression of type '{self.text(range_)}' cannot be range of a comprehension"
            self.issue(node.range.pos, f"{message} (must be list, map, or dynamic)")
            return (ERROR,) * len(node.variables)
        return (DYN,) * len(node.variables)

    def comprehension(self, node: Macro, range_: Type) -> Type:
        kind = node.kind
        condition = DYN if node.condition is None else self.inference.resolve(self.check(node.condition))
        if kind in ("all", "exists"):
            self.predicate(node, condition, "_&&_" if kind == "all" else "_||_", (BOOL, condition))
            return BOOL
        if kind == "exists_one":
            self.predicate(node, condition, "_?_:_", (condition, INT, INT))
            return BOOL
        if kind == "filter":
            element = self.scopes[-1][node.variables[-1]]
            made = list_of(element, max_size=range_.max_size)
            self.predicate(node, condition, "_?_:_", (condition, made, made))
            return made
        assert node.body is not None
        body = self.inference.resolve(self.check(node.body))
        if kind in ("map", "transformList"):
            made = list_of(body, max_size=range_.max_size)
        elif kind == "transformMap":
            key = self.scopes[-1][node.variables[0]]
            made = map_of(key, body, max_size=range_.max_size)
        else:
            if body.kind not in ("map", "dyn", "error"):
                made = map_of(DYN, DYN)
                signature = f"({self.text(made)}, {self.text(body)})"
                self.issue(node.pos, f"found no matching overload for 'cel.@mapInsert' applied to '{signature}'")
            made = map_of(*body.params, max_size=range_.max_size) if body.kind == "map" else map_of(DYN, DYN)
        if node.condition is not None:
            self.predicate(node, condition, "_?_:_", (condition, made, made))
        return made

    def predicate(self, node: Macro, condition: Type, function: str, arguments: tuple[Type, ...]) -> None:
        """A predicate must be a bool; the message names the operator that the macro stands for."""
        if not self.inference.assignable(BOOL, condition):
            signature = ", ".join(map(self.text, arguments))
            self.issue(node.pos, f"found no matching overload for '{function}' applied to '({signature})'")

    def optional_macro(self, node: Macro) -> Type:
        target = self.inference.resolve(self.check(node.range))
        if target.kind == "optional":
            inner = self.inference.resolve(target.params[0])
        else:
            inner = DYN
            if target.kind not in ("dyn", "error", "param"):
                signature = f"{self.text(target)}.()"
                self.issue(node.pos, f"found no matching overload for 'hasValue' applied to '{signature}'")
        self.scopes.append({node.variables[0]: inner})
        assert node.body is not None
        body = self.inference.resolve(self.check(node.body))
        self.scopes.pop()
        if node.kind == "optMap":
            return optional_of(body)
        if body.kind not in ("optional", "dyn", "error"):
            other = optional_of(self.inference.fresh())
            signature = f"(bool, {self.text(body)}, {self.text(other)})"
            self.issue(node.pos, f"found no matching overload for '_?_:_' applied to '{signature}'")
        return body

    def constant(self, node: Literal) -> Type:
        return node.type


_CHECKS: dict[type[Node], Callable[[Checker, Any], Type]] = {
    Literal: Checker.constant,
    Ident: Checker.ident,
    Select: Checker.select,
    Call: Checker.call,
    ListNode: Checker.list_literal,
    MapNode: Checker.map_literal,
    Struct: Checker.struct,
    Macro: Checker.macro,
}


def member_of(type_: Type, name: str) -> Field | None:
    """An object's field; a keyword may be written as it is, or escaped as ``__keyword__``."""
    return type_.fields.get(name) or type_.fields.get(f"__{name}__")


def qualified(node: Node) -> str | None:
    """``a.b.c`` as a dotted name, if it is one."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.test:
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    return ".".join([node.name, *reversed(parts)])
