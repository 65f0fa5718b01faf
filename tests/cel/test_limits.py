"""What nobody should write, and somebody will: deep, long, dear and malformed expressions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcore.cel import Budget, BudgetExceeded, CompileError, Environment, EvaluationError
from kcore.cel.types import BOOL, DYN, INT, STRING, list_of, object_type

ENV = Environment(
    {"self": object_type("t", {"s": STRING, "l": list_of(STRING), "n": INT, "b": BOOL}), "any": DYN},
)
SELF = {"s": "x" * 1000, "l": ["a"] * 100, "n": 1, "b": True}


def run(expression: str, budget: int = 1_000_000) -> Any:
    return ENV.compile(expression).run({"self": SELF, "any": {"k": [1]}}, budget=Budget(budget))


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 300 + "1" + ")" * 300,
        "[" * 5000 + "]" * 5000,
        "{1:" * 5000,
        "-" * 5000 + "x",
        "!" * 3000 + "-" * 3000,
        "1" + " + 1" * 300,
        "self" + ".s" * 300,
        "any" + "[0]" * 300,
        "1 ? 1 : " * 300 + "1",
        "[1].map(x, " * 300 + "x" + ")" * 300,
        "self.l" + ".filter(x, true)" * 300,
        "1 < " * 400 + "1",
        "[[1]]" + ".map(a, {a: a})" * 60,
    ],
)
def test_what_is_too_deep_is_refused(expression: str) -> None:
    with pytest.raises(CompileError):
        ENV.compile(expression)


def test_the_depth_limit_says_so() -> None:
    with pytest.raises(CompileError) as caught:
        ENV.compile("(" * 300 + "1" + ")" * 300)
    assert str(caught.value) == "ERROR: <input>:-1:0: expression recursion limit exceeded: 250"


def test_what_is_just_not_too_deep_runs() -> None:
    assert run("(" * 200 + "1" + ")" * 200) == 1
    assert run("1" + " + 1" * 200) == 201
    assert run("1 == 1 ? 1 : " * 100 + "2") == 1


def test_a_deep_expression_over_unknown_types_compiles_at_once() -> None:
    assert run("any.k[0]" + " + any.k[0]" * 200) == 201
    assert run("any.k[0]" + " + any.k[0] * 1" * 200) == 201
    with pytest.raises(EvaluationError):
        run("any.k[0]" + ".add(any.k)" * 100)


def test_chains_of_and_and_or_may_be_long() -> None:
    assert run(" && ".join(["self.b"] * 5000)) is True
    assert run(" || ".join(["!self.b"] * 5000)) is False


def test_an_expression_of_more_than_a_hundred_thousand_characters_is_refused() -> None:
    with pytest.raises(CompileError) as caught:
        ENV.compile("1 + " * 30_000 + "1")
    expected = "ERROR: <input>:-1:0: expression code point size exceeds limit: size: 120001, limit 100000"
    assert str(caught.value) == expected


def test_a_long_literal_is_no_problem() -> None:
    assert run("size('" + "a" * 90_000 + "')") == 90_000
    assert run("size([" + "1," * 30_000 + "])") == 30_000


@pytest.mark.parametrize(
    "expression",
    [
        "self.l.all(a, self.l.all(b, self.l.all(c, a == b && b == c)))",
        "self.l.map(a, self.l.map(b, self.l.map(c, a + b + c))).size() > 0",
        # what doubles with every level
        "[self.s].map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a)"
        + ".map(a, a + a)" * 20
        + ".size() > 0",
        "[self.l].map(a, a + a)" + ".map(a, a + a)" * 28 + ".size() > 0",
        "[self.s].map(a, a.replace('', a)).map(a, a.replace('', a)).size() > 0",
        "self.l.map(a, self.s).map(a, self.l.map(b, a).join(',')).join(',').size() > 0",
        "self.l.transformList(i, v, self.l.transformList(j, w, self.l.transformList(k, x, 1))).size() > 0",
    ],
)
def test_what_costs_too_much_is_stopped(expression: str) -> None:
    with pytest.raises(BudgetExceeded) as caught:
        run(expression)
    assert str(caught.value) == "operation cancelled: actual cost limit exceeded"


_DOUBLED = "[[[1]]]" + ".map(a, [a, a])" * 60


@pytest.mark.parametrize(
    "expression",
    [
        f"{_DOUBLED} == {_DOUBLED}",
        f"dyn({_DOUBLED}) in [{_DOUBLED}]",
        f"'%s'.format([{_DOUBLED}]) == ''",
        f"sets.equivalent([{_DOUBLED}], [{_DOUBLED}])",
        "[[[1]]]" + ".map(a, [a, a])" * 60 + f".indexOf(dyn({_DOUBLED})) > 0",
        "[{'a': [1]}]"
        + ".map(a, {'a': [a, a]})".replace("a, {", "x, {").replace("[a, a]", "[dyn(x), x]") * 60
        + f" == dyn([{_DOUBLED}])",
    ],
)
def test_a_small_value_with_endless_parts_is_stopped(expression: str) -> None:
    with pytest.raises(BudgetExceeded):
        run(expression)


def test_nothing_absorbs_an_exhausted_budget() -> None:
    dear = "self.l.all(a, self.l.all(b, self.l.all(c, true)))"
    with pytest.raises(BudgetExceeded):
        run(f"{dear} || true", budget=10_000)
    with pytest.raises(BudgetExceeded):
        run(f"[1].exists(x, {dear}) || true", budget=10_000)


def test_a_pattern_cannot_hold_the_process() -> None:
    assert run("('a'.replace('a', self.s) + '!').matches('^(x+x+)+y$')") is False
    assert run("self.s.matches('^(([a-z])+.)+[A-Z]([a-z])+$')") is False
    with pytest.raises(CompileError):
        ENV.compile("'a'.matches('((a{1000}){1000}){1000}')")


def test_a_budget_is_shared_by_runs() -> None:
    budget = Budget(100)
    program = ENV.compile("self.l.all(x, x == 'b')")
    program.run({"self": SELF}, budget=budget)
    spent = budget.spent
    assert spent > 0
    program.run({"self": SELF}, budget=budget)
    assert budget.spent == 2 * spent


def test_values_of_another_shape_than_declared_are_an_error_and_no_crash() -> None:
    for self_ in (None, [], "x", 1, {"s": 1, "l": {}, "n": "1", "b": None}, {"l": None}):
        for expression in (
            "self.s.size() > 1",
            "self.s + 'a' == 'b'",
            "self.l.all(x, x.startsWith('a'))",
            "self.n + 1 > 2",
            "self.n < 2",
            "self.l + self.l == self.l",
            "self.l.join(',') == ''",
            "self.s.charAt(0) == ''",
            "self.b ? true : false",
        ):
            try:
                ENV.compile(expression).run({"self": self_}, budget=Budget(1000))
            except EvaluationError:
                pass


def test_a_value_that_contains_itself_deeply_is_an_error_and_no_crash() -> None:
    deep: Any = {}
    for _ in range(20_000):
        deep = {"k": deep}
    other: Any = {}
    for _ in range(20_000):
        other = {"k": other}
    with pytest.raises(EvaluationError):
        Environment({"a": DYN, "b": DYN}).compile("a == b").run({"a": deep, "b": other}, budget=Budget(1000))


# --- whatever is written, it compiles or it is a CompileError --------------------------------------------------------

_TEXT = r"""
self self.s self.l self.n any any.k x 1 2u 1.5 'a' b'a' "q" r'\' true false null in has ( ) [ ] { } . , : ? ! -
+ * / % == != < > <= >= && || .? [? all( exists( map( filter( size( .all(x, .map(x, .exists_one(x, .size() has(
.startsWith( .optMap(x, .transformMap(k,v, optional.of( optional.none() duration( timestamp( 'a'.matches( // `
@ $ & | = ' " \ ''' 0x 1e 99999999999999999999 ö 😀 Object{ {'a': .format([ dyn( type( int( ip( cidr('10.0.0.0/8')
"""
_WORDS = st.sampled_from(_TEXT.split())


def well_said(error: CompileError) -> None:
    assert str(error).startswith("ERROR: <input>:")


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_WORDS, max_size=25), st.sampled_from(["", " "]))
def test_any_row_of_words_compiles_or_is_refused(words: list[str], between: str) -> None:
    source = between.join(words)
    try:
        program = ENV.compile(source)
    except CompileError as error:
        well_said(error)
        return
    try:
        program.estimate()
        program.run({"self": SELF, "any": {"k": [1]}}, budget=Budget(100_000))
    except (EvaluationError, BudgetExceeded):
        pass


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=60))
def test_any_text_compiles_or_is_refused(source: str) -> None:
    try:
        ENV.compile(source)
    except CompileError as error:
        well_said(error)


_EXPRESSIONS = st.recursive(
    st.sampled_from(
        ["self.s", "self.l", "self.n", "self.b", "any", "any.k", "1", "'a'", "1.5", "null", "[]", "{}", "2u"]
    ),
    lambda inner: st.one_of(
        st.tuples(
            inner,
            st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]),
            inner,
        ).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} ? {p[1]} : {p[2]})"),
        st.tuples(inner, st.sampled_from(["all", "exists", "exists_one", "map", "filter"]), inner).map(
            lambda p: f"{p[0]}.{p[1]}(x, {p[2]})"
        ),
        st.tuples(inner, inner).map(lambda p: f"{p[0]}[{p[1]}]"),
        st.tuples(inner, inner).map(lambda p: f"{p[0]}[?{p[1]}]"),
        inner.map(lambda p: f"size({p})"),
        inner.map(lambda p: f"dyn({p})"),
        inner.map(lambda p: f"string({p})"),
        inner.map(lambda p: f"{p}.?k"),
        inner.map(lambda p: f"!{p}"),
        inner.map(lambda p: f"[{p}, {p}]"),
        inner.map(lambda p: f"{{'a': {p}}}"),
        inner.map(lambda p: f"optional.of({p}).orValue({p})"),
    ),
    max_leaves=12,
)


@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))
@given(_EXPRESSIONS)
def test_well_formed_expressions_give_a_value_or_an_error(source: str) -> None:
    try:
        program = ENV.compile(source)
    except CompileError:
        return
    low, high = program.estimate()
    assert 0 <= low <= high
    try:
        program.run({"self": SELF, "any": {"k": [1]}}, budget=Budget(1_000_000))
    except (EvaluationError, BudgetExceeded):
        pass
