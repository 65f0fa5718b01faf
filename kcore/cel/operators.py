"""Compiled operators: quick forms for operands of known types, the overloads' own functions for all others."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from kcore.cel import functions, standard, values
from kcore.cel.code import Code, Frame, Run, charged
from kcore.cel.convert import adder, comparer, exact
from kcore.cel.errors import BudgetExceeded, EvaluationError
from kcore.cel.functions import Overload
from kcore.cel.nodes import Call, Literal, Node
from kcore.cel.types import Type
from kcore.cel.values import INT_MAX, INT_MIN, equal, no_overload

_OPEN = frozenset(["dyn", "param", "error"])
_PLAIN_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}


def known(type_: Type) -> bool:
    """Is it certain at compile time what the value will be?"""
    return type_.kind not in _OPEN


def logical(node: Call, left: Code, right: Code, decisive: bool) -> Code:
    """``&&`` and ``||``: the operand that decides hides the other's error, on whichever side it stands."""
    first, second = left.run, charged(right)
    sure = node.args[0].type.kind == "bool" and node.args[1].type.kind == "bool"

    def run(v: Frame) -> Any:
        try:
            value = first(v)
        except EvaluationError as error:
            return _after_error(second, v, decisive, error)
        if value is decisive:
            return decisive
        if sure:
            return second(v)
        return _after_value(second, v, decisive, value)

    return Code(run, left.cost)


def _after_error(second: Run, v: Frame, decisive: bool, error: EvaluationError) -> Any:
    try:
        if second(v) is decisive:
            return decisive
    except EvaluationError:
        pass
    raise error


def _after_value(second: Run, v: Frame, decisive: bool, value: Any) -> Any:
    other = second(v)
    if other is decisive:
        return decisive
    if isinstance(value, bool) and isinstance(other, bool):
        return not decisive
    raise no_overload()


def conditional(node: Call, condition: Code, yes: Code, no: Code) -> Code:
    test, then, otherwise = condition.run, charged(yes), charged(no)
    if node.args[0].type.kind == "bool":
        return Code(lambda v: then(v) if test(v) else otherwise(v), condition.cost)

    def run(v: Frame) -> Any:
        value = test(v)
        if value is True:
            return then(v)
        if value is False:
            return otherwise(v)
        raise no_overload()

    return Code(run, condition.cost)


def negation(node: Call, operand: Code) -> Code:
    run = operand.run
    if node.args[0].type.kind == "bool":
        return Code(lambda v: not run(v), operand.cost + 1)

    def checked(v: Frame) -> bool:
        value = run(v)
        if value is True:
            return False
        if value is False:
            return True
        raise no_overload()

    return Code(checked, operand.cost + 1)


def equality(node: Call, left: Code, right: Code, wanted: bool) -> Code:
    """``==`` and ``!=``. Text compared with a literal costs as much as the literal, known beforehand."""
    types = node.args[0].type, node.args[1].type
    if exact(types[0]) and exact(types[1]) and types[0].kind == types[1].kind:
        compare: Callable[[Any, Any], bool] = operator.eq
    elif types[0].kind == types[1].kind:
        compare = comparer(types[0])
    else:
        compare = equal
    a, b = left.run, right.run
    cost = left.cost + right.cost
    bound = _bound(node.args[0]) or _bound(node.args[1])
    if bound is None:
        return Code(_measured_equality(a, b, compare, wanted), cost)
    literal = node.args[1]
    if isinstance(literal, Literal):
        value = literal.value
        if compare is operator.eq:
            if wanted:
                return Code(lambda v: a(v) == value, cost + bound)
            return Code(lambda v: a(v) != value, cost + bound)
        return Code(lambda v: compare(a(v), value) is wanted, cost + bound)
    return Code(lambda v: compare(a(v), b(v)) is wanted, cost + bound)


def _bound(node: Node) -> int | None:
    """What comparing with this node costs at most, if its size is known now."""
    if isinstance(node, Literal):
        return standard.half_open(standard.size(node.value))
    return 1 if node.type.kind in ("bool", "int", "uint", "double", "null", "timestamp", "duration") else None


def _measured_equality(a: Run, b: Run, compare: Callable[[Any, Any], bool], wanted: bool) -> Run:
    size = standard.size

    def run(v: Frame) -> bool:
        left, right = a(v), b(v)
        v[0] -= (min(size(left), size(right)) + 9) // 10
        return compare(left, right) is wanted

    return run


def arithmetic(node: Call, left: Code, right: Code) -> Code | None:
    """``+ - *`` of two ints, and ``+`` of texts; None where the general form must do."""
    kinds = node.args[0].type.kind, node.args[1].type.kind
    a, b = left.run, right.run
    cost = left.cost + right.cost + 1
    if kinds == ("int", "int") and node.function in _INT:
        compute = _INT[node.function]

        def integers(v: Frame) -> int:
            result = compute(a(v), b(v))
            if INT_MIN <= result <= INT_MAX:
                return int(result)
            raise EvaluationError("integer overflow")

        return Code(integers, cost)
    if node.function != "_+_":
        return None
    if kinds == ("string", "string"):

        def texts(v: Frame) -> str:
            result: str = a(v) + b(v)
            v[0] -= (len(result) + 9) // 10
            if v[0] < 0:
                raise BudgetExceeded
            return result

        return Code(texts, cost - 1)
    if kinds == ("list", "list") and node.args[0].type.list_type != "atomic":
        merge = adder(node.args[0].type)

        def lists(v: Frame) -> list[Any]:
            one, other = a(v), b(v)
            v[0] -= len(one) + len(other)
            return merge(one, other)

        return Code(lists, cost)
    return None


_INT: dict[str, Callable[[Any, Any], Any]] = {"_+_": operator.add, "_-_": operator.sub, "_*_": operator.mul}
_DIRECT = frozenset(["int", "uint", "double", "bool"])


def ordering(node: Call, left: Code, right: Code) -> Code | None:
    """``<`` and its like, of numbers of known types."""
    if node.args[0].type.kind not in _DIRECT or node.args[1].type.kind not in _DIRECT:
        return None
    compare = _PLAIN_ORDER[node.function]
    a, b = left.run, right.run
    cost = left.cost + right.cost + 1
    if isinstance(node.args[1], Literal):
        value = node.args[1].value
        return Code(lambda v: compare(a(v), value), cost)
    return Code(lambda v: compare(a(v), b(v)), cost)


def alternative(node: Call, target: Code, other: Code) -> Code:
    """``optional.or(other)`` and ``optional.orValue(other)``: the other is evaluated only if it is needed."""
    source, otherwise = target.run, charged(other)
    unwrap = node.function == "orValue"

    def run(v: Frame) -> Any:
        value = source(v)
        if not isinstance(value, values.Optional):
            raise no_overload()
        if not value.present:
            return otherwise(v)
        return value.value if unwrap else value

    return Code(run, target.cost + 1)


_AFFIX: dict[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
}


def text_test(node: Call, target: Code, argument: Code) -> Code | None:
    """``text.startsWith('literal')`` and its like; a receiver of unknown type is asked when it is there."""
    if not isinstance(node.args[0], Literal) or not isinstance(node.args[0].value, str):
        return None
    test, part, source = _AFFIX[node.function], node.args[0].value, target.run
    factor = standard.half_open(len(part)) if node.function == "contains" else 1
    name = node.function

    def run(v: Frame) -> bool:
        text = source(v)
        if type(text) is not str:
            raise EvaluationError(f"no such overload: {name}({values.type_name(text)}, string)")
        v[0] -= (len(text) + 9) // 10 * factor
        return test(text, part)

    return Code(run, target.cost)


def membership(node: Call, item: Code, items: Code) -> Code | None:
    """``'key' in value``, where the value is a map or, if its type is not known, perhaps a list."""
    if not isinstance(node.args[0], Literal) or not isinstance(node.args[0].value, str):
        return None
    key, source = node.args[0].value, items.run

    def run(v: Frame) -> bool:
        held = source(v)
        if isinstance(held, dict):
            v[0] -= 1
        elif isinstance(held, list):
            v[0] -= len(held)
        else:
            raise no_overload()
        return key in held

    return Code(run, items.cost)


def call(name: str, overloads: tuple[Overload, ...], arguments: list[Code], types: list[Type]) -> Code:
    """Any function: directly if only one overload can be meant, else chosen by the values of each call."""
    cost = sum(argument.cost for argument in arguments)
    runs = [argument.run for argument in arguments]
    if len(overloads) == 1 and all(map(_settled, types, overloads[0].args)):
        return _direct(overloads[0], runs, cost)
    choose = functions.dispatcher(name, overloads)

    def dynamic(v: Frame) -> Any:
        given = tuple([run(v) for run in runs])
        chosen = choose(given)
        result = chosen.run(*given)
        v[0] -= 1 if chosen.cost is None else chosen.cost(*given, result)
        if v[0] < 0:
            raise BudgetExceeded
        return result

    return Code(dynamic, cost)


def _settled(type_: Type, parameter: Type) -> bool:
    """Need the argument's type not be looked at when the call runs?"""
    if parameter.kind in ("param", "dyn"):
        return True
    if not known(type_) or type_.kind == "null":
        return False
    if parameter.kind == "list" and parameter.params[0].kind not in ("param", "dyn"):
        return known(type_.params[0])
    return True


def _direct(overload: Overload, runs: list[Run], cost: int) -> Code:
    function, measure = overload.run, overload.cost
    if measure is None:
        cost += 1
        if len(runs) == 1:
            only = runs[0]
            return Code(lambda v: function(only(v)), cost)
        if len(runs) == 2:
            first, second = runs
            return Code(lambda v: function(first(v), second(v)), cost)
        return Code(lambda v: function(*[run(v) for run in runs]), cost)
    price = measure

    def measured(v: Frame) -> Any:
        given = [run(v) for run in runs]
        result = function(*given)
        v[0] -= price(*given, result)
        if v[0] < 0:
            raise BudgetExceeded
        return result

    return Code(measured, cost)
