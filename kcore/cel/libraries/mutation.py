"""What mutations construct: ``Object{spec: Object.spec{replicas: 1}}``, and ``JSONPatch{op: "add", ...}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kcore.cel.functions import Library
from kcore.cel.standard import text_cost
from kcore.cel.types import DYN, STRING, Field, Type, object_type
from kcore.cel.values import Instance, bounded

PATCH = object_type(
    "JSONPatch", {"op": STRING, "path": STRING, "from": STRING, "value": DYN, "__from__": Field(STRING, "from")}
)
OBJECT = "Object"


class _AnyField(dict[str, Field]):
    """Fields of every name, each of any type."""

    def get(self, key: str, default: Any = None) -> Any:
        return Field(DYN, key)


class Structs(Mapping[str, Type]):
    """The types a mutation may construct: ``JSONPatch``, and ``Object`` with whatever path of fields below it."""

    def __init__(self) -> None:
        self._made: dict[str, Type] = {"JSONPatch": PATCH}

    def __getitem__(self, name: str) -> Type:
        name = name.lstrip(".")
        found = self._made.get(name)
        if found is None:
            if name != OBJECT and not name.startswith(f"{OBJECT}."):
                raise KeyError(name)
            found = self._made[name] = Type("object", name, fields=_AnyField())
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def mismatches(value: Any, path: str = OBJECT) -> list[str]:
    """Where an object's type names do not say where in the root object it stands."""
    bounded(value)
    return _mismatches(value, path)


def _mismatches(value: Any, path: str) -> list[str]:
    found: list[str] = []
    if isinstance(value, Instance):
        if value.type_name != path:
            found.append(
                f'unexpected type name "{value.type_name}", expected "{path}", '
                "which matches field name path from root Object type"
            )
        for name, member in value.items():
            found += _mismatches(member, f"{path}.{name}")
    elif isinstance(value, list | dict):
        for member in value.values() if isinstance(value, dict) else value:
            found += _mismatches(member, path)
    return found


def plain(value: Any) -> Any:
    """A result as JSON: constructed objects as dicts.

    ValueError for what JSON has no form for, BudgetExceeded for what is too much.
    """
    bounded(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"map key {key!r} is not string")  # noqa: TRY004 - the text is for a user
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    if isinstance(value, bool) or value is None or isinstance(value, str | float):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    return str(value)


def escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def library() -> Library:
    made = Library("mutation")
    made.add("jsonpatch.escapeKey", "string_escape_key", "string -> string", escape_key, cost=text_cost)
    return made
