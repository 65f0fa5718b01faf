"""How expressions see the values of a schema."""

from __future__ import annotations

from typing import Any

import pytest

from kcore.api.expressions import escape, type_of, unescape
from kcore.api.schema import Schema
from kcore.cel import Budget, CompileError, Environment, EvaluationError
from kcore.cel.types import optional_of
from kcore.cel.values import NONE, Optional

STRING = Schema(type="string")
INTEGER = Schema(type="integer")


def formatted(name: str) -> Schema:
    return Schema(type="string", format=name)


PORT = Schema(type="object", properties={"name": STRING, "port": INTEGER, "at": formatted("date-time")})
ROOT = Schema(
    type="object",
    properties={
        "namespace": STRING,
        "a.b/c-d": STRING,
        "x__y": STRING,
        "1bad": STRING,
        "port": Schema(type="int-or-string"),
        "ratio": Schema(type="number"),
        "when": formatted("date-time"),
        "day": formatted("date"),
        "span": formatted("duration"),
        "raw": formatted("byte"),
        "times": Schema(type="array", items=formatted("date-time")),
        "spans": Schema(type="object", values=formatted("duration")),
        "ratios": Schema(type="array", items=Schema(type="number")),
        "set": Schema(type="array", items=STRING, list_type="set"),
        "ports": Schema(type="array", items=PORT, list_type="map", list_map_keys=("name",)),
        "plain": Schema(type="array", items=STRING),
        "any": Schema(preserve_unknown=True),
        "open": Schema(type="object", preserve_unknown=True, properties={"known": STRING}),
        "embedded": Schema(type="object", embedded=True, preserve_unknown=True),
        "maybe": Schema(type="string", nullable=True),
        "loose": Schema(type="array"),
        "labels": Schema(type="object", values=STRING),
    },
)
VALUE: dict[str, Any] = {
    "namespace": "n",
    "a.b/c-d": "odd",
    "x__y": "under",
    "port": "50%",
    "ratio": 1,
    "when": "2024-01-02T03:04:05.000000001Z",
    "day": "2024-01-02",
    "span": "1h30m",
    "raw": "aGk=",
    "times": ["2024-01-02T03:04:05Z"],
    "spans": {"a": "60s"},
    "ratios": [1, 2.5],
    "set": ["a", "b"],
    "ports": [{"name": "x", "port": 1, "at": "2024-01-02T03:04:05Z"}, {"name": "y", "port": 2}],
    "plain": ["a", "b"],
    "open": {"known": "k", "unknown": "u"},
    "embedded": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "e"}},
    "maybe": None,
    "labels": {"app": "x"},
}
TYPE = type_of(ROOT)
ENV = Environment({"self": TYPE, "oldSelf": TYPE})


def run(expression: str, value: Any = VALUE, old: Any = VALUE) -> Any:
    return ENV.compile(expression).run({"self": value, "oldSelf": old}, budget=Budget(10_000_000))


@pytest.mark.parametrize(
    "expression",
    [
        "self.__namespace__ == 'n' && self.a__dot__b__slash__c__dash__d == 'odd' && self.x__underscores__y == 'under'",
        "self.namespace == 'n' && has(self.__namespace__)",
        "type(self.port) == string && self.port.matches('^[0-9]+%$') && self.port != 5",
        "self.ratio == 1.0 && type(self.ratio) == double && self.ratio / 2.0 == 0.5",
        "self.when.getFullYear() == 2024 && self.when > timestamp('2024-01-02T03:04:05Z')",
        "self.day == timestamp('2024-01-02T00:00:00Z') && self.when - self.day < duration('4h')",
        "self.span == duration('90m') && self.span.getMinutes() == 90",
        "self.raw == b'hi' && string(self.raw) == 'hi'",
        "self.times[0].getDate() == 2 && self.times.all(t, t.getHours() == 3)",
        "timestamp('2024-01-02T03:04:05Z') in self.times && self.times == [timestamp('2024-01-02T03:04:05Z')]",
        "self.spans.a == duration('1m') && self.spans['a'] == duration('1m')",
        "self.spans.all(k, v, v == self.spans.a)",
        "self.ratios.sum() == 3.5 && self.ratios.max() == 2.5 && 1.0 in self.ratios",
        "self.ports[0].at.getHours() == 3 && self.ports.exists(p, has(p.at) && p.at.getDate() == 2)",
        "self.open.known == 'k'",
        "self.embedded.metadata.name == 'e' && self.embedded.kind == 'K'",
        "has(self.maybe) && dyn(self.maybe) == null",
        "self.labels.app == 'x' && !has(self.labels.tier) && self.?labels.?tier.orValue('none') == 'none'",
        "dyn(self).labels.app == 'x'",
        "self.?when.hasValue() && self.?when.value().getFullYear() == 2024",
        "self.set + ['b', 'c'] == ['c', 'a', 'b'] || (self.set + ['b', 'c']).size() == 3",
        "self.ports.map(p, p.port).sum() == 3",
    ],
)
def test_expression_holds(expression: str) -> None:
    assert run(expression) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("self.any", "undefined field 'any'"),
        ("self.open.unknown", "undefined field 'unknown'"),
        ("self.loose", "undefined field 'loose'"),
        ("self.maybe == null", "found no matching overload for '_==_' applied to '(string, null)'"),
        ("self.when == 'x'", "found no matching overload for '_==_' applied to '(timestamp, string)'"),
        ("self.embedded.spec", "undefined field 'spec'"),
        ("self.metadata", "undefined field 'metadata'"),
        ("self.labels.all(k, k > 1)", "found no matching overload for '_>_' applied to '(string, int)'"),
        (
            "self.plain == self.ratios",
            "no matching overload for '_==_' applied to '(list(string), list(double))'",
        ),
    ],
)
def test_what_a_schema_does_not_show_does_not_compile(expression: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        ENV.compile(expression)
    assert message in str(caught.value)


def changed(**members: Any) -> dict[str, Any]:
    return {**VALUE, **members}


def test_sets_and_associative_lists_are_compared_without_order() -> None:
    assert run("self.set == oldSelf.set", old=changed(set=["b", "a"])) is True
    assert run("self.set == oldSelf.set", old=changed(set=["b", "c"])) is False
    turned = changed(ports=VALUE["ports"][::-1])
    assert run("self.ports == oldSelf.ports", old=turned) is True
    assert run("self == oldSelf", old=turned) is True
    assert run("self != oldSelf", old=turned) is False
    assert run("self.plain == oldSelf.plain", old=changed(plain=["b", "a"])) is False
    other = changed(ports=[{**VALUE["ports"][0], "port": 9}, VALUE["ports"][1]])
    assert run("self.ports == oldSelf.ports", old=other) is False


def test_what_is_written_differently_but_means_the_same_is_equal() -> None:
    same = changed(when="2024-01-02T04:04:05.000000001+01:00", span="5400s", ratio=1.0)
    assert run("self == oldSelf && self.when == oldSelf.when && self.span == oldSelf.span", old=same) is True


def test_associative_lists_are_merged_when_added() -> None:
    more = changed(ports=[{"name": "y", "port": 5}, {"name": "z", "port": 3}])
    assert run("(self.ports + oldSelf.ports).map(p, p.name)", old=more) == ["x", "y", "z"]
    assert run("(self.ports + oldSelf.ports).map(p, p.port)", old=more) == [1, 5, 3]
    assert run("self.set + oldSelf.set", old=changed(set=["b", "c"])) == ["a", "b", "c"]


def test_the_root_of_a_resource_has_its_type_and_names() -> None:
    env = Environment({"self": type_of(Schema(type="object", properties={"spec": PORT}), resource=True)})
    program = env.compile("self.metadata.name == 'x' && self.kind == 'K' && !has(self.metadata.generateName)")
    value = {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x", "labels": {}}, "spec": {}}
    assert program.run({"self": value}, budget=Budget(1000)) is True
    with pytest.raises(CompileError, match="undefined field 'labels'"):
        env.compile("self.metadata.labels")


def test_a_rule_on_a_scalar_sees_it_converted() -> None:
    type_ = type_of(formatted("date-time"))
    program = Environment({"self": type_, "oldSelf": optional_of(type_)}).compile("oldSelf.orValue(self) <= self")
    at = "2024-01-02T03:04:05Z"
    assert program.run({"self": at, "oldSelf": NONE}, budget=Budget(100)) is True
    assert program.run({"self": at, "oldSelf": Optional(True, "2025-01-01T00:00:00Z")}, budget=Budget(100)) is False


def test_a_string_that_its_format_forbids_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="invalid date-time x"):
        run("self.when.getFullYear() > 1", changed(when="x"))


def test_a_schema_may_contain_itself() -> None:
    tree = Schema(type="object", properties={"name": STRING})
    tree.properties["children"] = Schema(type="array", items=tree)
    tree.properties["left"] = tree
    env = Environment({"self": type_of(tree), "oldSelf": type_of(tree)})
    value = {"name": "a", "left": {"left": {"name": "c"}}, "children": [{"name": "b", "children": []}]}
    program = env.compile("self.left.left.name == 'c' && self.children[0].children.size() == 0 && self == oldSelf")
    assert program.run({"self": value, "oldSelf": value}, budget=Budget(1000)) is True


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("plain", "plain"),
        ("namespace", "__namespace__"),
        ("in", "__in__"),
        ("x.y", "x__dot__y"),
        ("x-y", "x__dash__y"),
        ("x/y", "x__slash__y"),
        ("x__y", "x__underscores__y"),
        ("self", "self"),
        ("__namespace__", "__underscores__namespace__underscores__"),
    ],
)
def test_names_are_escaped_and_back(name: str, escaped: str) -> None:
    assert escape(name) == escaped
    assert unescape(escaped) == name


@pytest.mark.parametrize("name", ["1x", "ö", "", "a b", "$"])
def test_some_names_have_no_form_in_expressions(name: str) -> None:
    assert escape(name) is None
