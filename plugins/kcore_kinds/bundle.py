"""The shapes of the built-in kinds: one small file, opened once, of which only what is asked for is built.

    schema("io.k8s.api.core.v1.Pod")   the `Schema` tree that validation, patching and pruning walk
    raw("io.k8s.api.core.v1.Pod")      the JSON Schema, for OpenAPI documents
    docs("io.k8s.api.core.v1.Pod")     what the fields mean, for OpenAPI documents

Every definition is one node, shared by all that refer to it. Nodes say nothing of required members: Go reads a
missing member as its zero value, so that a missing name is found by the kind's own validation, never by its shape;
OpenAPI documents list them (`raw`).
"""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import msgspec

from kcore.api.schema import Schema
from kcore.errors import KcoreError
from kcore_kinds import _extract
from kcore_kinds.enums import ENUMS

Json = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
REF = "#/components/schemas/"

# What JSON Schema cannot say, and the package therefore says wrongly.
_SPECIAL: dict[str, Json] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": "int-or-string"},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "quantity"},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"preserve_unknown": True, "embedded": True},
    _META + "FieldsV1": {"type": "object", "preserve_unknown": True, "map_type": "atomic"},
    _META + "Patch": {"preserve_unknown": True},
    _EXTENSIONS + "JSON": {"preserve_unknown": True},
    _EXTENSIONS + "JSONSchemaPropsOrArray": {"preserve_unknown": True},
    _EXTENSIONS + "JSONSchemaPropsOrBool": {"preserve_unknown": True},
    _EXTENSIONS + "JSONSchemaPropsOrStringArray": {"preserve_unknown": True},
}
# How OpenAPI v3 documents of a server say the same.
_PUBLISHED: dict[str, Json] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}


class _Bundle(msgspec.Struct):
    version: str
    definitions: dict[str, msgspec.Raw]  # decoded one by one, when first needed


def _read(name: str) -> bytes:
    path = Path(__file__).with_name(name)
    if not path.exists():
        release = _extract.source()
        if release is None:
            raise KcoreError(
                f"{path} is missing: it is written when kcore is built. In a source checkout, "
                "`pip install kubernetes-validate` and start again, or `pip install -e .`"
            )
        _extract.write(path.parent, release)
    return zlib.decompress(path.read_bytes())


@cache
def _bundle() -> _Bundle:
    return msgspec.json.decode(_read(_extract.SCHEMAS), type=_Bundle)


@cache
def _docs() -> dict[str, dict[str, str]]:
    return msgspec.json.decode(_read(_extract.DOCS), type=dict[str, dict[str, str]])


@cache
def _definition(name: str) -> Json:
    try:
        return msgspec.json.decode(_bundle().definitions[name], type=dict)
    except KeyError:
        raise KcoreError(f"the schema bundle has no definition {name!r}") from None


def version() -> str:
    """The Kubernetes release that the shapes are of: ``1.37.0``."""
    return _bundle().version


def definitions() -> list[str]:
    """The names of all definitions, sorted."""
    return sorted(_bundle().definitions)


def raw(definition_name: str) -> Json:
    """The definition as an OpenAPI v3 document has it, without descriptions; refs are ``#/components/schemas/NAME``.

    A new dict each time: change it as you like.
    """
    published: Json = _expand(_PUBLISHED.get(definition_name) or _definition(definition_name))
    for member, values in ENUMS.get(definition_name, {}).items():
        published["properties"][member]["enum"] = list(values)
    return published


def docs(definition_name: str) -> dict[str, str]:
    """Descriptions: of the definition itself at "", of each of its properties at its name."""
    return _docs().get(definition_name, {})


def gvk(definition: str) -> tuple[str, str, str] | None:
    """(group, version, kind) of a definition that is a kind of its own, None for a part of one."""
    found = _definition(definition).get("x-kubernetes-group-version-kind")
    if not found:
        return None
    first = found[0]
    return first["group"], first["version"], first["kind"]


def _expand(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: REF + v if k == "$ref" and isinstance(v, str) else _expand(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_expand(v) for v in node]
    return node


_nodes: dict[str, Schema] = {}


def schema(definition_name: str) -> Schema:
    """The node of a definition, with all that it refers to. The same one every time."""
    node = _nodes.get(definition_name)
    if node is not None:
        return node
    special = _SPECIAL.get(definition_name)
    if special is not None:
        node = _nodes[definition_name] = Schema(name=definition_name, nullable=True, **special)
        return node
    source = _definition(definition_name)
    node = _nodes[definition_name] = _plain(source)
    node.name = definition_name
    _fill(node, source)  # after the node is known: definitions may refer to themselves
    return node


def _plain(source: Json) -> Schema:
    """The node without its children. Null is no mistake anywhere: Go reads it as the zero value."""
    strategies = source.get("x-kubernetes-patch-strategy", "")
    return Schema(
        type=source.get("type", ""),
        format=source.get("format", ""),
        nullable=True,
        enum=tuple(source.get("enum", ())),
        list_type=source.get("x-kubernetes-list-type", "atomic"),
        list_map_keys=tuple(source.get("x-kubernetes-list-map-keys", ())),
        map_type=source.get("x-kubernetes-map-type", "granular"),
        patch_strategy=frozenset(strategies.split(",")) if strategies else frozenset(),
        patch_merge_key=source.get("x-kubernetes-patch-merge-key", ""),
        preserve_unknown="type" not in source,
    )


def _fill(node: Schema, source: Json) -> None:
    for name, child in source.get("properties", {}).items():
        node.properties[name] = _child(child)
    if isinstance(source.get("additionalProperties"), dict):
        node.values = _child(source["additionalProperties"])
    if "items" in source:
        node.items = _child(source["items"])


def _child(source: Json) -> Schema:
    ref = source.get("$ref")
    if ref is None:
        node = _plain(source)
        _fill(node, source)
        return node
    node = schema(ref)
    extra: Json = {}
    if "x-kubernetes-map-type" in source:
        extra["map_type"] = source["x-kubernetes-map-type"]
    if "x-kubernetes-patch-strategy" in source:
        extra["patch_strategy"] = frozenset(source["x-kubernetes-patch-strategy"].split(","))
    # a field may add to what it refers to: the copy shares the children, which may still be in the making
    return attrs.evolve(node, **extra) if extra else node
