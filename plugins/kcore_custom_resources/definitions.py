"""A CustomResourceDefinition as this plugin reads it: everything but the schemas, which are large and wanted late."""

from __future__ import annotations

from typing import Any

import msgspec

Object = dict[str, Any]


class Names(msgspec.Struct, rename="camel"):
    plural: str = ""
    singular: str = ""
    kind: str = ""
    list_kind: str = ""
    short_names: list[str] | None = None
    categories: list[str] | None = None


class Schema(msgspec.Struct, rename={"doc": "openAPIV3Schema"}):
    doc: msgspec.Raw = msgspec.Raw(b"")


class Version(msgspec.Struct, rename={"deprecation_warning": "deprecationWarning",
                                      "columns": "additionalPrinterColumns",
                                      "selectable": "selectableFields"}):  # fmt: skip
    name: str
    served: bool = False
    storage: bool = False
    deprecated: bool = False
    deprecation_warning: str | None = None
    schema: Schema | None = None
    subresources: Object | None = None
    columns: list[Object] | None = None
    selectable: list[Object] | None = None


class Spec(msgspec.Struct):
    group: str
    names: Names
    scope: str
    versions: list[Version]
    conversion: Object | None = None


class Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Status(msgspec.Struct, rename="camel"):
    accepted_names: Names = msgspec.field(default_factory=Names)
    conditions: list[Condition] | None = None


class Meta(msgspec.Struct, rename="camel"):
    name: str
    uid: str = ""
    deletion_timestamp: str | None = None
    finalizers: list[str] | None = None
    annotations: dict[str, str] | None = None


class Definition(msgspec.Struct):
    metadata: Meta
    spec: Spec
    status: Status = msgspec.field(default_factory=Status)

    def condition(self, type: str) -> Condition | None:
        return next((c for c in self.status.conditions or () if c.type == type), None)

    def holds(self, type: str) -> bool:
        found = self.condition(type)
        return found is not None and found.status == "True"


class _Outline(msgspec.Struct):
    spec: msgspec.Raw


_definition = msgspec.json.Decoder(Definition)
_outline = msgspec.json.Decoder(_Outline)


def read(tail: bytes) -> Definition:
    """From an entry's bytes (`kcore.api.layout`)."""
    return _definition.decode(b"{" + tail)


def spec_bytes(tail: bytes) -> bytes:
    """The spec as it lies in the store: equal for definitions that declare the same."""
    return bytes(_outline.decode(b"{" + tail).spec)
