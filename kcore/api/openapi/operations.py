"""One operation of a document: what it is, which parameters and bodies it takes, and what it answers."""

from __future__ import annotations

from typing import Any

from kcore.api.kinds import Kind, Subresource
from kcore.api.openapi.definitions import REF, Definitions

Json = dict[str, Any]

_JSON, _YAML, _PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_JSON_WATCH, _PROTOBUF_WATCH = f"{_JSON};stream=watch", f"{_PROTOBUF};stream=watch"
_STRATEGIC = "application/strategic-merge-patch+json"  # what custom kinds cannot be patched with
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    _STRATEGIC,
)
Parameters = dict[str, tuple[str, str]]  # name: (type, what it means)

_WRITE: Parameters = {
    "dryRun": ("string", "When present, indicates that modifications should not be persisted. Valid values are: All."),
    "fieldManager": ("string", "A name for the actor or entity that is making these changes: at most 128 printable "
                     "characters."),
    "fieldValidation": ("string", "What to do with unknown or duplicate fields: Ignore, Warn or Strict."),
}  # fmt: skip
_FORCE: Parameters = {"force": ("boolean", "Take fields that other managers own (apply only).")}
_LIST: Parameters = {
    "continue": ("string", "Where a list that was cut at its limit goes on: the token that came with it."),
    "fieldSelector": ("string", "Restrict the objects by their fields."),
    "labelSelector": ("string", "Restrict the objects by their labels."),
    "limit": ("integer", "How many objects to return at most."),
    "resourceVersion": ("string", "What resource versions may be served from."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied to lists: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Begin a watch with the present state."),
    "timeoutSeconds": ("integer", "How long the call may take."),
}
_WATCH: Parameters = {
    "allowWatchBookmarks": ("boolean", "Request BOOKMARK events."),
    "watch": ("boolean", "Watch for changes instead of listing."),
}
_DELETE: Parameters = {
    "gracePeriodSeconds": ("integer", "Seconds before the object is deleted; zero means at once."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "propagationPolicy": ("string", "Whether and how dependents are collected: Orphan, Background or Foreground."),
}
_STREAMS: Parameters = {
    "container": ("string", "Which container; may be left out where there is one alone."),
    "stderr": ("boolean", "Redirect the standard error stream."),
    "stdin": ("boolean", "Redirect the standard input stream."),
    "stdout": ("boolean", "Redirect the standard output stream."),
    "tty": ("boolean", "Allocate a terminal."),
}
_OPTIONS: dict[str, Parameters] = {
    "attach": _STREAMS,
    "exec": {"command": ("string", "The command and its arguments."), **_STREAMS},
    "portforward": {"ports": ("integer", "The ports to forward.")},
    "proxy": {"path": ("string", "The path to use in the proxied request.")},
    "log": {
        "container": _STREAMS["container"],
        "follow": ("boolean", "Go on as the log grows."),
        "insecureSkipTLSVerifyBackend": ("boolean", "Do not verify the certificate of the node."),
        "limitBytes": ("integer", "How many bytes to return at most."),
        "previous": ("boolean", "The log of the container that ran before this one."),
        "sinceSeconds": ("integer", "Only what is younger than that."),
        "stream": ("string", "Which stream: All, Stdout or Stderr."),
        "tailLines": ("integer", "How many lines to return, from the end."),
        "timestamps": ("boolean", "Begin every line with its time."),
    },
}


class Operation:
    """What `verb` does to a kind, or to its subresource."""

    def __init__(self, kind: Kind, verb: str, definitions: Definitions, sub: Subresource | None = None) -> None:
        self._kind, self._verb, self._definitions, self._sub = kind, verb, definitions, sub
        self._object = definitions.own(kind) if sub is None else definitions.subresource(kind, sub)

    @property
    def description(self) -> str:
        kind, verb = self._kind.kind, self._verb
        what = f"{self._sub.name} of " if self._sub is not None else ""
        an = "an" if kind[:1] in "AEIO" else "a"
        return {
            "list": f"list or watch objects of kind {kind}",
            "get": f"read {what}the specified {kind}",
            "create": f"create {what}{an} {kind}",
            "update": f"replace {what}the specified {kind}",
            "patch": f"partially update {what}the specified {kind}",
            "delete": f"delete {what}{an} {kind}",
            "deletecollection": f"delete collection of {kind}",
            "watch": f"watch changes to {an} {kind}; deprecated: list with watch and a fieldSelector instead",
            "watchlist": f"watch changes to a list of {kind}; deprecated: list with watch instead",
        }[verb]

    def document(self) -> Json:
        """Everything but its names."""
        out: Json = {}
        parameters = self._parameters()
        if parameters or self._verb != "get":
            out["parameters"] = [_parameter(name, *what) for name, what in sorted(parameters.items())]
        body = self._body()
        if body:
            out["requestBody"] = body
        out["responses"] = {**self._answers(), **failures(self._definitions)}
        out["x-kubernetes-action"] = {"create": "post", "update": "put"}.get(self._verb, self._verb)
        return out

    def _parameters(self) -> Parameters:
        verb = self._verb
        if self._sub is not None and self._sub.name == "log":
            return _OPTIONS["log"]
        if verb in ("list", "watch", "watchlist"):
            return {**_LIST, **_WATCH}
        if verb == "delete":
            return {**_DELETE, "dryRun": _WRITE["dryRun"]}
        if verb == "deletecollection":
            return {**_LIST, **_DELETE, "dryRun": _WRITE["dryRun"]}
        if verb == "patch":
            return {**_WRITE, **_FORCE}
        return _WRITE if verb in ("create", "update") else {}

    def _body(self) -> Json | None:
        verb = self._verb
        if verb in ("create", "update"):
            return {"content": {"*/*": {"schema": reference(self._object)}}, "required": True}
        if verb == "patch":
            schema = reference(self._definitions.meta("Patch"))
            patches = [p for p in _PATCHES if self._kind.message or p != _STRATEGIC]
            return {"content": {media: {"schema": schema} for media in patches}, "required": True}
        if verb in ("delete", "deletecollection"):
            return {"content": {"*/*": {"schema": reference(self._definitions.meta("DeleteOptions"))}}}
        return None

    def _answers(self) -> Json:
        """What success looks like. A deletion that is not done at once shows the object, and so do some kinds'."""
        verb, own, protobuf = self._verb, self._object, bool(self._kind.message)
        if self._sub is not None and self._sub.name == "log":
            return {"200": {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}}
        if verb == "list":
            return {"200": content(self._definitions.list(self._kind), "OK", protobuf=protobuf, watch=True)}
        if verb.startswith("watch"):
            return {"200": content(self._definitions.meta("WatchEvent"), "OK", protobuf=protobuf, watch=True)}
        if verb in ("delete", "deletecollection"):
            shown = self._definitions.list(self._kind) if verb == "deletecollection" else own
            status = self._definitions.meta("Status")
            ok = content(status, "OK", shown, protobuf=protobuf)
            return {"200": ok} if verb == "deletecollection" else {"200": ok, "202": {**ok, "description": "Accepted"}}
        out = {"200": content(own, "OK", protobuf=protobuf)}
        if verb != "get":
            out["201"] = content(own, "Created", protobuf=protobuf)
        if verb == "create":
            out["202"] = content(own, "Accepted", protobuf=protobuf)
        return out


def reference(name: str) -> Json:
    return {"$ref": REF + name}


def content(definition: str, description: str, *others: str, protobuf: bool = True, watch: bool = False) -> Json:
    """An answer in every form that it has: of one definition, or of one of several."""
    schema: Json = reference(definition)
    if others:
        schema = {"anyOf": [reference(name) for name in (definition, *others)]}
    types = [_JSON, *([_JSON_WATCH] if watch else []), *([_PROTOBUF] if protobuf else [])]
    types += [*([_PROTOBUF_WATCH] if watch and protobuf else []), _YAML]
    return {"description": description, "content": {media: {"schema": schema} for media in types}}


def failures(definitions: Definitions) -> Json:
    """What every operation may answer besides: a Status that says why not."""
    return {
        "401": {"description": "Unauthorized"},
        "default": {**content(definitions.meta("Status"), "The reason why it was not done")},
    }


def anything(definitions: Definitions) -> Json:
    """The answers of what is handed on."""
    return {
        "200": {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}},
        "401": {"description": "Unauthorized"},
        "default": {"description": "What the other side answers", "content": {"*/*": {"schema": {}}}},
    }


def options_of(subresource: str) -> list[Json]:
    return [_parameter(name, *what) for name, what in _OPTIONS[subresource].items()]


def _parameter(name: str, type: str, description: str) -> Json:
    schema = {"type": type, "uniqueItems": True}
    return {"name": name, "in": "query", "description": description, "schema": schema}


PRETTY = _parameter("pretty", "string", "If 'true', then the output is pretty printed.")


def in_path(path: str, kind: str) -> list[Json]:
    """The parameters that a path is made of."""
    docs = {
        "name": f"name of the {kind}",
        "namespace": "object name and auth scope, such as for teams and projects",
        "path": "path to the resource",
    }
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": {"type": "string", "uniqueItems": True},
        }
        for name, text in docs.items()
        if f"{{{name}}}" in path
    ]
