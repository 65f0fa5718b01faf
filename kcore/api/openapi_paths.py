"""The ``paths`` of OpenAPI documents: which operations a kind and its subresources have, with their parameters."""

from __future__ import annotations

from typing import Any

from kcore.api.kinds import Kind, Subresource

Json = dict[str, Any]
Ref = str
"""The name of a definition."""

_OPTIONS = {
    "dryRun": "When present, indicates that modifications should not be persisted. Valid values are: All.",
    "fieldManager": "A name for the actor or entity that is making these changes.",
    "fieldValidation": "What to do with unknown or duplicate fields: Ignore, Warn or Strict.",
}
_LIST: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Request BOOKMARK events."),
    "continue": ("string", "Where a list that was cut at its limit goes on."),
    "fieldSelector": ("string", "Restrict the objects by their fields."),
    "labelSelector": ("string", "Restrict the objects by their labels."),
    "limit": ("integer", "How many objects to return at most."),
    "resourceVersion": ("string", "What resource versions may be served from."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied to lists."),
    "sendInitialEvents": ("boolean", "Begin a watch with the present state."),
    "timeoutSeconds": ("integer", "How long the call may take."),
    "watch": ("boolean", "Watch for changes instead of listing."),
}
_DELETE: dict[str, tuple[str, str]] = {
    "gracePeriodSeconds": ("integer", "Seconds before the object is deleted."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "propagationPolicy": ("string", "Whether and how dependents are collected."),
}
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."


def paths_of(kind: Kind, definition: Ref, list_definition: Ref, others: dict[str, Ref]) -> Json:
    """The path items of a kind. `others` names the definitions of subresources' kinds."""
    out: Json = {}
    base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = f"{base}/namespaces/{{namespace}}" if kind.namespaced else base
    collection, name = f"{scope}/{kind.plural}", f"{scope}/{kind.plural}/{{name}}"
    build = _Builder(kind, definition, list_definition)
    verbs = set(kind.verbs)
    if verbs & {"list", "create", "deletecollection"}:
        out[collection] = build.item(
            collection, {"get": "list", "post": "create", "delete": "deletecollection"}, verbs
        )
    if verbs & {"get", "update", "patch", "delete"}:
        methods = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
        out[name] = build.item(name, methods, verbs)
    if kind.namespaced and "list" in verbs:
        everywhere = f"{base}/{kind.plural}"
        out[everywhere] = build.item(everywhere, {"get": "list"}, verbs)
    if "watch" in verbs:
        watched = [f"{base}/watch/{kind.plural}"]
        if kind.namespaced:
            watched.append(f"{base}/watch/namespaces/{{namespace}}/{kind.plural}")
        watched.append(watched[-1] + "/{name}")
        for path in watched:
            out[path] = build.watch(path)
    for sub in kind.subresources.values():
        path = f"{name}/{sub.name}"
        out[path] = build.subresource(path, sub, others.get(sub.kind, definition))
        if sub.name == "proxy":
            out[path + "/{path}"] = build.subresource(path + "/{path}", sub, definition)
    return out


class _Builder:
    def __init__(self, kind: Kind, definition: Ref, list_definition: Ref) -> None:
        self._kind, self._definition, self._list = kind, definition, list_definition
        self._gvk = {"group": kind.group, "kind": kind.kind, "version": kind.version}
        stem = (kind.group or "core").partition(".")[0]
        self._tag = f"{stem}_{kind.version}"

    def item(self, path: str, methods: dict[str, str], verbs: set[str]) -> Json:
        item: Json = {m: self._operation(path, v) for m, v in methods.items() if v in verbs}
        item["parameters"] = [*_in_path(path), _parameter("pretty", "string", "Print with indentation.")]
        return item

    def watch(self, path: str) -> Json:
        operation = self._operation(path, "watch" if path.endswith("{name}") else "watchlist")
        return {"get": operation, "parameters": _in_path(path)}

    def subresource(self, path: str, sub: Subresource, definition: Ref) -> Json:
        methods = {"get": "get", "put": "update", "patch": "patch", "post": "create", "delete": "delete"}
        gvk = self._gvk
        if sub.version:
            gvk = {"group": sub.group, "kind": sub.kind, "version": sub.version}
        item: Json = {}
        for method, verb in methods.items():
            if verb in sub.verbs:
                operation = self._operation(path, verb, definition, sub.name)
                operation["x-kubernetes-group-version-kind"] = gvk
                item[method] = operation
        item["parameters"] = _in_path(path)
        return item

    def _operation(self, path: str, verb: str, definition: Ref = "", subresource: str = "") -> Json:
        definition = definition or self._definition
        answer = {"list": self._list, "deletecollection": _META + "Status"}.get(verb, definition)
        if verb.startswith("watch"):
            answer = _META + "WatchEvent"
        if verb == "delete":
            answer = _META + "Status"
        out: Json = {
            "tags": [self._tag],
            "operationId": self._id(path, verb, subresource),
            "parameters": _parameters(verb),
            "responses": {"200": _content(answer, "OK"), "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": {"create": "post", "update": "put"}.get(verb, verb),
            "x-kubernetes-group-version-kind": self._gvk,
        }
        if verb in ("create", "update"):
            out["requestBody"] = _body(definition, ("*/*",))
            out["responses"]["201"] = _content(definition, "Created")
        elif verb == "patch":
            out["requestBody"] = _body(_META + "Patch", _PATCHES)
        elif verb in ("delete", "deletecollection"):
            out["requestBody"] = _body(_META + "DeleteOptions", ("*/*",), required=False)
        return out

    def _id(self, path: str, verb: str, subresource: str) -> str:
        word = {"update": "replace", "get": "read", "deletecollection": "deleteCollection", "watchlist": "watch"}
        stem = "".join(part.capitalize() for part in self._tag.split("_"))
        where = "Namespaced" if "{namespace}" in path else ""
        everywhere = "ForAllNamespaces" if self._kind.namespaced and not where else ""
        tail = subresource.capitalize() + ("WithPath" if path.endswith("{path}") else "")
        tail += "List" if verb == "watchlist" else ""
        return f"{word.get(verb, verb)}{stem}{where}{self._kind.kind}{tail}{everywhere}"


def _in_path(path: str) -> list[Json]:
    docs = {"namespace": "object name and auth scope, such as for teams and projects", "name": "name of the object"}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": docs.get(name, "path to the resource"),
            "schema": {"type": "string", "uniqueItems": True},
        }
        for name in ("name", "namespace", "path")
        if f"{{{name}}}" in path
    ]


def _parameter(name: str, type: str, description: str) -> Json:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": type, "uniqueItems": True},
    }


def _parameters(verb: str) -> list[Json]:
    out: list[Json] = []
    if verb in ("list", "watch", "watchlist", "deletecollection"):
        out += [_parameter(name, type, doc) for name, (type, doc) in _LIST.items()]
    if verb in ("delete", "deletecollection"):
        out += [_parameter(name, type, doc) for name, (type, doc) in _DELETE.items()]
        out.append(_parameter("dryRun", "string", _OPTIONS["dryRun"]))
    if verb in ("create", "update", "patch"):
        out += [_parameter(name, "string", doc) for name, doc in _OPTIONS.items()]
    if verb == "patch":
        out.append(_parameter("force", "boolean", "Take fields that other managers own (apply only)."))
    return out


def _content(definition: Ref, description: str) -> Json:
    schema = {"$ref": f"#/components/schemas/{definition}"}
    types = ("application/json", "application/vnd.kubernetes.protobuf", "application/yaml")
    return {"description": description, "content": {t: {"schema": schema} for t in types}}


def _body(definition: Ref, types: tuple[str, ...], *, required: bool = True) -> Json:
    schema = {"$ref": f"#/components/schemas/{definition}"}
    body: Json = {"content": {t: {"schema": schema} for t in types}}
    if required:
        body["required"] = True
    return body
