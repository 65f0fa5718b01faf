"""Discovery: which groups, versions and resources there are (/api, /apis and the documents below them).

The aggregated form (apidiscovery.k8s.io) tells everything in two answers and carries an ETag, so that a client that
knows it already is told 304. Documents are made when first asked for and kept until the table of kinds changes.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from kcore.api import layout, negotiate
from kcore.api.kinds import Kind, KindTable
from kcore.http.messages import Request, Response

Json = dict[str, Any]
_AGGREGATED = "APIGroupDiscoveryList"


_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?").fullmatch


def version_rank(version: str) -> tuple[int, int, int, str]:
    """How upstream sorts versions, best first: v2, v1, v1beta2, v1beta1, v1alpha1, and then all other names."""
    found = _VERSION(version)
    if found is None:
        return (3, 0, 0, version)
    return ({None: 0, "beta": 1, "alpha": 2}[found[2]], -int(found[1]), -int(found[3] or 0), "")


class Discovery:
    def __init__(self, kinds: KindTable) -> None:
        self._kinds = kinds
        self._generation = -1
        self._cache: dict[str, tuple[bytes, str]] = {}  # body and ETag by what was asked for

    def answer(self, request: Request) -> Response | None:
        """None for a path that is no discovery document."""
        parts = [p for p in request.path.split("/") if p]
        if not parts or parts[0] not in ("api", "apis") or len(parts) > 3:
            return None
        if self._generation != self._kinds.generation:
            self._cache.clear()
            self._generation = self._kinds.generation
        if len(parts) == 1:
            return self._root(request, parts[0])
        if parts[0] == "api":
            if len(parts) > 2:
                return None
            return self._resources(request, "", parts[1])
        return self._group(request, parts[1]) if len(parts) == 2 else self._resources(request, parts[1], parts[2])

    # --- documents ----------------------------------------------------------------------------------------------

    def _root(self, request: Request, root: str) -> Response:
        wanted = _aggregated(request)
        if wanted:
            _, version = wanted
            kept = self._cache.get(f"{root} {version}")
            if kept is None:
                body = layout.encode_json(self._aggregate(root, version))
                kept = self._cache[f"{root} {version}"] = (body, f'"{hashlib.sha256(body).hexdigest().upper()}"')
            body, etag = kept
            content_type = f"{negotiate.JSON};g=apidiscovery.k8s.io;v={version};as={_AGGREGATED}"
            headers = [(b"etag", etag.encode()), (b"vary", b"Accept")]
            if etag in request.headers.get("if-none-match", ""):
                return Response(304, b"", content_type, headers)
            return Response(200, body, content_type, headers)
        if root == "api":
            doc: Json = {
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": request.local}],
            }
        else:
            groups = [self._group_document(g) for g in self.groups() if g]
            doc = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        return _encoded(request, doc)

    def _group(self, request: Request, group: str) -> Response | None:
        if group not in self.groups():
            return None
        return _encoded(request, {"kind": "APIGroup", "apiVersion": "v1", **self._group_document(group)})

    def _resources(self, request: Request, group: str, version: str) -> Response | None:
        if version not in self.groups().get(group, ()):
            return None
        resources = []
        for kind in self._of(group, version):
            resources.append(_resource(kind))
            resources += [_subresource(kind, name) for name in sorted(kind.subresources)]
        full = f"{group}/{version}" if group else version
        doc: Json = {"kind": "APIResourceList", "groupVersion": full, "resources": resources}
        if group:
            doc = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": full, "resources": resources}
        return _encoded(request, doc)

    # --- pieces -------------------------------------------------------------------------------------------------

    def groups(self) -> dict[str, list[str]]:
        """Versions by group, the preferred one first; groups in the order of their declaration."""
        found: dict[str, list[str]] = {}
        for kind in self._kinds:
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return {group: sorted(versions, key=version_rank) for group, versions in found.items()}

    def _of(self, group: str, version: str) -> list[Kind]:
        kinds = [k for k in self._kinds if k.group == group and k.version == version]
        return sorted(kinds, key=lambda k: k.plural)

    def _group_document(self, group: str) -> Json:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self.groups()[group]]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _aggregate(self, root: str, version: str) -> Json:
        groups = []
        for group, versions in self.groups().items():
            if (root == "api") != (group == ""):
                continue
            meta: Json = {"creationTimestamp": None}
            if group:
                meta["name"] = group
            groups.append(
                {
                    "metadata": meta,
                    "versions": [
                        {
                            "version": v,
                            "resources": [_aggregated_resource(k) for k in self._of(group, v)],
                            "freshness": "Current",
                        }
                        for v in versions
                    ],
                }
            )
        return {
            "kind": _AGGREGATED,
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": groups,
        }


def _aggregated(request: Request) -> tuple[str, str] | None:
    """(media type, version) when the client prefers the aggregated form."""
    for media, params in negotiate.clauses(request.headers.get("accept", "")):
        if media not in (negotiate.JSON, "*/*", negotiate.PROTOBUF):
            continue
        if params.get("as") == _AGGREGATED and params.get("g") == "apidiscovery.k8s.io":
            if media == negotiate.JSON and params.get("v") in ("v2", "v2beta1"):
                return media, params["v"]
            continue
        if "as" not in params:
            return None
    return None


def _encoded(request: Request, doc: Json) -> Response:
    from kcore.api import answers

    return answers.encoded(doc, negotiate.negotiate(request))


def _resource(kind: Kind) -> Json:
    out: Json = {
        "name": kind.plural,
        "singularName": kind.singular or kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.shown_verbs) or sorted(kind.verbs),
    }
    if kind.short_names:
        out["shortNames"] = list(kind.short_names)
    if kind.categories:
        out["categories"] = list(kind.categories)
    if kind.storage_version_hash:
        out["storageVersionHash"] = kind.storage_version_hash
    return out


def _subresource(kind: Kind, name: str) -> Json:
    sub = kind.subresources[name]
    out: Json = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.kind,
        "verbs": sorted(sub.verbs),
    }
    if sub.version:
        out["group"], out["version"] = sub.group, sub.version
    return out


def _aggregated_resource(kind: Kind) -> Json:
    out: Json = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular or kind.kind.lower(),
        "verbs": list(kind.shown_verbs) or sorted(kind.verbs),
    }
    if kind.short_names:
        out["shortNames"] = list(kind.short_names)
    if kind.categories:
        out["categories"] = list(kind.categories)
    if kind.subresources:
        out["subresources"] = [
            {
                "subresource": name,
                "responseKind": {
                    "group": sub.group if sub.version else kind.group,
                    "version": sub.version or kind.version,
                    "kind": sub.kind,
                },
                "verbs": sorted(sub.verbs),
            }
            for name, sub in sorted(kind.subresources.items())
        ]
    return out
