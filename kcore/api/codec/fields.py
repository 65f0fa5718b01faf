"""What Go knows of every built-in type: its fields' numbers, types, and how they behave when they are empty.

``_fields.json`` holds it in short form, one message a line. A field is ``number jsonName type flags``; a type is a
scalar or ``package.Message`` with the package's index; a map's is ``key/value``. Flags: ``r`` repeated, ``m`` map,
``e`` left out of JSON when empty, ``z`` left out when the zero value, ``p`` a pointer (absent when nil), ``i`` its
members stand in the parent JSON object. The protobuf codec reads the numbers, the typed decoder (`kcore.api.typed`)
the rest.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import attrs
import msgspec

META = "k8s.io.apimachinery.pkg.apis.meta.v1."
RUNTIME = "k8s.io.apimachinery.pkg.runtime."
EXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1."
QUANTITY = "k8s.io.apimachinery.pkg.api.resource.Quantity"
QUANTITY_VALUE = "k8s.io.apimachinery.pkg.api.resource.QuantityValue"
INT_OR_STRING = "k8s.io.apimachinery.pkg.util.intstr.IntOrString"
RAW_EXTENSION = RUNTIME + "RawExtension"
TIME, MICRO_TIME, DURATION, FIELDS = META + "Time", META + "MicroTime", META + "Duration", META + "FieldsV1"


@attrs.frozen(slots=True)
class Field:
    """One field of a message."""

    number: int
    name: str  # in JSON
    type: str  # string, int32, int64, bool, bytes, double or a message's full name; of a map, its values' type
    repeated: bool
    map: bool  # keys are strings
    omitempty: bool
    omitzero: bool
    pointer: bool
    inline: bool


class _Table(msgspec.Struct):
    packages: list[str]
    kinds: dict[str, str]
    messages: dict[str, str]


@cache
def _table() -> _Table:
    return msgspec.json.decode((files(__package__) / "_fields.json").read_bytes(), type=_Table)


@cache
def _package_index() -> dict[str, int]:
    return {package: i for i, package in enumerate(_table().packages)}


def _full(short: str) -> str:
    index, dot, name = short.partition(".")
    return f"{_table().packages[int(index)]}.{name}" if dot else short


@cache
def message(name: str) -> tuple[Field, ...] | None:
    """The fields of a message by its full name; None if there is no such message."""
    package, _, short = name.rpartition(".")
    index = _package_index().get(package)
    text = None if index is None else _table().messages.get(f"{index}.{short}")
    if text is None:
        return None
    return tuple(_field(part) for part in text.split("; ")) if text else ()


def _field(text: str) -> Field:
    number, name, kind, *rest = text.split(" ")
    flags = rest[0] if rest else ""
    if "m" in flags:
        kind = kind.partition("/")[2]
    return Field(
        number=int(number),
        name=name,
        type=_full(kind),
        repeated="r" in flags,
        map="m" in flags,
        omitempty="e" in flags,
        omitzero="z" in flags,
        pointer="p" in flags,
        inline="i" in flags,
    )


_EVERYWHERE = frozenset(
    ("CreateOptions", "DeleteOptions", "GetOptions", "ListOptions", "PatchOptions", "UpdateOptions", "WatchEvent")
)
"""Kinds of meta/v1 that are registered in every group and version: client-go names that of the resource."""


def message_of(api_version: str, kind: str) -> str:
    """The full message name of a kind; "" if it has no protobuf form. Some of meta/v1 go by kind alone."""
    kinds = _table().kinds
    short = kinds.get(f"{api_version} {kind}") or kinds.get(kind)
    if not short and kind in _EVERYWHERE:
        short = kinds.get(f"meta.k8s.io/v1 {kind}")
    return _full(short) if short else ""


def message_of_definition(name: str) -> str:
    """The full message name of an OpenAPI definition: io.k8s.api.core.v1.Pod -> k8s.io.api.core.v1.Pod."""
    return "k8s.io." + name[7:].replace("-", "_") if name.startswith("io.k8s.") else ""
