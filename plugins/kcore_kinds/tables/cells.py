"""Cells that many tables share, and how a table is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kcore import clock
from kcore.api.kinds import Column
from kcore.objects import selectors

Object = dict[str, Any]
Cell = Callable[[Object], Any]

NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"


def col(name: str, cell: Cell, type: str = "string", *, wide: bool = False, format: str = "") -> Column:
    """A column; a `wide` one is shown with ``-o wide`` only."""
    return Column(name, cell, type=type, format=format, priority=1 if wide else 0)


def at(path: str, default: Any = "") -> Cell:
    """The value at a dotted path."""
    parts = path.split(".")

    def cell(obj: Object) -> Any:
        found: Any = obj
        for part in parts:
            found = found.get(part) if isinstance(found, dict) else None
        return default if found is None or found == "" else found

    return cell


def count(path: str) -> Cell:
    """How many items or keys there are at a path."""
    read = at(path, ())
    return lambda obj: len(read(obj))


def human_duration(seconds: float) -> str:
    """How long, in as many units as say something: ``45s``, ``3m20s``, ``5d``, ``2y30d``."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(big: int, unit: str, small: int, small_unit: str) -> str:
    return f"{big}{unit}{small}{small_unit}" if small else f"{big}{unit}"


def since(timestamp: str | None, missing: str = UNKNOWN) -> str:
    """How long ago that was."""
    return human_duration(clock.now() - clock.parse(timestamp)) if timestamp else missing


def age_of(obj: Object) -> str:
    return since(obj["metadata"].get("creationTimestamp"))


def name_of(obj: Object) -> str:
    return str(obj["metadata"].get("name", ""))


NAME = col("Name", name_of, format="name")
AGE = col("Age", age_of)
CREATED = col("Created At", at("metadata.creationTimestamp"), "date")


def labels_text(labels: Object | None) -> str:
    """A map as ``a=b,c=d``."""
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) if labels else NONE


def selector_text(selector: Object | None) -> str:
    """A LabelSelector as kubectl takes it with -l."""
    if not selector:
        return NONE
    found = selectors.from_object(selector).requirements
    return ",".join(str(r) for r in sorted(found, key=lambda r: r.key)) or NONE


def some(items: Iterable[str], limit: int, separator: str = ",") -> str:
    """The first few of them, and how many more there are."""
    found = list(items)
    text = separator.join(found[:limit])
    return f"{text} + {len(found) - limit} more..." if len(found) > limit else text


def containers_text(spec_path: str, member: str) -> Cell:
    """The names or images of a pod template's containers."""
    read = at(spec_path + ".containers", ())
    return lambda obj: ",".join(c.get(member, "") for c in read(obj))


def template_columns(spec_path: str) -> tuple[Column, ...]:
    return (
        col("Containers", containers_text(spec_path, "name"), wide=True),
        col("Images", containers_text(spec_path, "image"), wide=True),
    )


SELECTOR = col("Selector", lambda obj: selector_text(obj.get("spec", {}).get("selector")), wide=True)
