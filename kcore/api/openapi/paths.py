"""The ``paths`` of OpenAPI documents: where a kind, its subresources and the server's own documents are."""

from __future__ import annotations

import re
from typing import Any

from kcore.api.kinds import Kind, Subresource
from kcore.api.openapi import operations
from kcore.api.openapi.definitions import VERSION_INFO, Definitions
from kcore.api.openapi.operations import Operation

Json = dict[str, Any]

_METHODS = {"get": "get", "put": "update", "post": "create", "delete": "delete", "patch": "patch"}
_CONNECT = frozenset(("exec", "attach", "portforward", "proxy"))


class Paths:
    """The path items of one kind."""

    def __init__(self, kind: Kind, definitions: Definitions) -> None:
        self._kind, self._definitions = kind, definitions
        self._gvk = {"group": kind.group, "kind": kind.kind, "version": kind.version}
        self._tag = tag(kind.group, kind.version)
        self._base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        scope = f"{self._base}/namespaces/{{namespace}}" if kind.namespaced else self._base
        self._collection = f"{scope}/{kind.plural}"

    def items(self) -> list[tuple[str, Json]]:
        """(path, path item), as kube-apiserver documents them."""
        kind, verbs = self._kind, set(self._kind.verbs)
        out = []
        one = f"{self._collection}/{{name}}"
        if verbs & {"list", "create", "deletecollection"}:
            methods = {"get": "list", "post": "create", "delete": "deletecollection"}
            out.append((self._collection, self._item(self._collection, methods, verbs)))
        if verbs & {"get", "update", "patch", "delete"}:
            methods = {method: verb for method, verb in _METHODS.items() if verb != "create"}
            out.append((one, self._item(one, methods, verbs)))
        everywhere = f"{self._base}/{kind.plural}"
        if kind.namespaced and "list" in verbs:
            out.append((everywhere, self._item(everywhere, {"get": "list"}, verbs)))
        if "watch" in verbs and kind.message:  # custom kinds' old watch paths are served, but not documented
            out += self._watches()
        for sub in kind.subresources.values():
            out += self._subresource(f"{one}/{sub.name}", sub)
        return out

    def _item(self, path: str, methods: dict[str, str], verbs: set[str]) -> Json:
        item: Json = {m: self._operation(path, v) for m, v in methods.items() if v in verbs}
        item["parameters"] = [*operations.in_path(path, self._kind.kind), operations.PRETTY]
        return item

    def _operation(self, path: str, verb: str, sub: Subresource | None = None) -> Json:
        operation = Operation(self._kind, verb, self._definitions, sub)
        out: Json = {"tags": [self._tag], "description": operation.description, "operationId": self._id(path, verb)}
        out |= operation.document()
        out["x-kubernetes-group-version-kind"] = self._gvk
        if sub is not None and sub.version:
            out["x-kubernetes-group-version-kind"] = {"group": sub.group, "kind": sub.kind, "version": sub.version}
        return out

    def _watches(self) -> list[tuple[str, Json]]:
        plural = self._kind.plural
        paths = [f"{self._base}/watch/{plural}"]
        if self._kind.namespaced:
            paths.append(f"{self._base}/watch/namespaces/{{namespace}}/{plural}")
        paths.append(paths[-1] + "/{name}")
        out = []
        for path in paths:
            operation = self._operation(path, "watch" if path.endswith("{name}") else "watchlist")
            parameters = [*operations.in_path(path, self._kind.kind), operations.PRETTY, *operation.pop("parameters")]
            out.append((path, {"get": operation, "parameters": parameters}))
        return out

    def _subresource(self, path: str, sub: Subresource) -> list[tuple[str, Json]]:
        if sub.name in _CONNECT:
            paths = [path, path + "/{path}"] if sub.name == "proxy" else [path]
            return [(p, self._connect(p, sub)) for p in paths]
        item: Json = {m: self._operation(path, v, sub) for m, v in _METHODS.items() if v in sub.verbs}
        item["parameters"] = [*operations.in_path(path, self._kind.kind), operations.PRETTY]
        return [(path, item)]

    def _connect(self, path: str, sub: Subresource) -> Json:
        """A stream into a pod, or a proxy: whatever the other side answers."""
        item: Json = {}
        for method, verb in _METHODS.items():
            if verb in sub.verbs:
                item[method] = {
                    "tags": [self._tag],
                    "description": f"connect {method.upper()} requests to {sub.name} of {self._kind.kind}",
                    "operationId": self._id(path, f"connect {method}"),
                    "responses": operations.anything(self._definitions),
                    "x-kubernetes-action": "connect",
                    "x-kubernetes-group-version-kind": {**self._gvk, "kind": sub.kind},
                }
        item["parameters"] = [*operations.in_path(path, self._kind.kind), *operations.options_of(sub.name)]
        return item

    def _id(self, path: str, verb: str) -> str:
        """``listCoreV1NamespacedPod``, ``readCoreV1NamespacedPodLog``, ``connectCoreV1GetNamespacedPodExec``."""
        stem = "".join(part[:1].upper() + part[1:] for part in self._tag.split("_"))
        scoped = "Namespaced" if "{namespace}" in path else ""
        everywhere = "ForAllNamespaces" if self._kind.namespaced and not scoped else ""
        tail = path.partition("{name}/")[2].partition("/")[0]
        tail = tail[:1].upper() + tail[1:] + ("WithPath" if path.endswith("{path}") else "")
        word = {"update": "replace", "get": "read", "deletecollection": "delete", "watchlist": "watch"}.get(verb, verb)
        middle = "Collection" if verb == "deletecollection" else ""
        if verb.startswith("connect "):
            word, _, method = verb.partition(" ")
            middle = method.capitalize()
        if verb == "watchlist":
            tail += "List"
        return f"{word}{stem}{middle}{scoped}{self._kind.kind}{tail}{everywhere}"


def tag(group: str, version: str) -> str:
    """``core_v1``, ``rbacAuthorization_v1``: what an operation of a group and version is filed under."""
    first, *rest = re.split(r"[.-]", group.removesuffix(".k8s.io")) if group else ["core"]
    return first + "".join(part[:1].upper() + part[1:] for part in rest) + (f"_{version}" if version else "")


# The documents of the server itself: path, operation, tag, definition of the answer, media type if there is but one.
_ROOTS = {
    "api": ("getCoreAPIVersions", "core", "APIVersions"),
    "apis": ("getAPIVersions", "apis", "APIGroupList"),
}
_PLAIN = {
    "version": ("getCodeVersion", "version", VERSION_INFO, "application/json"),
    "openid/v1/jwks": ("getServiceAccountIssuerOpenIDKeyset", "openid", "", "application/jwk-set+json"),
    ".well-known/openid-configuration": (
        "getServiceAccountIssuerOpenIDConfiguration",
        "WellKnown",
        "",
        "application/json",
    ),
}


def root_paths(name: str, definitions: Definitions) -> Json:
    """What the document `name` has besides its kinds: where the kinds, or the group's versions, are listed."""
    if name in _PLAIN:
        operation_id, tag_, definition, media = _PLAIN[name]
        schema = operations.reference(definitions.use(definition)) if definition else {"type": "object"}
        responses = {
            "200": {"description": "OK", "content": {media: {"schema": schema}}},
            **operations.failures(definitions),
        }
        return {f"/{name}/": {"get": {"operationId": operation_id, "tags": [tag_], "responses": responses}}}
    if name in _ROOTS:
        operation_id, tag_, answer = _ROOTS[name]
    else:
        parts = name.split("/")
        group, version = (parts[1], parts[2] if len(parts) > 2 else "") if parts[0] == "apis" else ("", parts[1])
        tag_ = tag(group, version)
        stem = "".join(part[:1].upper() + part[1:] for part in tag_.split("_"))
        operation_id, answer = (
            (f"get{stem}APIResources", "APIResourceList") if version else (f"get{stem}APIGroup", "APIGroup")
        )
    get: Json = {"description": "what is served here", "operationId": operation_id, "tags": [tag_]}
    get["responses"] = {
        "200": operations.content(definitions.meta(answer), "OK"),
        **operations.failures(definitions),
    }
    return {f"/{name}/": {"get": get}}
