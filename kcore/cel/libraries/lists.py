"""Kubernetes' list functions, and the set functions that CEL has for lists."""

from __future__ import annotations

import itertools
import math
from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.standard import contains, int_result, uint_result
from kcore.cel.values import Duration, bounded, equal


def traversal_cost(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value) // 10
    if isinstance(value, list):
        return sum(map(traversal_cost, value))
    if isinstance(value, dict):
        return sum(traversal_cost(key) + traversal_cost(member) for key, member in value.items())
    return 1


def _traversal(*arguments: Any) -> int:
    bounded(arguments[0])
    return traversal_cost(arguments[0])


def is_sorted(items: list[Any]) -> bool:
    return not any(later < earlier for earlier, later in itertools.pairwise(items))


def smallest(items: list[Any]) -> Any:
    if not items:
        raise EvaluationError("min called on empty list")
    return min(items)


def largest(items: list[Any]) -> Any:
    if not items:
        raise EvaluationError("max called on empty list")
    found = items[0]
    for item in items:
        if found < item:
            found = item
    return found


def index_of(items: list[Any], item: Any) -> int:
    return next((index for index, other in enumerate(items) if equal(other, item)), -1)


def last_index_of(items: list[Any], item: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if equal(items[index], item)), -1)


_SUMS: dict[str, Any] = {
    "int": lambda items: int_result(sum(items)),
    "uint": lambda items: uint_result(sum(items)),
    "double": lambda items: math.fsum(items) if len(items) < 2 else float(sum(items)),
    "duration": lambda items: Duration(sum(item.ns for item in items)),
}


def subset(items: list[Any], others: list[Any]) -> bool:
    """Is each of ``others`` among ``items``?"""
    return all(contains(other, items) for other in others)


def equivalent(items: list[Any], others: list[Any]) -> bool:
    return subset(items, others) and subset(others, items)


def intersects(items: list[Any], others: list[Any]) -> bool:
    return any(contains(other, items) for other in others)


def _product(factor: int) -> Any:
    return lambda items, others, _: 1 + factor * len(items) * len(others)


def library() -> Library:
    made = Library("lists")
    add = made.add
    for kind in ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes"):
        add("isSorted", f"list_{kind}_is_sorted_bool", f"list({kind}).() -> bool", is_sorted, cost=_traversal)
        add("min", f"list_{kind}_min_{kind}", f"list({kind}).() -> {kind}", smallest, cost=_traversal)
        add("max", f"list_{kind}_max_{kind}", f"list({kind}).() -> {kind}", largest, cost=_traversal)
        if kind in _SUMS:
            add("sum", f"list_{kind}_sum_{kind}", f"list({kind}).() -> {kind}", _SUMS[kind], cost=_traversal)
    add("indexOf", "list_a_index_of_int", "list(A).(A) -> int", index_of, cost=_traversal)
    add("lastIndexOf", "list_a_last_index_of_int", "list(A).(A) -> int", last_index_of, cost=_traversal)
    add("sets.contains", "list_sets_contains_list", "list(A), list(A) -> bool", subset, cost=_product(1))
    add("sets.intersects", "list_sets_intersects_list", "list(A), list(A) -> bool", intersects, cost=_product(1))
    add("sets.equivalent", "list_sets_equivalent_list", "list(A), list(A) -> bool", equivalent, cost=_product(2))
    return made
