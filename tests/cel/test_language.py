"""Expressions and their values: the language itself, table by table."""

from __future__ import annotations

from typing import Any

import pytest

from kcore.cel import Budget, Environment, EvaluationError
from kcore.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, list_of, map_of, object_type
from kcore.cel.values import UInt

SELF = object_type(
    "selfType",
    {
        "replicas": INT,
        "name": STRING,
        "on": BOOL,
        "tags": list_of(STRING),
        "labels": map_of(STRING, STRING),
        "since": TIMESTAMP,
        "any": DYN,
    },
)
ENV = Environment({"self": SELF, "object": DYN})
VALUES: dict[str, Any] = {
    "self": {
        "replicas": 3,
        "name": "wörk",
        "on": True,
        "tags": ["a", "b", "ab"],
        "labels": {"app": "x", "tier": "y"},
        "since": "2024-02-29T13:14:15.5+02:00",
        "any": {"deep": [1, {"x": None}]},
    },
    "object": {"spec": {"containers": [{"image": "r/a", "n": 1}, {"image": "r/b", "n": 2.0}]}, "kind": "Pod"},
}


def run(expression: str, **more: Any) -> Any:
    return ENV.compile(expression).run({**VALUES, **more}, budget=Budget(10_000_000))


TRUE = """
1 + 2 * 3 == 7
(1 + 2) * 3 == 9
7 / 2 == 3 && -7 / 2 == -3 && 7 % -2 == 1 && -7 % 2 == -1
7.0 / 2.0 == 3.5
dyn(1) == 1.0 && dyn(1u) == 1 && dyn(1.0) == 1u
dyn(true) != dyn(1)
!(dyn(1) in [dyn(true)])
[1, 2] == [1, 2] && [1, 2] != [2, 1]
[dyn(1)] == [1.0]
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
null == null && dyn(null) != dyn(0)
1 < 2 && 2 <= 2 && 3u > 2u && 'b' >= 'a' && b'a' < b'b'
1 < 1.5 && 2u > 1 && 1u <= 1.0
'abc' + 'def' == 'abcdef' && b'a' + b'b' == b'ab' && [1] + [2] == [1, 2]
size('wörk') == 4 && 'wörk'.size() == 4 && size(b'\\xc3\\xb6') == 2
'x' in {'x': 1} && !('y' in {'x': 1})
2 in [1, 2] && !(3 in [1, 2])
true ? true : false
false || true && true
true || 1 / 0 == 1
1 / 0 == 1 || true
!(false && 1 / 0 == 1) && !(1 / 0 == 1 && false)
0x10 == 16 && -0x10 == -16 && 0x10u == 16u
1e3 == 1000.0 && .5 == 0.5
'\\u00f6' == 'ö' && '\\x41\\101' == 'AA' && r'\\n' == '\\\\n'
'''a
b''' == 'a\\nb'
b'\\xff'.size() == 1
type(1) == int && type('') == string && type([]) == list && type({}) == map && type(null) == null_type
type(1u) == uint && type(1.0) == double && type(b'') == bytes && type(true) == bool && type(int) == type
type(timestamp('2024-01-01T00:00:00Z')) == google.protobuf.Timestamp
string(1e6) == '1e+06' && string(123456.5) == '123456.5' && string(1.5e-7) == '1.5e-07' && string(-0.5) == '-0.5'
string(1.23456789e9) == '1.23456789e+09' && string(100.0) == '100' && string(0.0) == '0'
int('12') == 12 && int(1.9) == 1 && int(-1.9) == -1 && int(3u) == 3 && uint(3) == 3u && double('1.5') == 1.5
string(1) == '1' && string(1.5) == '1.5' && string(true) == 'true' && string(b'ab') == 'ab' && string(1u) == '1'
bytes('ö').size() == 2 && bool('true') && !bool('0')
'abc'.contains('b') && 'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.matches('^a.c$')
matches('abc', 'b') && !'abc'.matches('^b')
has(self.name) && !has(object.nothing) && has(object.spec.containers)
self.replicas == 3 && self.name == 'wörk' && self.on
self.labels.app == 'x' && self.labels['tier'] == 'y' && 'app' in self.labels
self.any.deep[1].x == null
self.tags[0] == 'a' && self.tags[dyn(1)] == 'b'
self.since.getHours() == 11 && self.since.getFullYear() == 2024 && self.since.getMonth() == 1
self.since.getDate() == 29 && self.since.getDayOfMonth() == 28 && self.since.getDayOfYear() == 59
self.since.getDayOfWeek() == 4 && self.since.getMilliseconds() == 500
self.since.getHours('+02:00') == 13 && self.since.getHours('Europe/Berlin') == 12
self.since - timestamp('2024-02-29T11:14:15Z') == duration('500ms')
self.since + duration('1h') > self.since && duration('1h') + duration('30m') == duration('90m')
duration('3723s').getHours() == 1 && duration('3723s').getMinutes() == 62 && duration('1.5s').getMilliseconds() == 1500
string(duration('1h')) == '3600s' && string(timestamp('2024-01-01T00:00:00.120Z')) == '2024-01-01T00:00:00.12Z'
int(timestamp('1970-01-01T00:01:00Z')) == 60 && timestamp(60) == timestamp('1970-01-01T00:01:00Z')
self.tags.all(x, x != '') && self.tags.exists(x, x == 'b') && self.tags.exists_one(x, x == 'ab')
!self.tags.exists_one(x, x.startsWith('a')) && !self.tags.all(x, x == 'a')
self.tags.map(x, x + '!') == ['a!', 'b!', 'ab!'] && self.tags.map(x, x.size() == 1, x) == ['a', 'b']
self.tags.filter(x, x.contains('a')) == ['a', 'ab']
self.labels.all(k, k.size() >= 3) && self.labels.map(k, k).size() == 2 && self.labels.exists(k, k == 'app')
[1, 2, 3].all(i, v, i < v) && {'a': 1}.all(k, v, k == 'a' && v == 1) && [5].exists(i, v, i == 0 && v == 5)
[1, 1].existsOne(i, v, i == 1) && {'a': 1, 'b': 2}.exists_one(k, v, v == 2)
[4, 5].transformList(i, v, i + v) == [4, 6] && [4, 5].transformList(i, v, i > 0, v) == [5]
{'a': 1}.transformMap(k, v, v + 1) == {'a': 2} && {'a': 1, 'b': 2}.transformMap(k, v, v > 1, v) == {'b': 2}
['x', 'y'].transformMapEntry(i, v, {v: i}) == {'x': 0, 'y': 1}
[[1, 2], [3]].map(l, l.map(x, x * 2)) == [[2, 4], [6]]
[1, 2].map(x, [3, 4].map(y, x * y)) == [[3, 4], [6, 8]]
[0, 1].exists(x, 1 / x == 1) && !([0, 1].all(x, 1 / x == 2))
object.spec.containers.all(c, c.image.startsWith('r/')) && object.spec.containers.map(c, c.n) == [1, 2]
object.spec.containers[1].n == 2 && object.kind == 'Pod'
{1: 'a', 2: 'b'}[1] == 'a' && {true: 1}[true] == 1 && {1u: 2}[1u] == 2
[1, 2,] == [1, 2] && {'a': 1,} == {'a': 1}
--1 == 1 && !!true && - 1 == -1
1 // a comment
  == 1
""".strip().replace("'''a\nb'''", "'''a\\0b'''")


@pytest.mark.parametrize(
    "expression",
    [line.replace("\\0", "\n") for line in TRUE.replace("comment\n", "comment\\0").splitlines()],
)
def test_expression_holds(expression: str) -> None:
    assert run(expression) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("1u / 0u", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775807 - 2", "integer overflow"),
        ("9223372036854775807 * 2", "integer overflow"),
        ("-(-9223372036854775807 - 1)", "integer overflow"),
        ("(-9223372036854775807 - 1) / -1", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("uint(-1)", "unsigned integer overflow"),
        ("int(1e19)", "integer overflow"),
        ("int(18446744073709551615u)", "integer overflow"),
        ("self.tags[5]", "index out of bounds: 5"),
        ("self.tags[-1]", "index out of bounds: -1"),
        ("self.labels.nope", "no such key: nope"),
        ("self.labels['nope']", "no such key: nope"),
        ("object.spec.nope", "no such key: nope"),
        ("object.spec.nope.deeper", "no such key: nope"),
        ("object.kind.deeper", "no such overload"),
        ("has(object.nope.deeper)", "no such key: nope"),
        ("object.kind + 1", "no such overload"),
        ("object.kind < 1", "no such overload"),
        ("object.kind && true", "no such overload"),
        ("true && object.kind", "no such overload"),
        ("!object.kind", "no such overload"),
        ("object.kind ? 1 : 2", "no such overload"),
        ("object.kind.all(x, true)", "no such overload"),
        ("size(object.nope)", "no such key: nope"),
        ("object.spec.containers.all(c, c.image)", "no such overload"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("[0, 2].all(x, 2 / x == 1)", "division by zero"),
        ("false || 1 / 0 == 1", "division by zero"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
        ("self.since.getHours('Nowhere/Land')", "unknown time zone Nowhere/Land"),
        ("uint('-1')", "type conversion error from 'string' to 'uint'"),
        ("double('x')", "type conversion error from 'string' to 'double'"),
        ("bool('x')", "type conversion error from 'string' to 'bool'"),
        ("duration(self.name)", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("timestamp(self.name)", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
        ("{[1]: 2}", "no such overload"),
    ],
)
def test_evaluation_fails_in_upstream_words(expression: str, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        run(expression)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1u", UInt(1)),
        ("self.tags.map(x, size(x))", [1, 1, 2]),
        ("self.name + '!'", "wörk!"),
        ("{'a': [dyn(1), null]}", {"a": [1, None]}),
    ],
)
def test_results_are_plain_python(expression: str, value: Any) -> None:
    assert run(expression) == value


def test_a_program_runs_many_times_and_keeps_nothing() -> None:
    program = ENV.compile("self.tags.map(x, x + object)")
    budget = Budget(1_000_000)
    for word in ("1", "2"):
        assert program.run({"self": {"tags": ["a"]}, "object": word}, budget=budget) == ["a" + word]
    assert program.references == {"self", "object"}


def test_a_missing_variable_is_an_error_of_the_evaluation() -> None:
    with pytest.raises(EvaluationError, match="no such attribute"):
        ENV.compile("self.replicas > 1").run({}, budget=Budget(100))
