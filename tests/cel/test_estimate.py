"""What expressions are estimated to cost, over types with and without limits. The figures are upstream's."""

from __future__ import annotations

from typing import Any

import pytest

from kcore.api.expressions import type_of
from kcore.api.schema import Schema
from kcore.cel import Budget, Environment


def array(items: Schema, most: int | None = None) -> Schema:
    return Schema(type="array", items=items, rules={} if most is None else {"maxItems": most})


def mapping(values: Schema, most: int | None = None) -> Schema:
    return Schema(type="object", values=values, rules={} if most is None else {"maxProperties": most})


def text(most: int | None = None) -> Schema:
    return Schema(type="string", rules={} if most is None else {"maxLength": most})


NUMBER, BOOLEAN, INTEGER = Schema(type="number"), Schema(type="boolean"), Schema(type="integer")


@pytest.mark.parametrize(
    ("schema", "rule", "unlimited"),
    [
        (array(NUMBER), "self.all(x, true)", 4718591),
        (array(text()), "self.all(x, true)", 3145727),
        (array(BOOLEAN), "self.all(x, true)", 1887437),
        (array(NUMBER, 10), "self.all(x, true)", 32),
        (array(text(), 20), "self.all(x, true)", 62),
        (array(BOOLEAN, 5), "self.all(x, true)", 17),
        (mapping(NUMBER), "self.all(x, true)", 1348169),
        (mapping(text()), "self.all(x, true)", 1179647),
        (mapping(NUMBER, 10), "self.all(x, true)", 32),
        (text(), "self.contains('test')", 314574),
        (text(10), "self.contains('test')", 5),
        (text(), "self.matches('[a-z]+')", 629147),
        (text(), "self.startsWith('test')", 2),
        (text(), "self == 'abc'", 2),
        (INTEGER, "self > 1", 2),
        (array(text(5), 10), "self.all(x, self.all(y, x == y))", 752),
        (array(NUMBER), "self.size() > 3", 3),
        (text(), "quantity(self).isGreaterThan(quantity('1'))", 4),
    ],
)
def test_the_estimate_of_a_rule(schema: Schema, rule: str, unlimited: int) -> None:
    program = Environment({"self": type_of(schema)}).compile(rule)
    assert program.estimate().max == unlimited


def test_what_a_type_does_not_limit_is_limited_by_the_request() -> None:
    item = Schema(type="object", required=("key",), properties={"key": text(), "value": INTEGER})
    assert type_of(array(NUMBER)).max_size == 1572863
    assert type_of(array(item)).max_size == (3 * 1024 * 1024 - 2) // (2 + 3 + 2 + 4 + 1)
    assert type_of(array(item, 7)).max_size == 7
    assert type_of(mapping(NUMBER)).max_size == 449389
    assert type_of(NUMBER).max_size is None


@pytest.mark.parametrize(
    "rule",
    [
        "self.n > 1",
        "self.n + self.n * 2 == 3",
        "has(self.n) && self.n > 1",
        "self.l.all(x, x != 'zz')",
        "self.l.exists(x, x == 'zz')",
        "self.l.exists_one(x, x == 'aa')",
        "self.l.map(x, x + 'b').size() == 3",
        "self.l.filter(x, x == 'aa').size() == 3",
        "self.l.map(x, x != 'aa', x).size() == 3",
        "self.m.all(k, self.m[k] > 0)",
        "self.m.all(k, v, v > 0 && k != '')",
        "self.l.transformList(i, v, v + 'x').size() > 0",
        "self.m.transformMap(k, v, v + 1).size() > 0",
        "self.s.replace('a', 'b') == 'c' || self.s.contains('a')",
        "self.s.split(',').all(x, x.size() > 0)",
        "self.l.join(',').startsWith('a')",
        "self.n > 1 ? self.s == 'b' : self.l.size() > 2",
        "'aa' in self.l",
        "self.s.matches('^a+$')",
        "{'a': self.n}['a'] == [self.n][0]",
    ],
)
@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_run_costs_no_more_than_was_estimated(rule: str, length: int) -> None:
    schema = Schema(
        type="object",
        properties={
            "n": INTEGER,
            "s": text(10),
            "l": array(text(5), 7),
            "m": mapping(INTEGER, 7),
        },
    )
    program = Environment({"self": type_of(schema)}).compile(rule)
    value: dict[str, Any] = {
        "n": 2,
        "s": "a" * length,
        "l": ["aa"] * length,
        "m": {f"k{i}": i + 1 for i in range(length)},
    }
    budget = Budget(1_000_000)
    program.run({"self": value}, budget=budget)
    assert budget.spent <= program.estimate().max + 1
