"""The estimated costs of functions whose cost depends on sizes: the standard ones and those of Kubernetes' libraries.

Each gives the cost of the call without its arguments, and the size of the result where that is known. What is not
named here costs one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kcore.cel.nodes import Call, Literal, Node
from kcore.cel.sizes import MOST, ONE, ZERO, Range, fixed

if TYPE_CHECKING:
    from kcore.cel.estimate import Estimator

Estimated = tuple[Range, Range | None]
Estimate = Callable[["Estimator", Call], Estimated | None]

TEXT = 0.1  # of traversing a character
PATTERN = 0.25  # of a character of a pattern


def standard(estimator: Estimator, node: Call, id_: str) -> Estimated | None:
    size = estimator.size_or_unknown
    if id_ in ("equals", "not_equals") or (id_ in _TEXT_ORDERS):
        left, right = size(node.args[0]), size(node.args[1])
        most = min(left.max, right.max)
        return Range(1 if most > 0 else 0, most).scaled(TEXT), None
    made = _STANDARD.get(id_)
    return None if made is None else made(estimator, node)


_TEXT_ORDERS = frozenset(
    f"{verb}_{kind}" for verb in ("less", "less_equals", "greater", "greater_equals") for kind in ("string", "bytes")
)


def _string_to_bytes(estimator: Estimator, node: Call) -> Estimated:
    size = estimator.size_or_unknown(node.args[0])
    return size.scaled(TEXT), Range(size.min, min(size.max * 4, MOST))


def _bytes_to_string(estimator: Estimator, node: Call) -> Estimated:
    size = estimator.size_or_unknown(node.args[0])
    return size.scaled(TEXT), Range(size.min // 4, size.max)


def _quote(estimator: Estimator, node: Call) -> Estimated:
    size = estimator.size_or_unknown(node.args[0])
    return size.scaled(TEXT), Range(size.min + 2, min(size.max * 2 + 2, MOST))


def _format(estimator: Estimator, node: Call) -> Estimated:
    assert node.target is not None
    return estimator.size_or_unknown(node.target).scaled(TEXT), None


def _affix(estimator: Estimator, node: Call) -> Estimated:
    return estimator.size_or_unknown(node.args[0]).scaled(TEXT), None


def _in_list(estimator: Estimator, node: Call) -> Estimated:
    return estimator.size_or_unknown(node.args[1]).scaled(1), None


def _pattern_cost(estimator: Estimator, text: Node, pattern: Node) -> Range:
    traversal = estimator.size_or_unknown(text).plus(ONE).scaled(TEXT)
    return traversal.times(estimator.size_or_unknown(pattern).scaled(PATTERN))


def _matches(estimator: Estimator, node: Call) -> Estimated | None:
    if node.target is None:
        return None
    return _pattern_cost(estimator, node.target, node.args[0]), None


def _contains(estimator: Estimator, node: Call) -> Estimated:
    assert node.target is not None
    part = estimator.size_or_unknown(node.args[0]).scaled(TEXT)
    return estimator.size_or_unknown(node.target).scaled(TEXT).times(part), None


_STANDARD: dict[str, Estimate] = {
    "string_to_bytes": _string_to_bytes,
    "bytes_to_string": _bytes_to_string,
    "strings_quote": _quote,
    "string_format": _format,
    "starts_with_string": _affix,
    "ends_with_string": _affix,
    "in_list": _in_list,
    "matches_string": _matches,
    "contains_string": _contains,
}


# --- Kubernetes' libraries, by the name of the function -------------------------------------------------


def library(estimator: Estimator, node: Call, id_: str) -> Estimated | None:
    if node.function in _NOMINAL:
        return ONE, None
    by_overload = _BY_OVERLOAD.get(node.function)
    if by_overload is not None:
        return by_overload(estimator, node, id_)
    made = _LIBRARY.get(node.function)
    return None if made is None else made(estimator, node)


_NOMINAL = frozenset(
    [
        "serviceAccount",
        "path",
        "group",
        "resource",
        "subresource",
        "namespace",
        "name",
        "allowed",
        "reason",
        "error",
        "errored",
        "fieldSelector",
        "labelSelector",
        "masked",
        "prefixLength",
        "family",
        "isUnspecified",
        "isLoopback",
        "isLinkLocalMulticast",
        "isLinkLocalUnicast",
        "isGlobalUnicast",
        "sign",
        "asInteger",
        "isInteger",
        "asApproximateFloat",
        "isGreaterThan",
        "isLessThan",
        "compareTo",
        "add",
        "sub",
        "major",
        "minor",
        "patch",
        "format.named",
    ]
)


def _check(estimator: Estimator, node: Call) -> Estimated:
    return fixed(350_000), None


def _over_items(estimator: Estimator, node: Call) -> Estimated | None:
    """One for each item, and the traversal of each if they are texts."""
    if node.target is None:
        return None
    size = estimator.size_or_unknown(node.target)
    item = estimator.item_size(node.target)
    if item is None:
        return size.scaled(TEXT), None
    kind, length = item
    each = ONE.plus(length.scaled(TEXT)) if kind in ("string", "bytes") else ONE
    return size.times(each), None


def _argument(estimator: Estimator, node: Call) -> Estimated | None:
    if len(node.args) != 1:
        return None
    return estimator.size_or_unknown(node.args[0]).scaled(TEXT), None


def _same_text(estimator: Estimator, node: Call) -> Estimated | None:
    if node.target is None:
        return None
    size = estimator.size_or_unknown(node.target)
    return size.scaled(TEXT), size


def _replace(estimator: Estimator, node: Call) -> Estimated | None:
    if node.target is None:
        return None
    size, old, new = map(estimator.size_or_unknown, (node.target, node.args[0], node.args[1]))
    most, kept_most = _replaced(size.max, old.min, new.max, longer=True)
    least, kept_least = _replaced(size.min, old.max, new.min, longer=False)
    made = Range(least, most).times(new).plus(Range(kept_least, kept_most))
    return size.scaled(2 * TEXT), made


def _replaced(size: int, old: int, new: int, *, longer: bool) -> tuple[int, int]:
    """How many replacements there are in the extreme case, and how much of the text stays beside them."""
    if old == 0:
        return min(size + 1, MOST), size
    if (new <= old) if longer else (old <= new):
        return 0, size
    return -(-size // old), 0


def _split(estimator: Estimator, node: Call) -> Estimated | None:
    if node.target is None:
        return None
    size = estimator.size_or_unknown(node.target)
    most = size.max
    if len(node.args) > 1 and isinstance(node.args[1], Literal):
        count = node.args[1].value
        most = count if count >= 0 else most
    return size.scaled(2 * TEXT), Range(0, most)


def _join(estimator: Estimator, node: Call) -> Estimated | None:
    if node.target is None:
        return None
    count = estimator.size_or_unknown(node.target)
    item = estimator.item_size(node.target)
    size = ZERO if item is None else count.times(item[1])
    if node.args:
        between = Range(max(count.min - 1, 0), max(count.max - 1, 0))
        size = size.plus(estimator.size_or_unknown(node.args[0]).times(between))
    return size.scaled(TEXT), size


def _find(estimator: Estimator, node: Call) -> Estimated | None:
    if node.target is None:
        return None
    size = estimator.size_or_unknown(node.target)
    return _pattern_cost(estimator, node.target, node.args[0]), Range(0, size.max)


def _validate(estimator: Estimator, node: Call) -> Estimated | None:
    if node.target is None:
        return None
    from kcore.cel.libraries.formats import FORMATS

    named = FORMATS.get(getattr(node.target, "function", "").removeprefix("format."))
    longest = max(known.size for known in FORMATS.values()) if named is None else named.size
    text = estimator.size_or_unknown(node.args[0]).plus(ONE).scaled(TEXT)
    return text.times(fixed(longest).scaled(PATTERN)), None


def _sets(factor: int) -> Estimate:
    def estimate(estimator: Estimator, node: Call) -> Estimated:
        left, right = map(estimator.size_or_unknown, node.args)
        return left.times(right).times(fixed(factor)).plus(ONE), None

    return estimate


_ADDRESS = Range(4, 16)  # bytes


def _contains_address(estimator: Estimator, node: Call, id_: str) -> Estimated | None:
    if node.target is None:
        return None
    cost = _ADDRESS.plus(_ADDRESS).scaled(TEXT)
    if node.function == "containsCIDR":
        cost = cost.plus(_ADDRESS.scaled(TEXT)).plus(ONE)
    if id_.endswith("_string"):
        cost = cost.plus(estimator.size_or_unknown(node.args[0]).scaled(TEXT))
    return cost, None


def _member_only(estimator: Estimator, node: Call, id_: str) -> Estimated | None:
    return (ONE, None) if node.target is not None else None


_BY_OVERLOAD: dict[str, Callable[[Estimator, Call, str], Estimated | None]] = {
    "containsIP": _contains_address,
    "containsCIDR": _contains_address,
    "ip": _member_only,
}
_LIBRARY: dict[str, Estimate] = {
    "check": _check,
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _over_items),
    "url": _argument,
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _same_text),
    "replace": _replace,
    "split": _split,
    "join": _join,
    "find": _find,
    "findAll": _find,
    "validate": _validate,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
}
