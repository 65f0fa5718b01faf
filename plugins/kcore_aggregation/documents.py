"""Discovery and OpenAPI of the whole: this server's own documents, with those of the servers behind it merged in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from kcore.api.discovery import version_rank
from kcore.http.messages import Request, Response
from kcore.objects import Object
from kcore_aggregation.registration import FIRST, GROUP

if TYPE_CHECKING:
    from kcore.api.openapi.merging import Foreign


@attrs.define
class Remote:
    """A group version that another server answers, and what is known of it."""

    name: str
    group: str
    version: str
    spec: Object
    available: bool = False
    resources: list[Object] | None = None  # as in its APIResourceList, the last time that it answered
    openapi: Object | None = None  # its entry in the index of OpenAPI v3
    swagger: Foreign | None = None  # its part of the document of version 2, the last time that it gave one
    swagger_etag: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.group, self.version


@attrs.define
class Priorities:
    """Of every APIService: which group comes first, and which version of a group."""

    groups: dict[str, int] = attrs.Factory(dict)
    versions: dict[tuple[str, str], int] = attrs.Factory(dict)

    @classmethod
    def of(cls, services: Iterable[Object]) -> Priorities:
        out = cls({GROUP: FIRST})
        for service in services:
            spec = service["spec"]
            group, version = spec.get("group", ""), spec.get("version", "")
            out.groups[group] = max(out.groups.get(group, 0), spec.get("groupPriorityMinimum", 0))
            out.versions[group, version] = spec.get("versionPriority", 0)
        return out

    def group(self, name: str) -> tuple[int, str]:
        return -self.groups.get(name, 0), name

    def version(self, group: str, version: str) -> tuple[int, tuple[int, int, int, str]]:
        return -self.versions.get((group, version), 0), version_rank(version)


def resource_of(remote: Remote, one: Object) -> Object:
    """An APIResource in the aggregated form."""
    out: Object = {
        "resource": one["name"],
        "responseKind": {
            "group": one.get("group") or remote.group,
            "version": one.get("version") or remote.version,
            "kind": one["kind"],
        },
        "scope": "Namespaced" if one.get("namespaced") else "Cluster",
        "singularResource": one.get("singularName", ""),
        "verbs": one["verbs"],
    }
    for key in ("shortNames", "categories"):
        if one.get(key):
            out[key] = one[key]
    return out


def _aggregated(remote: Remote) -> Object:
    resources = {one["name"]: resource_of(remote, one) for one in remote.resources or () if "/" not in one["name"]}
    for one in remote.resources or ():
        parent, _, name = one["name"].partition("/")
        if not name:
            continue
        if parent not in resources:
            resources[parent] = {"resource": parent, "scope": "Namespaced" if one.get("namespaced") else "Cluster"}
        whole = resource_of(remote, one)
        sub = {"subresource": name, "responseKind": whole["responseKind"], "verbs": whole["verbs"]}
        resources[parent].setdefault("subresources", []).append(sub)
    freshness = "Current" if remote.available and remote.resources is not None else "Stale"
    out: Object = {"version": remote.version, "freshness": freshness}
    if resources:
        out["resources"] = [resources[name] for name in sorted(resources)]
    return out


def _group(name: str, versions: list[Object]) -> Object:
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def merge_groups(own: list[Object], remotes: Iterable[Remote], order: Priorities) -> list[Object]:
    """The ``groups`` of an APIGroupList."""
    groups = {g["name"]: list(g["versions"]) for g in own}
    for remote in remotes:
        versions = groups.setdefault(remote.group, [])
        if all(v["version"] != remote.version for v in versions):
            versions.append({"groupVersion": f"{remote.group}/{remote.version}", "version": remote.version})
    return [
        _group(name, sorted(groups[name], key=lambda v, name=name: order.version(name, v["version"])))  # type: ignore[misc]
        for name in sorted(groups, key=order.group)
    ]


def merge_aggregated(own: list[Object], remotes: Iterable[Remote], order: Priorities) -> list[Object]:
    """The ``items`` of an APIGroupDiscoveryList."""
    groups: dict[str, list[Object]] = {g["metadata"].get("name", ""): list(g["versions"]) for g in own}
    metas = {g["metadata"].get("name", ""): g["metadata"] for g in own}
    for remote in remotes:
        rest = [v for v in groups.get(remote.group, ()) if v["version"] != remote.version]
        groups[remote.group] = [*rest, _aggregated(remote)]
    out = []
    for name in sorted(groups, key=order.group):
        versions = sorted(groups[name], key=lambda v, name=name: order.version(name, v["version"]))  # type: ignore[misc]
        out.append({"metadata": metas.get(name, {"name": name, "creationTimestamp": None}), "versions": versions})
    return out


def again(request: Request, response: Response, change: Any) -> Response:
    """An own document with a change made to it, and an ETag that fits; the client's own may say that it has it."""
    whole = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    doc = msgspec.json.decode(whole)
    change(doc)
    body = msgspec.json.encode(doc)
    headers = [(k, v) for k, v in response.headers if k != b"etag"]
    if len(headers) != len(response.headers):
        etag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
        headers.append((b"etag", etag.encode()))
        if etag in request.headers.get("if-none-match", ""):
            return Response(304, b"", response.content_type, headers)
    return Response(response.status, body, response.content_type, headers)
