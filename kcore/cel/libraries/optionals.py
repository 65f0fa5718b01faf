"""The functions of the optional type; its syntax (``a.?b``, ``a[?b]``) and macros belong to the language."""

from __future__ import annotations

from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.types import TYPE
from kcore.cel.values import NONE, Duration, Optional, Timestamp


def _zero(value: Any) -> bool:
    if isinstance(value, Duration):
        return value.ns == 0
    if isinstance(value, Timestamp):
        return value.ns == -62135596800 * 10**9
    return not value


def value_of(optional: Optional) -> Any:
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


def _present(items: list[Any]) -> list[Any]:
    return [item.value for item in items if item.present]


def library() -> Library:
    made = Library("optional")
    add = made.add
    made.names["optional_type"] = TYPE
    add("optional.of", "optional_of", "A -> optional(A)", lambda value: Optional(True, value))
    add("optional.none", "optional_none", " -> optional(A)", lambda: NONE)
    add(
        "optional.ofNonZeroValue",
        "optional_ofNonZeroValue",
        "A -> optional(A)",
        lambda value: NONE if _zero(value) else Optional(True, value),
    )
    add("value", "optional_value", "optional(A).() -> A", value_of)
    add("hasValue", "optional_hasValue", "optional(A).() -> bool", lambda optional: optional.present)
    # the compiler makes these two itself: they do not evaluate the alternative unless it is needed
    add("or", "optional_or_optional", "optional(A).(optional(A)) -> optional(A)", lambda a, b: a if a.present else b)
    add("orValue", "optional_orValue_value", "optional(A).(A) -> A", lambda a, b: a.value if a.present else b)
    add("_[?_]", "list_optindex_optional_int", "list(A), int -> optional(A)", value_of)
    add("_[?_]", "optional_list_optindex_optional_int", "optional(list(A)), int -> optional(A)", value_of)
    add("_[?_]", "map_optindex_optional_value", "map(A, B), A -> optional(B)", value_of)
    add("_[?_]", "optional_map_optindex_optional_value", "optional(map(A, B)), A -> optional(B)", value_of)
    add("_[_]", "optional_list_index_int", "optional(list(A)), int -> optional(A)", value_of)
    add("_[_]", "optional_map_index_value", "optional(map(A, B)), A -> optional(B)", value_of)
    add("first", "list_first", "list(A).() -> optional(A)", lambda items: Optional(True, items[0]) if items else NONE)
    add("last", "list_last", "list(A).() -> optional(A)", lambda items: Optional(True, items[-1]) if items else NONE)
    add("optional.unwrap", "optional_unwrap", "list(optional(A)) -> list(A)", _present)
    add("unwrapOpt", "optional_unwrapOpt", "list(optional(A)).() -> list(A)", _present)
    return made
