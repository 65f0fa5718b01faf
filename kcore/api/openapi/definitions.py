"""The schemas of a document: those its operations name, and all that these refer to.

Built-in ones come from the table's provider as a release publishes them. A custom kind's is what its author wrote,
with what every object has: apiVersion, kind and metadata. Version 2 knows less than version 3, and kubectl, which
validates by it, is told nothing that it would misunderstand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcore.api import shapes
from kcore.api.kinds import Definitions as Provider
from kcore.api.kinds import Kind, Subresource
from kcore.api.schema import Schema

Json = dict[str, Any]
REF = "#/components/schemas/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."

_MORE = "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_TYPE_META = {
    "apiVersion": {"type": "string", "description": f"The version of the object's schema. {_MORE}#resources"},
    "kind": {"type": "string", "description": f"The kind of the object, in CamelCase. {_MORE}#types-kinds"},
}
_METADATA = f"Standard object's metadata. {_MORE}#metadata"
_LIST_METADATA = f"Standard list metadata. {_MORE}#types-kinds"

VERSION_INFO = "io.k8s.apimachinery.pkg.version.Info"
_VERSION_MEMBERS = ("major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler",
                    "platform")  # fmt: skip
_VERSION_MORE = ("emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor")

# What a published schema keeps of a CRD's; x-kubernetes-* besides.
_PLAIN = frozenset(
    ("description", "type", "title", "default", "format", "pattern", "minimum", "maximum", "exclusiveMinimum",
     "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems",
     "minProperties", "maxProperties", "required", "enum", "nullable")
)  # fmt: skip
_JUNCTIONS = ("allOf", "anyOf", "oneOf")
_PRESERVE, _EMBEDDED, _INT_OR_STRING = (
    f"x-kubernetes-{name}" for name in ("preserve-unknown-fields", "embedded-resource", "int-or-string")
)


class Definitions:
    """The definitions of one document, gathered while its paths are made. `old`: for version 2."""

    def __init__(self, provider: Provider | None, *, old: bool = False) -> None:
        self._provider, self._old = provider, old
        self._known: dict[str, tuple[str, str, str] | None] = {}
        self._by_gvk: dict[tuple[str, str, str], str] = {}
        if provider is not None:
            for name in provider.definitions():
                self._known[name] = found = provider.gvk(name)
                if found is not None:
                    self._by_gvk.setdefault(found, name)
        self._custom: Json = {}
        self._roots: set[str] = set()

    def use(self, name: str) -> str:
        """A definition will be referred to: it and all that it refers to become part of the document."""
        self._roots.add(name)
        return name

    def meta(self, name: str) -> str:
        return self.use(META + name)

    def own(self, kind: Kind) -> str:
        """The definition of a kind."""
        return self.use(self._name(kind.group, kind.version, kind.kind, kind))

    def list(self, kind: Kind) -> str:
        return self.use(self._name(kind.group, kind.version, kind.list_kind or kind.kind + "List", kind))

    def subresource(self, kind: Kind, sub: Subresource) -> str:
        """The definition of what a subresource takes and gives: the kind's own unless it says otherwise."""
        if sub.kind == kind.kind:
            return self.own(kind)
        group, version = (sub.group, sub.version) if sub.version else (kind.group, kind.version)
        found = self._by_gvk.get((group, version, sub.kind))
        return self.use(found) if found else self.own(kind)

    def declare(self, kind: Kind) -> None:
        """Take the schemas of a kind that the provider does not know."""
        if not kind.message:
            self._custom |= _custom(kind, self._name, old=self._old)

    def closure(self) -> Iterator[tuple[str, Json]]:
        """Every definition that is needed, by name, each once."""
        seen: set[str] = set()
        waiting = sorted(self._roots, reverse=True)
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self._custom.get(name) or self._definition(name)
            waiting += _references(node)
            yield name, node

    def _name(self, group: str, version: str, kind: str, declared: Kind) -> str:
        """A definition's name: the provider's, or for custom kinds the reversed group."""
        known = self._by_gvk.get((group, version, kind)) if declared.message else None
        if known:
            return known
        if declared.message and kind == declared.kind:
            return "io.k8s." + declared.message.removeprefix("k8s.io.")
        return ".".join([*reversed(group.split(".")), version, kind])

    def _definition(self, name: str) -> Json:
        """One built-in definition with its descriptions."""
        if name == VERSION_INFO:
            members = {member: {"type": "string"} for member in (*_VERSION_MEMBERS, *_VERSION_MORE)}
            return {
                "description": "What the server is, and of which release.",
                "type": "object",
                "required": list(_VERSION_MEMBERS),
                "properties": members,
            }
        if self._provider is None or name not in self._known:
            return {"type": "object"}
        node: Json = self._provider.raw(name)
        docs = self._provider.docs(name)
        if docs.get(""):
            node = {"description": docs[""], **node}
        nullable = _nullable(name)
        for member, schema in node.get("properties", {}).items():
            if member in docs:
                schema["description"] = docs[member]
            if member in nullable:
                schema["nullable"] = True
            if "$ref" in schema and len(schema) > 1:
                schema["allOf"] = [{"$ref": schema.pop("$ref")}]
        return node


def _nullable(name: str) -> list[str]:
    """The members that are null when they are empty, as Go writes a slice or a time that is not set.

    Upstream's documents do not say so: what it answers is not always what they promise.
    """
    shape = shapes.struct("k8s.io." + name.removeprefix("io.k8s."))
    if shape is None:
        return []
    return [m for m, member in shape.members.items() if member.always and member.keep_null and m != "items"]


def _references(node: Any) -> list[str]:
    """The definitions that a schema refers to."""
    if isinstance(node, dict):
        found = [node["$ref"].removeprefix(REF)] if isinstance(node.get("$ref"), str) else []
        for value in node.values():
            if isinstance(value, dict | list):
                found += _references(value)
        return found
    if isinstance(node, list):
        return [ref for value in node if isinstance(value, dict | list) for ref in _references(value)]
    return []


# --- custom kinds -----------------------------------------------------------------------------------------------


def _custom(kind: Kind, name: Any, *, old: bool) -> Json:
    """The definitions of a custom kind and of its list."""
    list_kind = kind.list_kind or kind.kind + "List"
    own, listed = (name(kind.group, kind.version, k, kind) for k in (kind.kind, list_kind))
    gvk = {"group": kind.group, "version": kind.version}
    schema = custom_schema(kind, old=old)
    schema["x-kubernetes-group-version-kind"] = [{**gvk, "kind": kind.kind}]
    if kind.selectable and kind.raw_schema:
        fields = [{"fieldPath": path.removeprefix(".")} for path in kind.selectable]
        schema["x-kubernetes-selectable-fields"] = fields
    items = {"description": f"The {kind.plural}.", "type": "array", "items": {"$ref": REF + own}}
    as_list = {
        "description": f"{list_kind} is a list of {kind.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {**_TYPE_META, "items": items, "metadata": _reference(META + "ListMeta", _LIST_METADATA)},
        "x-kubernetes-group-version-kind": [{**gvk, "kind": list_kind}],
    }
    return {own: schema, listed: as_list}


def _reference(name: str, description: str) -> Json:
    return {"description": description, "allOf": [{"$ref": REF + name}]}


def custom_schema(kind: Kind, *, old: bool = False) -> Json:
    """A custom kind's schema as it is published.

    Without one, or in version 2 with unknown fields preserved, nothing is said of members at all: kubectl takes those
    that are named for the only ones.
    """
    source = kind.raw_schema() if kind.raw_schema else from_schema(kind.schema)
    if not source or (old and source.get(_PRESERVE)):
        return {"type": "object"}
    schema = _published(source, old=old)
    schema["type"] = "object"
    metadata = _reference(META + "ObjectMeta", _METADATA)
    schema["properties"] = {**schema.get("properties", {}), **_TYPE_META, "metadata": metadata}
    return schema


def _published(source: Json, *, old: bool) -> Json:
    """A node of a CRD's schema, and what is below it."""
    out: Json = {k: v for k, v in source.items() if k in _PLAIN or k.startswith("x-kubernetes-")}
    for name in ("items", "not"):
        if isinstance(source.get(name), dict):
            out[name] = _published(source[name], old=old)
    values = source.get("additionalProperties")
    if isinstance(values, dict):
        out["additionalProperties"] = _published(values, old=old)
    elif values is not None and not old:
        out["additionalProperties"] = values
    if source.get("properties"):
        out["properties"] = {name: _published(node, old=old) for name, node in source["properties"].items()}
    for name in _JUNCTIONS:
        if source.get(name):
            out[name] = [_published(node, old=old) for node in source[name]]
    if source.get(_INT_OR_STRING) and not any(source.get(name) for name in _JUNCTIONS):
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if source.get(_EMBEDDED) and not (old and source.get(_PRESERVE)):
        metadata = _reference(META + "ObjectMeta", _METADATA)
        out["properties"] = {**out.get("properties", {}), **_TYPE_META, "metadata": metadata}
        out["required"] = [*out.get("required", ()), *({"kind", "apiVersion"} - set(out.get("required", ())))]
        out["required"].sort()
    return _aged(source, out) if old else out


def _aged(source: Json, out: Json) -> Json:
    """A node as version 2 can have it, and so that kubectl's validation refuses nothing that the server takes."""
    for name in (*_JUNCTIONS, "not", "nullable"):
        out.pop(name, None)
    preserve = bool(source.get(_PRESERVE))
    if source.get("nullable") or preserve:
        out.pop("items", None)
        out.pop("properties", None)
    if source.get("nullable") or (preserve and out.get("type") == "object"):
        out.pop("type", None)
    if out.get("type") == "array" and "items" not in out:
        del out["type"]
    if out.get("required"):
        members = source.get("properties") or {}
        kept = [name for name in out["required"] if not (members.get(name) or {}).get("nullable")]
        values = source.get("additionalProperties")
        if isinstance(values, dict) and values.get("nullable"):
            kept = []
        out["required"] = kept
        if not kept:
            del out["required"]
    return out


_KEPT_RULES = ("pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "default",
               "exclusiveMinimum", "exclusiveMaximum", "uniqueItems", "multipleOf", "description", "minProperties",
               "maxProperties", "x-kubernetes-validations")  # fmt: skip


def from_schema(schema: Schema) -> Json:
    """A schema tree as JSON Schema, for kinds that have no other form of it."""
    out: Json = {}
    if schema.type == "int-or-string":
        out[_INT_OR_STRING] = True
    elif schema.type:
        out["type"] = "string" if schema.type == "quantity" else schema.type
    if schema.format:
        out["format"] = schema.format
    if schema.properties:
        out["properties"] = {name: from_schema(child) for name, child in schema.properties.items()}
    if schema.values is not None:
        out["additionalProperties"] = from_schema(schema.values)
    if schema.items is not None:
        out["items"] = from_schema(schema.items)
    if schema.required:
        out["required"] = list(schema.required)
    if schema.enum:
        out["enum"] = list(schema.enum)
    if schema.nullable:
        out["nullable"] = True
    if schema.preserve_unknown:
        out[_PRESERVE] = True
    if schema.list_type != "atomic":
        out["x-kubernetes-list-type"] = schema.list_type
    if schema.list_map_keys:
        out["x-kubernetes-list-map-keys"] = list(schema.list_map_keys)
    out.update((rule, schema.rules[rule]) for rule in _KEPT_RULES if rule in schema.rules)
    return out
