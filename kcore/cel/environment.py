"""The surroundings an expression is compiled in, and the program that comes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from kcore.cel import compiler, libraries
from kcore.cel.checker import Checker
from kcore.cel.convert import converter
from kcore.cel.errors import BudgetExceeded, CompileError, EvaluationError
from kcore.cel.estimate import Estimator
from kcore.cel.functions import Function, merge
from kcore.cel.libraries.authorization import Pending
from kcore.cel.nodes import Node
from kcore.cel.parser import parse
from kcore.cel.sizes import Range
from kcore.cel.types import Type, same
from kcore.cel.values import no_overload

_DEEP = 20_000  # frames: a tree of the greatest depth that the parser lets through needs a few thousand


class Budget:
    """What evaluations may cost together. ``left`` goes down with each run; a program stops when it is below zero."""

    __slots__ = ("left", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    @property
    def spent(self) -> int:
        return self.limit - max(self.left, 0)


class Environment:
    """Declared variables, and all libraries that Kubernetes enables.

    ``structs`` are the object types that expressions may construct, by name (``Object.spec``): a mapping or anything
    with a ``get``.
    """

    def __init__(self, variables: Mapping[str, Type], *, structs: Mapping[str, Type] | None = None) -> None:
        self.variables = dict(variables)
        self.structs: Mapping[str, Type] = structs or {}
        self.functions, self.names = _base()

    def extend(self, variables: Mapping[str, Type], *, structs: Mapping[str, Type] | None = None) -> Environment:
        """An environment with more variables."""
        return Environment({**self.variables, **variables}, structs=structs or self.structs)

    def struct(self, name: str) -> Type | None:
        return self.structs.get(name)

    def compile(self, expression: str, *, result: Iterable[Type] | None = None) -> Program:
        """The program. CompileError if it is none, or if its type is none of ``result`` (a dyn is let through)."""
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(before, _DEEP))
        try:
            root = parse(expression)
            checker = Checker(expression, self)
            checker.run(root)
            if issues := libraries.validate(root):
                raise CompileError(expression, issues)
            program = Program(expression, root, self, frozenset(checker.references))
        finally:
            sys.setrecursionlimit(before)
        if result is not None:
            wanted = tuple(result)
            if program.type.kind != "dyn" and not any(same(program.type, type_) for type_ in wanted):
                raise ResultError(expression, wanted, program.type)
        return program


class ResultError(CompileError):
    """The expression is fine but gives the wrong type. ``str()`` is how Kubernetes says it."""

    def __init__(self, source: str, wanted: tuple[Type, ...], found: Type) -> None:
        self.issues = ()
        names = [str(type_) for type_ in wanted]
        expected = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
        Exception.__init__(self, f"must evaluate to {expected} but got {found}")


@lru_cache(maxsize=1)
def _base() -> tuple[Mapping[str, Function], Mapping[str, Type]]:
    made = libraries.load()
    names: dict[str, Type] = {}
    for library in made:
        names.update(library.names)
    return merge(made), names


class Program:
    """A compiled expression: runs any number of times, holds nothing between runs."""

    def __init__(self, expression: str, root: Node, environment: Environment, references: frozenset[str]) -> None:
        self.expression = expression
        self.type = root.type
        self.references = references
        self._root = root
        self._environment = environment
        names = tuple(environment.variables)
        self._run, self._cost, self._size = compiler.build(root, names)
        self._variables = tuple(
            (index + 1, name, converter(environment.variables[name]))
            for index, name in enumerate(names)
            if name in references
        )

    def estimate(self) -> Range:
        """What a run costs at least and at most, as (min, max), by the sizes that the variables' types allow."""
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(before, _DEEP))
        try:
            return Estimator(self._environment.variables).cost(self._root)
        finally:
            sys.setrecursionlimit(before)

    async def arun(self, values: Mapping[str, Any], *, budget: Budget) -> Any:
        """As `run`, for environments with an ``authorizer``: the checks that the expression makes are awaited."""
        left = budget.left
        while True:
            try:
                return self.run(values, budget=budget)
            except Pending as pending:
                # each round answers one check more, and the last alone is paid for
                await pending.resolve()
                budget.left = left

    def run(self, values: Mapping[str, Any], *, budget: Budget) -> Any:
        """The value. EvaluationError if there is none, BudgetExceeded if it costs more than what is left."""
        frame: list[Any] = [None] * self._size
        frame[0] = budget.left - self._cost
        try:
            for slot, name, convert in self._variables:
                value = values[name]
                frame[slot] = value if convert is None else convert(value)
            result = self._run(frame)
        except KeyError as error:
            if any(name not in values for _, name, _ in self._variables):
                raise EvaluationError(f"no such attribute(s): {error.args[0]}") from None
            raise no_overload() from error
        except (TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
            # a value that is not of the declared type, or nested deeper than Python can compare
            raise no_overload() from error
        finally:
            budget.left = frame[0]
        if budget.left < 0:
            raise BudgetExceeded
        return result
