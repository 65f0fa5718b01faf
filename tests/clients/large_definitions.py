"""Manifests of several megabytes, like those of real operators: definitions that embed whole pod templates with all
their descriptions, in several versions, with rules, defaults and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

Object = dict[str, Any]
_KEPT = ("description", "type", "format", "enum", "required", "default", "nullable", "pattern")
_LISTS = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type")
_EITHER = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
_NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
_QUANTITY = rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$"
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


@attrs.frozen
class Structural:
    """Schemas of built-in types (``/openapi/v3/api/v1``) as generators of definitions write them: nothing refers to
    anything, everything is written out."""

    types: Mapping[str, Object]

    def named(self, name: str) -> Object:
        if name.endswith(".IntOrString"):
            return dict(_EITHER)
        if name.endswith(".Quantity"):
            return {**_EITHER, "pattern": _QUANTITY}
        if name.endswith(".ObjectMeta"):
            texts = {"name": {"type": "string"}, "labels": _TEXTS, "annotations": _TEXTS}
            return {"type": "object", "description": "Names, labels and annotations.", "properties": texts}
        return self._written_out(self.types[name])

    def _written_out(self, schema: Object) -> Object:
        found = {}
        for ref in [schema.get("$ref"), *(part.get("$ref") for part in schema.get("allOf", ()))]:
            found |= self.named(ref.rpartition("/")[2]) if ref else {}
        found |= {key: schema[key] for key in (*_KEPT, *_LISTS) if key in schema}
        if "properties" in schema:
            found["properties"] = {name: self._written_out(value) for name, value in schema["properties"].items()}
        for key in ("items", "additionalProperties"):
            if key in schema:
                found[key] = self._written_out(schema[key])
        for key in found.get("x-kubernetes-list-map-keys", ()):
            if key not in found["items"].get("required", ()):  # a key must always be there
                found["items"]["properties"][key]["default"] = "TCP" if key == "protocol" else ""
        return found


def definition(group: str, kind: str, template: Object, roles: Sequence[str], versions: Sequence[str]) -> Object:
    """A kind with a pod template for each of its roles; the first of its versions is stored."""
    plural = kind.lower() + "s"
    scale = {"specReplicasPath": f".spec.{roles[0]}.replicas", "statusReplicasPath": ".status.replicas"}
    columns = [
        {"name": "Replicas", "type": "integer", "jsonPath": f".spec.{roles[0]}.replicas"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    listed = []
    for version in versions:
        one = {"name": version, "served": True, "storage": version == versions[0]}
        one |= {"schema": {"openAPIV3Schema": _schema(kind, template, roles)}, "additionalPrinterColumns": columns}
        one |= {"subresources": {"status": {}, "scale": scale}}
        listed.append(one if version == versions[0] else {**one, "deprecated": True})
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "labels": {"size": "large"}},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": listed},
    }


def _schema(kind: str, template: Object, roles: Sequence[str]) -> Object:
    role = {
        "type": "object",
        "description": "Pods of one role.",
        "required": ["template"],
        "properties": {
            "replicas": {"type": "integer", "format": "int32", "minimum": 0, "default": 1},
            "maximum": {"type": "integer", "format": "int32", "default": 10},
            "unavailable": {**_EITHER, "default": "25%", "description": "How many may be missing."},
            "template": template,
        },
        "x-kubernetes-validations": [
            {"rule": "self.replicas <= self.maximum", "messageExpression": "'at most %d'.format([self.maximum])"}
        ],
    }
    pool = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 63},
            "class": {"type": "string", "maxLength": 63, "default": "standard"},
            "weight": {"type": "integer", "default": 1},
        },
    }
    pools = {"type": "array", "maxItems": 64, "items": pool, "x-kubernetes-list-type": "map"}
    spec = {
        "type": "object",
        "description": f"What the {kind.lower()} is to be like.",
        "properties": {
            **dict.fromkeys(roles, role),
            "class": {
                "type": "string",
                "maxLength": 63,
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "cannot be changed"}],
            },
            "pools": {**pools, "x-kubernetes-list-map-keys": ["name"]},
            "options": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
        "x-kubernetes-validations": [
            {"rule": "!has(self.pools) || self.pools.exists(p, p.weight > 0)", "message": "no pool has any weight"}
        ],
    }
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}}
    properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    return {"type": "object", "description": kind, "properties": {**properties, "spec": spec, "status": status}}


def manifest(path: Path, definitions: Sequence[Object]) -> Path:
    """Written the way that it is published: documents of YAML."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper.ignore_aliases = lambda *_: True
    with path.open("w") as file:
        yaml.dump_all(definitions, file, Dumper=dumper, sort_keys=False, explicit_start=True)
    return path
