"""``has``, the comprehensions, and the macros of the optional type: recognised by name and number of arguments."""

from __future__ import annotations

from kcore.cel.nodes import Ident, Macro, Node, Select


class MacroError(Exception):
    """A macro is used wrongly."""

    def __init__(self, pos: int, message: str) -> None:
        super().__init__(message)
        self.pos = pos


# with one iteration variable: (kind, has a condition as well as a body) by name and number of arguments
_ONE = {
    ("all", 2): "all",
    ("exists", 2): "exists",
    ("exists_one", 2): "exists_one",
    ("existsOne", 2): "exists_one",
    ("filter", 2): "filter",
    ("map", 2): "map",
    ("map", 3): "map",
    ("optMap", 2): "optMap",
    ("optFlatMap", 2): "optFlatMap",
}
_TWO = {
    ("all", 3): "all",
    ("exists", 3): "exists",
    ("exists_one", 3): "exists_one",
    ("existsOne", 3): "exists_one",
    ("transformList", 3): "transformList",
    ("transformList", 4): "transformList",
    ("transformMap", 3): "transformMap",
    ("transformMap", 4): "transformMap",
    ("transformMapEntry", 3): "transformMapEntry",
    ("transformMapEntry", 4): "transformMapEntry",
}
_PREDICATES = frozenset(["all", "exists", "exists_one", "filter"])


def expand(pos: int, name: str, target: Node | None, args: tuple[Node, ...]) -> Node | None:
    """The node of a macro, or None if this is an ordinary call."""
    if target is None:
        if name == "has" and len(args) == 1:
            argument = args[0]
            if not isinstance(argument, Select) or argument.test:
                raise MacroError(argument.pos, "invalid argument to has() macro")
            return Select(pos, argument.operand, argument.field, test=True)
        return None
    if kind := _ONE.get((name, len(args))):
        return _one(pos, kind, target, args)
    if kind := _TWO.get((name, len(args))):
        return _two(pos, kind, target, args)
    return None


def _one(pos: int, kind: str, target: Node, args: tuple[Node, ...]) -> Node:
    variable = args[0]
    if not isinstance(variable, Ident) or variable.name.startswith("."):
        if kind in ("optMap", "optFlatMap"):
            raise MacroError(variable.pos, f"{kind}() variable name must be a simple identifier")
        raise MacroError(variable.pos, "argument must be a simple name")
    if variable.name == "__result__":
        raise MacroError(variable.pos, "iteration variable overwrites accumulator variable")
    if kind in _PREDICATES:
        return Macro(pos, kind, target, (variable.name,), args[1], None)
    condition, body = (args[1], args[2]) if len(args) == 3 else (None, args[1])
    return Macro(pos, kind, target, (variable.name,), condition, body)


def _two(pos: int, kind: str, target: Node, args: tuple[Node, ...]) -> Node:
    names = []
    for variable in args[:2]:
        if not isinstance(variable, Ident) or variable.name.startswith("."):
            raise MacroError(variable.pos, "argument must be a simple name")
        if variable.name == "__result__":
            raise MacroError(variable.pos, "iteration variable overwrites accumulator variable")
        names.append(variable.name)
    if names[0] == names[1]:
        raise MacroError(args[1].pos, f"duplicate variable name: {names[1]}")
    if kind in _PREDICATES:
        return Macro(pos, kind, target, tuple(names), args[2], None)
    condition, body = (args[2], args[3]) if len(args) == 4 else (None, args[2])
    return Macro(pos, kind, target, tuple(names), condition, body)
