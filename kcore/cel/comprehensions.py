"""Compiled macros: loops over lists and maps, and over the value of an optional.

Each is one closure with a Python loop in it. The fixed costs of a turn are those of the expansion that upstream
evaluates: reading the accumulator, the loop's condition, building the one-item list that is appended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from kcore.cel.code import Code, Frame, Run
from kcore.cel.errors import BudgetExceeded, EvaluationError
from kcore.cel.nodes import Macro
from kcore.cel.standard import TENTH
from kcore.cel.values import NONE, Optional, no_overload

# what a turn costs beside the condition and the body
PER_TURN = {"all": 3, "exists": 4, "exists_one": 1, "filter": 1, "map": 12, "transformList": 12, "transformMap": 3}
# what a turn costs more when its item is taken
PER_TAKEN = {"exists_one": 1, "filter": 12}
# before and after all turns: the accumulator's initial value, and the result
AROUND = {"all": 1, "exists": 1, "exists_one": 2, "filter": 11, "map": 11, "transformList": 11, "transformMap": 31}


@attrs.frozen
class Loop:
    """The parts of a loop: closures, and where its variables live in the frame."""

    items: Run
    slots: tuple[int, ...]
    condition: Run | None
    body: Run | None
    turn: int  # cost of a turn
    taken: int  # cost of a turn whose condition held, on top

    def turns(self, v: Frame) -> Iterable[None]:
        """Sets the variables for each item in turn and takes off a turn's cost."""
        values = self.items(v)
        turn = self.turn
        if len(self.slots) == 1:
            (slot,) = self.slots
            if not isinstance(values, list | dict):
                raise no_overload()
            for value in values:
                v[0] -= turn
                if v[0] < 0:
                    raise BudgetExceeded
                v[slot] = value
                yield
            return
        first, second = self.slots
        for key, value in pairs(values):
            v[0] -= turn
            if v[0] < 0:
                raise BudgetExceeded
            v[first] = key
            v[second] = value
            yield


def pairs(values: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(values, list):
        return enumerate(values)
    if isinstance(values, dict):
        return values.items()
    raise no_overload()


def compiled(node: Macro, items: Code, slots: tuple[int, ...], condition: Code | None, body: Code | None) -> Code:
    kind = "transformMap" if node.kind == "transformMapEntry" else node.kind
    turn = PER_TURN[kind] + (condition.cost if condition else 0)
    taken = PER_TAKEN.get(kind, 0) + (body.cost if body else 0)
    if condition is None:
        turn, taken = turn + taken, 0
    loop = Loop(items.run, slots, condition and condition.run, body and body.run, turn, taken)
    return Code(_MAKERS[node.kind](loop), items.cost + AROUND[kind])


def _quantified(loop: Loop, decisive: bool) -> Run:
    """``all`` and ``exists``: an item that decides hides the errors of others."""
    assert loop.condition is not None
    test = loop.condition
    if len(loop.slots) > 1:
        return _quantified_pairs(loop, test, decisive)
    (slot,) = loop.slots
    source, turn = loop.items, loop.turn

    def run(v: Frame) -> bool:
        items = source(v)
        if not isinstance(items, list | dict):
            raise no_overload()
        failure: EvaluationError | None = None
        for item in items:
            v[0] -= turn
            if v[0] < 0:
                raise BudgetExceeded
            v[slot] = item
            try:
                verdict: object = test(v)
            except EvaluationError as error:
                failure = error
                continue
            if verdict is decisive:
                return decisive
            if not isinstance(verdict, bool):
                failure = no_overload()
        if failure is not None:
            raise failure
        return not decisive

    return run


def _quantified_pairs(loop: Loop, test: Run, decisive: bool) -> Run:
    def run(v: Frame) -> bool:
        failure: EvaluationError | None = None
        for _ in loop.turns(v):
            try:
                verdict: object = test(v)
            except EvaluationError as error:
                failure = error
                continue
            if verdict is decisive:
                return decisive
            if not isinstance(verdict, bool):
                failure = no_overload()
        if failure is not None:
            raise failure
        return not decisive

    return run


def _taken(loop: Loop, v: Frame) -> Iterable[None]:
    """The turns whose condition holds."""
    test, taken = loop.condition, loop.taken
    for _ in loop.turns(v):
        if test is not None:
            verdict = test(v)
            if verdict is False:
                continue
            if verdict is not True:
                raise no_overload()
            v[0] -= taken
        yield


def _exists_one(loop: Loop) -> Run:
    return lambda v: sum(1 for _ in _taken(loop, v)) == 1


def _filter(loop: Loop) -> Run:
    slot = loop.slots[-1]
    return lambda v: [v[slot] for _ in _taken(loop, v)]


def _map(loop: Loop) -> Run:
    assert loop.body is not None
    body = loop.body
    return lambda v: [body(v) for _ in _taken(loop, v)]


def _transform_map(loop: Loop) -> Run:
    assert loop.body is not None
    body, key = loop.body, loop.slots[0]
    return lambda v: dict((v[key], body(v)) for _ in _taken(loop, v))  # noqa: C402 - the key is new in each turn


def _transform_entries(loop: Loop) -> Run:
    assert loop.body is not None
    body = loop.body

    def run(v: Frame) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for _ in _taken(loop, v):
            entry = body(v)
            if not isinstance(entry, dict):
                raise no_overload()
            v[0] -= len(entry) // TENTH
            for key, value in entry.items():
                if key in made:
                    raise EvaluationError(f"insert failed: key '{key}' already exists")
                made[key] = value
        return made

    return run


_MAKERS: dict[str, Callable[[Loop], Run]] = {
    "all": lambda loop: _quantified(loop, False),
    "exists": lambda loop: _quantified(loop, True),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
    "transformList": _map,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entries,
}


def over_optional(node: Macro, target: Code, slot: int, body: Run) -> Code:
    """``optMap`` and ``optFlatMap``: nothing stays nothing."""
    source = target.run
    flat = node.kind == "optFlatMap"

    def run(v: Frame) -> Any:
        value = source(v)
        if not isinstance(value, Optional):
            raise no_overload()
        if not value.present:
            return NONE
        v[slot] = value.value
        result = body(v)
        return result if flat else Optional(True, result)

    return Code(run, target.cost + 1)
