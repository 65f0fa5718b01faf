"""Objects without what is long and seldom wanted: of CustomResourceDefinitions, the schemas.

A definition of a megabyte is some twenty of Python's objects; who follows which kinds there are needs none of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from kcore.objects import Object

KINDS = frozenset(("CustomResourceDefinition",))
"""Of all others the outline is the whole."""


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    group: str
    names: Any
    scope: str
    versions: list[_Version]
    conversion: Any = None
    preserve_unknown_fields: Any = None


class _Version(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str
    served: Any = None
    storage: Any = None
    deprecated: bool = False
    deprecation_warning: str | None = None
    subresources: Any = None
    additional_printer_columns: Any = None
    selectable_fields: Any = None


class _Definition(msgspec.Struct, rename={"api_version": "apiVersion"}, omit_defaults=True):
    kind: str
    api_version: str
    metadata: Any
    spec: _Spec
    status: Any = None


@cache
def _definition() -> msgspec.json.Decoder[_Definition]:
    return msgspec.json.Decoder(_Definition)


def decode(data: bytes) -> Object:
    """The outline of an encoded object of one of `KINDS`."""
    outlined: Object = msgspec.to_builtins(_definition().decode(data))
    return outlined


def strip(obj: Object) -> Object:
    """The outline of a decoded object."""
    if obj.get("kind") not in KINDS:
        return obj
    spec = obj.get("spec") or {}
    versions = [{k: v for k, v in one.items() if k != "schema"} for one in spec.get("versions") or ()]
    return {**obj, "spec": {**spec, "versions": versions}}
