"""What is said of expressions that do not compile: the words, the place and the caret are upstream's."""

from __future__ import annotations

import pytest

from kcore.cel import CompileError, Environment
from kcore.cel.types import BOOL, DYN, INT, STRING, list_of, map_of, object_type

ENV = Environment(
    {
        "self": object_type("t", {"n": INT, "s": STRING, "l": list_of(INT), "m": map_of(STRING, INT)}),
        "object": DYN,
    }
)
EXPRESSION = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)


def said(source: str) -> str:
    with pytest.raises(CompileError) as caught:
        ENV.compile(source)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("object.", "1:8: Syntax error: no viable alternative at input '.'"),
        ("self.n +", f"1:9: Syntax error: mismatched input '<EOF>' expecting {EXPRESSION}"),
        ("", f"1:1: Syntax error: mismatched input '<EOF>' expecting {EXPRESSION}"),
        ("?", f"1:1: Syntax error: mismatched input '?' expecting {EXPRESSION}"),
        ("(1", "1:3: Syntax error: missing ')' at '<EOF>'"),
        ("size(1", "1:7: Syntax error: missing ')' at '<EOF>'"),
        ("size(self.l])", "1:12: Syntax error: extraneous input ']' expecting ')'"),
        ("1)", "1:2: Syntax error: extraneous input ')' expecting <EOF>"),
        ("1 2 3", "1:3: Syntax error: mismatched input '2' expecting <EOF>"),
        ("{1:305 2:569}", "1:8: Syntax error: mismatched input '2' expecting {'}', ','}"),
        ("true ? 1", "1:9: Syntax error: mismatched input '<EOF>' expecting ':'"),
        ("0xFFFFFFFFFFFFFFFFF", "1:1: invalid int literal"),
        ("0xFFFFFFFFFFFFFFFFFu", "1:1: invalid uint literal"),
        ("9223372036854775808", "1:1: invalid int literal"),
        ("1.99e90000009", "1:1: invalid double literal"),
        ("for == 1", "1:1: reserved identifier: for"),
        ("nope > 1", "1:1: undeclared reference to 'nope' (in container '')"),
        ("nope.a.b", "1:1: undeclared reference to 'nope' (in container '')"),
        ("nope(1)", "1:5: undeclared reference to 'nope' (in container '')"),
        ("self.s.nope()", "1:12: undeclared reference to 'nope' (in container '')"),
        ("self.nope", "1:5: undefined field 'nope'"),
        ("has(self.nope)", "1:4: undefined field 'nope'"),
        ("self.n.x", "1:7: type 'int' does not support field selection"),
        ("self.n + self.s", "1:8: found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.n && true", "1:8: found no matching overload for '_&&_' applied to '(int, bool)'"),
        ("self.s.startsWith(1)", "1:18: found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("!self.n", "1:1: found no matching overload for '!_' applied to '(int)'"),
        ("-self.s", "1:1: found no matching overload for '-_' applied to '(string)'"),
        ("self.n ? 1 : 2", "1:8: found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("self.l['a']", "1:7: found no matching overload for '_[_]' applied to '(list(int), string)'"),
        ("1 == 1.0", "1:3: found no matching overload for '_==_' applied to '(int, double)'"),
        ("self.l.all(x, x)", "1:11: found no matching overload for '_&&_' applied to '(bool, int)'"),
        ("self.l.exists(x, x)", "1:14: found no matching overload for '_||_' applied to '(bool, int)'"),
        ("self.l.exists_one(x, x)", "1:18: found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        (
            "self.l.filter(x, x)",
            "1:14: found no matching overload for '_?_:_' applied to '(int, list(int), list(int))'",
        ),
        (
            "self.n.all(x, true)",
            "1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("self.l.all(x, y > 1)", "1:15: undeclared reference to 'y' (in container '')"),
        ("self.l.all(1, true)", "1:12: argument must be a simple name"),
        ("self.l.all(x.y, true)", "1:13: argument must be a simple name"),
        ("has(self)", "1:5: invalid argument to has() macro"),
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'"),
        ("{'a': 1, 2: 1}", "1:10: expected type 'string' but found 'int'"),
        ("{'a': 1, 'b': 'c'}", "1:15: expected type 'int' but found 'string'"),
        ("Nope{a: 1}", "1:5: undeclared reference to 'Nope' (in container '')"),
        ("int{}", "1:4: 'int' is not a message type"),
    ],
)
def test_one_mistake(source: str, message: str) -> None:
    place = int(message.split(":")[1])
    assert said(source) == f"ERROR: <input>:{message}\n | {source}\n | {'.' * (place - 1)}^"


def test_all_mistakes_are_said_in_their_order() -> None:
    assert said("a + b") == (
        "ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a + b\n | ^\n"
        "ERROR: <input>:1:5: undeclared reference to 'b' (in container '')\n | a + b\n | ....^"
    )
    assert said("*@a | b") == (
        f"ERROR: <input>:1:1: Syntax error: extraneous input '*' expecting {EXPRESSION}\n | *@a | b\n | ^\n"
        "ERROR: <input>:1:2: Syntax error: token recognition error at: '@'\n | *@a | b\n | .^\n"
        "ERROR: <input>:1:5: Syntax error: token recognition error at: '| '\n | *@a | b\n | ....^\n"
        "ERROR: <input>:1:7: Syntax error: extraneous input 'b' expecting <EOF>\n | *@a | b\n | ......^"
    )


def test_the_line_of_the_mistake_is_shown() -> None:
    assert said("true &&\n  nope\n|| false") == (
        "ERROR: <input>:2:3: undeclared reference to 'nope' (in container '')\n |   nope\n | ..^"
    )


def test_wide_characters_have_wide_dots() -> None:
    assert said("'öä' + nope") == (
        "ERROR: <input>:1:8: undeclared reference to 'nope' (in container '')\n | 'öä' + nope\n | .．．....^"
    )


def test_no_more_than_a_hundred_mistakes_are_said() -> None:
    assert said(" || ".join(f"v{i}" for i in range(150))).count("ERROR") == 100


@pytest.mark.parametrize(
    ("source", "wanted", "message"),
    [
        ("1", (BOOL,), "must evaluate to bool but got int"),
        ("[1]", (STRING,), "must evaluate to string but got list(int)"),
        ("1", (BOOL, STRING), "must evaluate to one of [bool string] but got int"),
    ],
)
def test_a_result_of_another_type_is_refused(source: str, wanted: tuple[object, ...], message: str) -> None:
    with pytest.raises(CompileError) as caught:
        ENV.compile(source, result=wanted)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_result_of_unknown_type_passes() -> None:
    assert ENV.compile("object.x", result=(BOOL,)).type is DYN
