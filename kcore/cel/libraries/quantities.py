"""``quantity('1.5Gi')``: Kubernetes' numbers with suffixes."""

from __future__ import annotations

from decimal import Context, Decimal, DecimalException
from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.standard import text_cost
from kcore.cel.types import TYPE
from kcore.cel.values import INT_MAX, INT_MIN, Opaque
from kcore.objects import quantity

MAX_TEXT = 1000  # characters; an exponent of a million digits is no quantity either
_EXACT = Context(prec=3 * MAX_TEXT)
_INVALID = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class Quantity(Opaque):
    """An exact number."""

    __slots__ = ("number",)
    type_name = "kubernetes.Quantity"

    def __init__(self, number: Decimal) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and other.number == self.number

    def __hash__(self) -> int:
        return hash(self.number)

    def whole(self) -> int | None:
        """The number if it is a whole one of 64 bits."""
        if self.number != self.number.to_integral_value():
            return None
        value = int(self.number)
        return value if INT_MIN <= value <= INT_MAX else None


def parse(text: str) -> Quantity:
    """ValueError if it is no quantity."""
    if len(text) > MAX_TEXT:
        raise ValueError(_INVALID)
    try:
        number = quantity.parse(text)
        if number.adjusted() > MAX_TEXT:
            raise ValueError(_INVALID)
    except DecimalException:
        raise ValueError(_INVALID) from None
    return Quantity(number)


def from_text(text: str) -> Quantity:
    try:
        return parse(text)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def is_quantity(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def as_integer(value: Quantity) -> int:
    whole = value.whole()
    if whole is None:
        raise EvaluationError("cannot convert value to integer")
    return whole


def compare(left: Any, right: Any) -> int:
    return int(left.number > right.number) - int(left.number < right.number)


def library() -> Library:
    made = Library("quantity")
    add = made.add
    kind = Quantity.type_name
    made.names[kind] = TYPE
    add("quantity", "string_to_quantity", f"string -> {kind}", from_text, cost=text_cost)
    add("isQuantity", "is_quantity_string", "string -> bool", is_quantity, cost=text_cost)
    zero = Quantity(Decimal(0))
    add("sign", "quantity_sign", f"{kind} -> int", lambda a: compare(a, zero))
    add("sign", "quantity_get_sign", f"{kind}.() -> int", lambda a: compare(a, zero))
    add("isGreaterThan", "quantity_is_greater_than", f"{kind}.({kind}) -> bool", lambda a, b: a.number > b.number)
    add("isLessThan", "quantity_is_less_than", f"{kind}.({kind}) -> bool", lambda a, b: a.number < b.number)
    add("compareTo", "quantity_compare_to", f"{kind}.({kind}) -> int", compare)
    add("asApproximateFloat", "quantity_get_float", f"{kind}.() -> double", lambda a: float(a.number))
    add("asInteger", "quantity_get_int", f"{kind}.() -> int", as_integer)
    add("isInteger", "quantity_is_integer", f"{kind}.() -> bool", lambda a: a.whole() is not None)
    add("add", "quantity_add", f"{kind}.({kind}) -> {kind}", lambda a, b: Quantity(_EXACT.add(a.number, b.number)))
    add("add", "quantity_add_int", f"{kind}.(int) -> {kind}", lambda a, b: Quantity(_EXACT.add(a.number, b)))
    add(
        "sub", "quantity_sub", f"{kind}.({kind}) -> {kind}", lambda a, b: Quantity(_EXACT.subtract(a.number, b.number))
    )
    add("sub", "quantity_sub_int", f"{kind}.(int) -> {kind}", lambda a, b: Quantity(_EXACT.subtract(a.number, b)))
    return made
