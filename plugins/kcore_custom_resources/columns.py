"""Printer columns: what ``kubectl get`` shows of a custom resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kcore import clock
from kcore.api import tables
from kcore.api.kinds import Column
from kcore_custom_resources import jsonpath

Object = dict[str, Any]
Cell = Callable[[Any], Any]
_NAME, _AGE = tables.DEFAULT_COLUMNS


def columns(declared: Sequence[Object]) -> tuple[Column, ...]:
    """The name, and what the definition asks for; the age where it asks for nothing."""
    if not declared:
        return (_NAME, Column("Age", _cell(".metadata.creationTimestamp", "date"), "date", "", _AGE.description))
    return (_NAME, *(_column(column) for column in declared))


def _column(column: Object) -> Column:
    path, type = column["jsonPath"], column["type"]
    about = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    return Column(
        column["name"], _cell(path, type), type, column.get("format") or "", about, column.get("priority") or 0
    )


def _cell(path: str, type: str) -> Cell:
    show: Cell = _SHOW.get(type, _text)

    def cell(obj: Object) -> Any:
        try:
            found = jsonpath.compile(path)(obj)
        except ValueError:  # definitions may say anything behind the first dot
            return None
        return show(found[0]) if found and found[0] is not None else None

    return cell


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return msgspec.json.encode(value).decode()


def _integer(value: Any) -> int | None:
    return int(value) if type(value) in (int, float) else None


def _number(value: Any) -> float | int | None:
    return value if type(value) in (int, float) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _date(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return tables.duration(clock.now() - clock.parse(value))
    except ValueError:
        return "<invalid>"


_SHOW: dict[str, Cell] = {
    "string": _text, "integer": _integer, "number": _number, "boolean": _boolean, "date": _date,
}  # fmt: skip
