"""What the CEL rules of a schema may cost, by estimate: each of them, and all together.

An estimate is for one value; a rule of a list's items counts as often as there can be items. Where nobody has set a
bound, as many are assumed as fit into a request.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from kcore.api import fields
from kcore.api.expressions import CRD_ESTIMATE_LIMIT, MAX_REQUEST, RULE_ESTIMATE_LIMIT
from kcore.cel import Environment, Program
from kcore.errors import Cause

_TOTAL = "estimated rule & messageExpression cost total"


@attrs.define
class Costs:
    spent: int = 0
    dearest: list[tuple[int, str]] = attrs.Factory(list)

    def rule(self, path: str, program: Program, environment: Environment, times: int | None) -> Iterator[Cause]:
        yield from self._one("estimated rule cost", path, program, environment, times)

    def message(self, path: str, program: Program, environment: Environment, times: int | None) -> Iterator[Cause]:
        yield from self._one("estimated messageExpression cost", path, program, environment, times)

    def _one(
        self, what: str, path: str, program: Program, environment: Environment, times: int | None
    ) -> Iterator[Cause]:
        if times is None:
            times = MAX_REQUEST // (environment.variables["self"].min_json + 1)
        cost = program.estimate()[1] * times
        self.spent += cost
        self.dearest.append((cost, path))
        if cost > RULE_ESTIMATE_LIMIT:
            yield fields.forbidden(path, _too_much(what, cost, RULE_ESTIMATE_LIMIT))

    def total(self, path: str) -> Iterator[Cause]:
        if self.spent <= CRD_ESTIMATE_LIMIT:
            return
        for cost, where in sorted(self.dearest, reverse=True)[:4]:
            if cost > CRD_ESTIMATE_LIMIT // 100:
                yield fields.forbidden(
                    where, f"contributed to {_TOTAL} exceeding cost limit for entire OpenAPIv3 schema"
                )
        what = f"x-kubernetes-validations {_TOTAL} for entire OpenAPIv3 schema"
        yield fields.forbidden(path, _too_much(what, self.spent, CRD_ESTIMATE_LIMIT))


def _too_much(what: str, cost: int, limit: int) -> str:
    times = cost / limit
    factor = "more than 100x" if times > 100 else f"{times:f}x" if times < 1.5 else f"{times:.1f}x"
    return (
        f"{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )
