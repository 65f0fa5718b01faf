"""What the compiler makes of a node: a closure over a frame, and what it costs whenever it runs.

A frame is a list: slot 0 holds the budget that is left, the others hold the variables. Costs that do not depend on
values are added up when the expression is compiled and taken off once per stretch of code that always runs as a
whole: the program, an operand that may be skipped, a loop's body. What depends on values (lengths) is taken off where
it arises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kcore.cel.errors import BudgetExceeded

Frame = list[Any]
Run = Callable[[Frame], Any]


class Code(NamedTuple):
    run: Run
    cost: int = 0


def charged(code: Code) -> Run:
    """The closure that pays its own fixed cost: for code that may run never or many times."""
    run, cost = code
    if cost == 0:
        return run

    def paying(v: Frame) -> Any:
        v[0] -= cost
        return run(v)

    return paying


def exceeded() -> BudgetExceeded:
    return BudgetExceeded()
