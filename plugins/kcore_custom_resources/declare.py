"""From a definition to the kinds that the API serves."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from kcore.api.discovery import version_rank
from kcore.api.kinds import Conversion, Kind, ScalePaths, Subresource
from kcore.api.schema import ANY, Schema
from kcore.api.structural import compile as structural
from kcore_custom_resources import columns, jsonpath
from kcore_custom_resources.conversion import Declaration, Lineage, Plain, Shape, Webhook
from kcore_custom_resources.definitions import Definition, Names, Version
from kcore_custom_resources.strategy import CustomStrategy

if TYPE_CHECKING:
    from kcore.api.webhook import Webhooks

Object = dict[str, Any]
VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_ENDING = ("delete", "deletecollection", "get", "list", "watch")
_STATUS = ("get", "patch", "update")
Source = Callable[[str], bytes]
"""The JSON of a version's ``openAPIV3Schema`` by the version's name: looked up when it is needed, kept by nobody."""


@attrs.frozen
class Declared:
    """The kinds of one definition."""

    declaration: Declaration
    kinds: tuple[Kind, ...]  # of the served versions
    storage: Kind  # of the version that is stored, served or not


def declare(definition: Definition, lineage: Lineage, source: Source, webhooks: Webhooks) -> Declared:
    spec = definition.spec
    names = definition.status.accepted_names
    shapes = {}
    for version in spec.versions:
        api_version = f"{spec.group}/{version.name}"
        raw = version.schema.doc if version.schema is not None else b""
        digest = hashlib.blake2b(bytes(raw), digest_size=16).digest()
        kept: list[Schema] = []
        shapes[api_version] = Shape(api_version, digest, partial(_once, kept, source, version.name))
    storage = next(v for v in spec.versions if v.storage)
    declaration = Declaration(lineage, shapes, f"{spec.group}/{storage.name}")
    kinds = {v.name: _kind(definition, names, v, declaration, source, webhooks) for v in spec.versions}
    served = tuple(kinds[v.name] for v in spec.versions if v.served)
    return Declared(declaration, served, kinds[storage.name])


def _once(kept: list[Schema], source: Source, version: str) -> Schema:
    if not kept:
        doc = _document(source, version)
        kept.append(structural.compile(doc) if doc else ANY)
    return kept[0]


def _document(source: Source, version: str) -> Object:
    raw = source(version)
    return msgspec.json.decode(raw) if raw else {}


def _kind(
    definition: Definition,
    names: Names,
    version: Version,
    declaration: Declaration,
    source: Source,
    webhooks: Webhooks,
) -> Kind:
    spec = definition.spec
    api_version = f"{spec.group}/{version.name}"
    shape = declaration.shapes[api_version]
    subresources, scale = _subresources(version, names.kind, spec.scope == "Namespaced")
    strategy = CustomStrategy(shape, status="status" in subresources)
    strategy.terminating = definition.holds("Terminating")
    kind = Kind(
        spec.group,
        version.name,
        names.kind,
        names.plural,
        namespaced=spec.scope == "Namespaced",
        singular=names.singular,
        verbs=VERBS,
        shown_verbs=_ENDING if strategy.terminating else VERBS,
        short_names=tuple(names.short_names or ()),
        categories=tuple(names.categories or ()),
        subresources=subresources,
        strategy=strategy,
        schema_source=shape.schema_source,
        raw_schema=partial(_document, source, version.name),
        columns=columns.columns(version.columns or ()),
        selectable={s["jsonPath"].lstrip("."): _selectable(s["jsonPath"]) for s in version.selectable or ()},
        storage_version_hash=_hash(declaration.storage, names.kind),
        conversion=_conversion(definition, declaration, api_version, webhooks),
        list_kind=names.list_kind,
        warning=_warning(definition, version),
        scale=scale,
    )
    strategy.kind = kind
    return kind


def _conversion(definition: Definition, declaration: Declaration, api_version: str, webhooks: Webhooks) -> Conversion:
    asked = definition.spec.conversion or {}
    if asked.get("strategy") == "Webhook" and len(declaration.shapes) > 1:
        from kcore_custom_resources.review import Reviewer

        reviewer = Reviewer(webhooks, asked["webhook"], definition.status.accepted_names.kind)
        return Webhook(declaration, api_version, reviewer)
    return Plain(declaration, api_version)


def _subresources(version: Version, kind: str, namespaced: bool) -> tuple[dict[str, Subresource], ScalePaths | None]:
    asked, found, scale = version.subresources or {}, {}, None
    if asked.get("status") is not None:
        found["status"] = Subresource("status", kind, _STATUS, namespaced=namespaced)
    if asked.get("scale") is not None:
        given = asked["scale"]
        found["scale"] = Subresource(
            "scale", "Scale", _STATUS, group="autoscaling", version="v1", namespaced=namespaced
        )
        scale = ScalePaths(
            given["specReplicasPath"], given["statusReplicasPath"], given.get("labelSelectorPath") or ""
        )
    return found, scale


def _selectable(path: str) -> Callable[[Object], str]:
    find = jsonpath.compile(path)

    def read(obj: Object) -> str:
        found = find(obj)
        if not found or found[0] is None:
            return ""
        return ("true" if found[0] else "false") if isinstance(found[0], bool) else str(found[0])

    return read


def _hash(api_version: str, kind: str) -> str:
    """How discovery tells clients that the stored form has changed (apiserver, discovery.StorageVersionHash)."""
    return base64.b64encode(hashlib.sha256(f"{api_version}/{kind}".encode()).digest()[:8]).decode()


def _warning(definition: Definition, version: Version) -> str:
    """What every answer of a deprecated version says."""
    if not version.deprecated:
        return ""
    if version.deprecation_warning is not None:
        return version.deprecation_warning
    spec = definition.spec
    text = f"{spec.group}/{version.name} {spec.names.kind} is deprecated"
    better = [v.name for v in spec.versions if v.served and not v.deprecated]
    newest = min(better, key=version_rank, default="")
    if newest and version_rank(newest) < version_rank(version.name):
        text += f"; use {spec.group}/{newest} {spec.names.kind}"
    return text
