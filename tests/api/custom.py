"""CustomResourceDefinitions for tests, and a server that serves what they declare."""

from __future__ import annotations

from typing import Any

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WS = "/apis/ex.com/v1/namespaces/default/ws"
MERGE = {"content_type": "application/merge-patch+json"}
Object = dict[str, Any]


def version(name: str = "v1", spec: Object | None = None, **more: Any) -> Object:
    """A version whose objects have a spec with the given schema; without one, whatever they like."""
    schema: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if spec is not None:
        schema = {"type": "object", "properties": {"spec": spec}}
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **more}


def definition(
    *versions: Object, plural: str = "ws", kind: str = "W", scope: str = "Namespaced", **names: Any
) -> Object:
    spec: Object = {
        "group": "ex.com",
        "names": {"kind": kind, "plural": plural, **names},
        "scope": scope,
        "versions": list(versions) or [version()],
    }
    meta = {"name": f"{plural}.ex.com"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": meta,
        "spec": spec,
    }


def made(name: str = "a", api_version: str = "ex.com/v1", **members: Any) -> Object:
    return {"apiVersion": api_version, "kind": "W", "metadata": {"name": name}, **members}


def props(**properties: Object) -> Object:
    return {"type": "object", "properties": properties}


def condition(obj: Object, type: str) -> Object:
    return next((c for c in obj["status"]["conditions"] or () if c["type"] == type), {})
