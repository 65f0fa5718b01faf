"""``semver('1.2.3-rc.1')``: semantic versions, by semver.org."""

from __future__ import annotations

import re
from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.standard import text_cost
from kcore.cel.types import TYPE
from kcore.cel.values import Opaque

_NUMBER = r"(0|[1-9][0-9]*)"
_PART = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_FORM = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)


class Semver(Opaque):
    """``order`` compares as versions do; the build is not part of it."""

    __slots__ = ("numbers", "order")
    type_name = "kubernetes.Semver"

    def __init__(self, numbers: tuple[int, int, int], pre: str | None) -> None:
        self.numbers = numbers
        # a number is less than a word, and no pre-release is more than any
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in pre.split(".")) if pre else ()
        self.order: tuple[Any, ...] = (*numbers, not pre, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and other.order == self.order

    def __hash__(self) -> int:
        return hash(self.order)


def parse(text: str, normalize: bool = False) -> Semver:
    """ValueError if it is no version. ``normalize``: ``v1.02`` is read as ``1.2.0``."""
    if normalize:
        text = _normalized(text)
    if not text:
        raise ValueError("Version string empty")
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(_reason(text))
    numbers = tuple(int(match[i]) if len(match[i]) < 25 else 1 << 64 for i in (1, 2, 3))
    if max(numbers) >= 1 << 64:
        raise ValueError("value out of range")
    major, minor, patch = numbers
    return Semver((major, minor, patch), match[4])


def _reason(text: str) -> str:
    core = re.split(r"[-+]", text, maxsplit=1)[0]
    parts = text.split(".", 2)
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    for name, part in zip(("major", "minor", "patch"), core.split(".", 2), strict=False):
        if not part.isdigit() or not part.isascii():
            return f'Invalid character(s) found in {name} number "{part}"'
        if len(part) > 1 and part[0] == "0":
            return f'{name.capitalize()} number must not contain leading zeroes "{part}"'
    return f'Invalid version "{text}"'


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[index] = stripped if stripped[:1].isdigit() else "0" + stripped
    if len(parts) < 3:
        if re.search(r"[+-]", parts[-1]):
            raise ValueError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def from_text(text: str, normalize: bool = False) -> Semver:
    try:
        return parse(text, normalize)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def is_semver(text: str, normalize: bool = False) -> bool:
    try:
        parse(text, normalize)
    except ValueError:
        return False
    return True


def compare(left: Semver, right: Semver) -> int:
    return (left.order > right.order) - (left.order < right.order)


def library() -> Library:
    made = Library("semver")
    add = made.add
    kind = Semver.type_name
    made.names[kind] = TYPE
    add("semver", "string_to_semver", f"string -> {kind}", from_text, cost=text_cost)
    add("semver", "string_bool_to_semver", f"string, bool -> {kind}", from_text, cost=text_cost)
    add("isSemver", "is_semver_string", "string -> bool", is_semver, cost=text_cost)
    add("isSemver", "is_semver_string_bool", "string, bool -> bool", is_semver, cost=text_cost)
    add("isGreaterThan", "semver_is_greater_than", f"{kind}.({kind}) -> bool", lambda a, b: a.order > b.order)
    add("isLessThan", "semver_is_less_than", f"{kind}.({kind}) -> bool", lambda a, b: a.order < b.order)
    add("compareTo", "semver_compare_to", f"{kind}.({kind}) -> int", compare)
    for index, name in enumerate(("major", "minor", "patch")):
        add(name, f"semver_{name}", f"{kind}.() -> int", lambda a, index=index: a.numbers[index])
    return made
