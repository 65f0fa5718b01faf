"""OpenAPI documents: the v3 index with one document for each group and version, and the whole as v2.

Definitions come from the table's provider for built-in kinds and from the kind's own schema for custom ones. A
document is made when it is first asked for; the index only needs hashes of what would be in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from kcore.api import layout
from kcore.api.health import VERSION
from kcore.api.kinds import Kind, KindTable
from kcore.api.openapi_paths import paths_of
from kcore.api.schema import Schema
from kcore.errors import NotAcceptable
from kcore.http.messages import Request, Response

Json = dict[str, Any]
REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"  # what clients ask for
_V2_PROTOBUF_SENT = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"  # Go cannot parse a type with @
_INFO = {"title": "Kubernetes", "version": VERSION["gitVersion"].partition("+")[0]}
_SECURITY = {
    "BearerToken": {
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
        "description": "Bearer Token authentication",
    }
}


class OpenApi:
    def __init__(self, kinds: KindTable) -> None:
        self._kinds = kinds
        self._generation = -1
        self._documents: dict[str, tuple[bytes, str]] = {}  # body and ETag, by path
        self._by_gvk: dict[tuple[str, str, str], str] = {}

    def answer(self, request: Request) -> Response | None:
        """None for a path that is no OpenAPI document. Raises NotAcceptable."""
        path = request.path.rstrip("/")
        if not path.startswith("/openapi/"):
            return None
        if self._generation != self._kinds.generation:
            self._documents.clear()
            self._generation = self._kinds.generation
        if path == "/openapi/v2":
            return self._v2(request)
        if path == "/openapi/v3":
            return self._send(request, path, self._index, "application/json")
        name = path.removeprefix("/openapi/v3/")
        if name not in self._names():
            return None
        response = self._send(request, path, lambda: self._v3(name), "application/json")
        if "hash=" in request.query:
            response.headers.append((b"cache-control", b"public, immutable"))
        return response

    def _send(self, request: Request, key: str, make: Any, content_type: str) -> Response:
        kept = self._documents.get(key)
        if kept is None:
            made = make()
            body = made if isinstance(made, bytes) else layout.encode_json(made)
            kept = self._documents[key] = (body, f'"{hashlib.sha256(body).hexdigest().upper()}"')
        body, etag = kept
        headers = [(b"etag", etag.encode()), (b"vary", b"Accept")]
        if etag in request.headers.get("if-none-match", ""):
            return Response(304, b"", content_type, headers)
        return Response(200, body, content_type, headers)

    # --- what there is ------------------------------------------------------------------------------------------

    def _names(self) -> dict[str, list[Kind]]:
        """Every document's name, with the kinds it is about."""
        names: dict[str, list[Kind]] = {"api": [], "apis": [], "version": [], "openid/v1/jwks": []}
        names[".well-known/openid-configuration"] = []
        for kind in self._kinds:
            if kind.group:
                names.setdefault(f"apis/{kind.group}", [])
            name = f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"
            names.setdefault(name, []).append(kind)
        return names

    def _index(self) -> Json:
        paths = {}
        for name, kinds in sorted(self._names().items()):
            seen = hashlib.sha256(_INFO["version"].encode())
            for kind in sorted(kinds, key=lambda k: k.plural):
                seen.update(repr((kind.kind, kind.plural, kind.verbs, sorted(kind.subresources))).encode())
                if not kind.message:
                    seen.update(layout.encode_json(_from_schema(kind.schema)))
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={seen.hexdigest().upper()}"}
        return {"paths": paths}

    def _v3(self, name: str) -> Json:
        kinds = self._names()[name]
        paths, roots = self._paths(kinds)
        if name.count("/") != 2 and name != "api/v1":
            paths = {
                f"/{name}" if "." in name.partition("/")[0] or "openid" in name else f"/{name}/": {"get": _plain()}
            }
        elif not kinds or kinds[0].message:
            paths[f"/{name}/"] = {"get": _plain()}
        schemas = self._closure(roots, kinds) if kinds else {}
        components: Json = {"schemas": schemas, "securitySchemes": _SECURITY}
        return {"openapi": "3.0.0", "info": _INFO, "paths": dict(sorted(paths.items())), "components": components}

    def _paths(self, kinds: Iterable[Kind]) -> tuple[Json, set[str]]:
        """All path items of some kinds, and the definitions that they name."""
        paths: Json = {}
        roots = {_META + name for name in ("Status", "DeleteOptions", "Patch", "WatchEvent", "APIResourceList")}
        for kind in kinds:
            own, listed = (
                self._name(kind.group, kind.version, kind.kind, kind),
                self._name(kind.group, kind.version, kind.kind + "List", kind),
            )
            others = {}
            for sub in kind.subresources.values():
                group, version = (sub.group, sub.version) if sub.version else (kind.group, kind.version)
                found = self._gvks().get((group, version, sub.kind))
                if found:
                    others[sub.kind] = found
            paths.update(paths_of(kind, own, listed, others))
            roots |= {own, *others.values()}
            if "list" in kind.verbs:
                roots.add(listed)
        return paths, roots

    # --- definitions --------------------------------------------------------------------------------------------

    def _gvks(self) -> dict[tuple[str, str, str], str]:
        """Definitions by group, version and kind."""
        provider = self._kinds.definitions
        if not self._by_gvk and provider is not None:
            for name in provider.definitions():
                gvk = provider.gvk(name)
                if gvk is not None:
                    self._by_gvk.setdefault(gvk, name)
        return self._by_gvk

    def _name(self, group: str, version: str, kind: str, declared: Kind) -> str:
        """A definition's name: the provider's, or for custom kinds the reversed group."""
        known = self._gvks().get((group, version, kind)) if declared.message else None
        if known:
            return known
        if declared.message and kind == declared.kind:
            return "io.k8s." + declared.message.removeprefix("k8s.io.")
        return ".".join([*reversed(group.split(".")), version, kind])

    def _closure(self, roots: set[str], kinds: Iterable[Kind]) -> Json:
        """The definitions named by `roots` and by one another."""
        custom: Json = {}
        for kind in kinds:
            if not kind.message:
                custom.update(self._custom(kind))
        out: Json = {}
        waiting = sorted(roots)
        while waiting:
            name = waiting.pop()
            if name in out:
                continue
            definition = custom.get(name) or self._definition(name)
            out[name] = definition
            waiting += _refs(definition)
        return dict(sorted(out.items()))

    def _definition(self, name: str) -> Json:
        """One built-in definition with its descriptions."""
        provider = self._kinds.definitions
        if provider is None or name not in self._known(provider):
            return {"type": "object"}
        raw: Json = provider.raw(name)
        docs = provider.docs(name)
        if docs.get(""):
            raw = {"description": docs[""], **raw}
        for member, schema in raw.get("properties", {}).items():
            if member in docs:
                schema["description"] = docs[member]
            if set(schema) - {"$ref"} and "$ref" in schema:
                schema["allOf"] = [{"$ref": schema.pop("$ref")}]
        return raw

    def _known(self, provider: Any) -> set[str]:
        if not hasattr(self, "_all"):
            self._all = set(provider.definitions())
        return self._all

    def _custom(self, kind: Kind) -> Json:
        """The definitions of a custom kind and its list."""
        own, listed = (
            self._name(kind.group, kind.version, kind.kind, kind),
            self._name(kind.group, kind.version, kind.kind + "List", kind),
        )
        gvk = {"group": kind.group, "version": kind.version}
        schema = _from_schema(kind.schema)
        schema.setdefault("properties", {})["metadata"] = {"allOf": [{"$ref": f"{REF}{_META}ObjectMeta"}]}
        schema["x-kubernetes-group-version-kind"] = [{**gvk, "kind": kind.kind}]
        items = {"type": "array", "items": {"allOf": [{"$ref": REF + own}]}}
        strings = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
        schema["properties"] = {**strings, **schema["properties"]}
        as_list = {
            "type": "object",
            "required": ["items"],
            "properties": {**strings, "items": items, "metadata": {"allOf": [{"$ref": f"{REF}{_META}ListMeta"}]}},
            "x-kubernetes-group-version-kind": [{**gvk, "kind": kind.kind + "List"}],
        }
        return {own: schema, listed: as_list}

    # --- version 2 ----------------------------------------------------------------------------------------------

    def _v2(self, request: Request) -> Response:
        from kcore.api.negotiate import clauses

        for media, _ in clauses(request.headers.get("accept", "") or "*/*"):
            if media in ("application/json", "*/*", "application/*"):
                return self._send(request, "v2", self._v2_document, "application/json")
            if media == _V2_PROTOBUF:
                return self._send(request, "v2 protobuf", self._v2_encoded, _V2_PROTOBUF_SENT)
        raise NotAcceptable(f"only the following media types are accepted: application/json, {_V2_PROTOBUF}")

    def _v2_encoded(self) -> bytes:
        from kcore.api import openapi_v2

        return openapi_v2.encode(self._v2_document())

    def _v2_document(self) -> Json:
        from kcore.api import openapi_v2

        paths: Json = {}
        for name in self._names():
            document = self._v3(name)
            paths.update(document["paths"])
        schemas: Json = {}
        kinds = list(self._kinds)
        _, roots = self._paths(kinds)
        schemas.update(self._closure(roots, kinds))
        return openapi_v2.from_v3(_INFO, paths, schemas, _SECURITY)


def _plain() -> Json:
    return {"responses": {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}}}


def _refs(node: Any) -> list[str]:
    """The definitions that a schema refers to."""
    if isinstance(node, dict):
        found = [node["$ref"].removeprefix(REF)] if isinstance(node.get("$ref"), str) else []
        for value in node.values():
            if isinstance(value, dict | list):
                found += _refs(value)
        return found
    if isinstance(node, list):
        return [ref for value in node for ref in _refs(value)]
    return []


_KEPT_RULES = ("pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "default",
               "exclusiveMinimum", "exclusiveMaximum", "uniqueItems", "multipleOf", "description", "minProperties",
               "maxProperties", "x-kubernetes-validations")  # fmt: skip


def _from_schema(schema: Schema) -> Json:
    """A schema tree as JSON Schema, for kinds that have no definition of their own."""
    out: Json = {}
    if schema.type == "int-or-string":
        out["x-kubernetes-int-or-string"] = True
    elif schema.type:
        out["type"] = "string" if schema.type == "quantity" else schema.type
    if schema.format:
        out["format"] = schema.format
    if schema.properties:
        out["properties"] = {name: _from_schema(child) for name, child in schema.properties.items()}
    if schema.values is not None:
        out["additionalProperties"] = _from_schema(schema.values)
    if schema.items is not None:
        out["items"] = _from_schema(schema.items)
    if schema.required:
        out["required"] = list(schema.required)
    if schema.enum:
        out["enum"] = list(schema.enum)
    if schema.nullable:
        out["nullable"] = True
    if schema.preserve_unknown:
        out["x-kubernetes-preserve-unknown-fields"] = True
    if schema.list_type != "atomic":
        out["x-kubernetes-list-type"] = schema.list_type
    if schema.list_map_keys:
        out["x-kubernetes-list-map-keys"] = list(schema.list_map_keys)
    out.update((rule, schema.rules[rule]) for rule in _KEPT_RULES if rule in schema.rules)
    return out
