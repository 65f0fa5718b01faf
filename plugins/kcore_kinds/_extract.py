"""Reads the schemas of the package kubernetes-validate and writes the bundle that `bundle.py` opens.

The package carries the OpenAPI definitions of several Kubernetes releases as JSON Schema: tens of megabytes. What the
cluster needs of the newest one -- types, list types, merge keys -- is tens of kilobytes when packed, and the
descriptions, which only ``kubectl explain`` asks for, go into a file of their own.

This runs when a wheel is built (`hatch_build.py`), and once in a source checkout. It uses the standard library alone,
since nothing else of kcore can be imported while kcore is being built.

``_schemas.bin`` is zlib of the JSON ``{"version": "1.37.0", "definitions": {NAME: SCHEMA}}``, where a schema has
no descriptions and no "null" among its types, and ``$ref`` is the bare name of a definition.
``_docs.bin`` is zlib of the JSON ``{NAME: {"": TEXT, PROPERTY: TEXT}}``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

SCHEMAS, DOCS = "_schemas.bin", "_docs.bin"
_RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)-local")


def source() -> Path | None:
    """The directory of the newest release in kubernetes-validate; None if the package is not installed."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        return None
    releases = {
        tuple(map(int, match.groups())): path
        for path in (Path(spec.origin).parent / "kubernetes-json-schema").iterdir()
        if (match := _RELEASE.fullmatch(path.name))
    }
    return releases[max(releases)] if releases else None


def write(target: Path, release: Path) -> None:
    """Write both files into `target`; each appears whole or not at all."""
    definitions = json.loads((release / "_definitions.json").read_text("utf-8"))["$defs"]
    docs = {name: _docs(node) for name, node in definitions.items()}
    match = _RELEASE.fullmatch(release.name)
    version = ".".join(match.groups()) if match else release.name
    schemas = {"version": version, "definitions": {name: _definition(node) for name, node in definitions.items()}}
    for name, content in ((SCHEMAS, schemas), (DOCS, docs)):
        packed = zlib.compress(json.dumps(content, separators=(",", ":"), sort_keys=True).encode(), 9)
        part = target / f"{name}.{os.getpid()}"
        part.write_bytes(packed)
        part.replace(target / name)


def _docs(node: dict[str, Any]) -> dict[str, str]:
    out = {"": str(node.get("description", ""))}
    for name, child in node.get("properties", {}).items():
        out[name] = str(child.get("description", ""))
    return {k: v for k, v in out.items() if v}


def _definition(node: dict[str, Any]) -> dict[str, Any]:
    out = _schema(node)
    if "x-kubernetes-group-version-kind" in node:
        # the package narrows these two to the kind's own name; the published documents do not
        for name in ("apiVersion", "kind"):
            out.get("properties", {}).get(name, {}).pop("enum", None)
    return out


def _schema(node: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "description":
            continue
        if key == "$ref":
            out[key] = value.rpartition("/")[2]
        elif key == "type" and isinstance(value, list):
            out[key] = next(t for t in value if t != "null")
        elif key == "properties":
            out[key] = {name: _schema(child) for name, child in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            out[key] = _schema(value)
        elif key == "oneOf":
            out[key] = [_schema(child) for child in value]
        elif key == "enum":
            out[key] = [v for v in value if v is not None]
        else:
            out[key] = value
    return out
