"""The roles and bindings that every cluster begins with, and how they come into it.

As upstream: what is missing is created; what exists and is marked for it
(``rbac.authorization.kubernetes.io/autoupdate``) gets back the rules and subjects that it has lost, and keeps those
that were added.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import trio

from kcore import errors
from kcore.client import Client
from kcore.objects import Object
from kcore.objects.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    GVR,
    NAMESPACES,
    ROLEBINDINGS,
    ROLES,
)
from kcore_auth.bootstrap_controllers import CONTROLLERS
from kcore_auth.bootstrap_roles import CLUSTER_ROLES, Rule
from kcore_auth.bootstrap_roles import ROLES as NAMESPACED_ROLES

GROUP = "rbac.authorization.k8s.io"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_AGGREGATE = f"{GROUP}/aggregate-to-"

# role: the roles that take up its rules
_AGGREGATED_TO = {
    "edit": "admin",
    "view": "edit",
    "system:aggregate-to-admin": "admin",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-view": "view",
}

# Subjects by role, beside those of controllers: "g:" a group, "u:" a user, "s:" a service account in kube-system.
_CLUSTER_BINDINGS = {
    "cluster-admin": ("cluster-admin", "g:system:masters"),
    # elsewhere a cluster's installer makes the default class, here the controller does
    "kcore:default-storage-class": (
        "kcore:default-storage-class",
        "u:system:kube-controller-manager",
        "s:persistent-volume-binder",
    ),
    "system:basic-user": ("system:basic-user", "g:system:authenticated"),
    "system:discovery": ("system:discovery", "g:system:authenticated"),
    "system:kube-controller-manager": ("system:kube-controller-manager", "u:system:kube-controller-manager"),
    "system:kube-dns": ("system:kube-dns", "s:kube-dns"),
    "system:kube-scheduler": ("system:kube-scheduler", "u:system:kube-scheduler"),
    "system:monitoring": ("system:monitoring", "g:system:monitoring"),
    "system:node": ("system:node",),  # kept without subjects: the node authorizer does its work
    "system:node-proxier": ("system:node-proxier", "u:system:kube-proxy"),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        "g:system:authenticated",
        "g:system:unauthenticated",
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        "g:system:serviceaccounts",
    ),
    "system:volume-scheduler": ("system:volume-scheduler", "u:system:kube-scheduler"),
}

_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
_BINDINGS = {
    "kube-system/system::extension-apiserver-authentication-reader": (
        "extension-apiserver-authentication-reader",
        f"u:{_MANAGER}",
        f"u:{_SCHEDULER}",
    ),
    "kube-system/system::leader-locking-kube-controller-manager": (
        "system::leader-locking-kube-controller-manager",
        f"u:{_MANAGER}",
        "s:kube-controller-manager",
        "s:leader-election-controller",
    ),
    "kube-system/system::leader-locking-kube-scheduler": (
        "system::leader-locking-kube-scheduler",
        f"u:{_SCHEDULER}",
        "s:kube-scheduler",
    ),
}


def _words(text: str) -> list[str]:
    return ["" if word == "-" else word for word in text.split()]


def rule(compact: Rule) -> Object:
    """A PolicyRule from its compact form."""
    if len(compact) == 2:
        return {"nonResourceURLs": _words(compact[1]), "verbs": _words(compact[0])}
    out: Object = {
        "apiGroups": _words(compact[1]),
        "resources": _words(compact[2]),
        "verbs": _words(compact[0]),
    }
    if len(compact) > 3:
        out["resourceNames"] = _words(compact[3])
    return out


def _meta(key: str, labels: dict[str, str] | None = None) -> Object:
    namespace, _, name = key.rpartition("/")
    meta: Object = {
        "name": name,
        "annotations": {AUTOUPDATE: "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})},
    }
    if namespace:
        meta["namespace"] = namespace
    return meta


def _object(resource: GVR, key: str, labels: dict[str, str] | None = None, **rest: Any) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": _meta(key, labels),
        **rest,
    }


def _subject(text: str) -> Object:
    name = text[2:]
    if text.startswith("s:"):
        return {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
    return {"apiGroup": GROUP, "kind": "User" if text.startswith("u:") else "Group", "name": name}


def _binding(resource: GVR, key: str, kind: str, role: str, subjects: list[Object]) -> Object:
    ref = {"apiGroup": GROUP, "kind": kind, "name": role}
    binding = _object(resource, key, roleRef=ref)
    if subjects:
        binding["subjects"] = subjects
    return binding


def objects(resource: GVR) -> Iterator[Object]:
    """The bootstrap objects of one of the four RBAC resources."""
    if resource == CLUSTERROLES:
        roles = {**CLUSTER_ROLES, **{f"system:controller:{name}": rules for name, rules in CONTROLLERS.items()}}
        for name, rules in sorted(roles.items()):
            target = _AGGREGATED_TO.get(name)
            labels = {_AGGREGATE + target: "true"} if target else None
            if name in ("admin", "edit", "view"):
                selector = {"matchLabels": {_AGGREGATE + name: "true"}}
                aggregation = {"clusterRoleSelectors": [selector]}
                yield _object(resource, name, labels, aggregationRule=aggregation, rules=None)
            else:
                yield _object(resource, name, labels, rules=[rule(r) for r in rules])
    elif resource == CLUSTERROLEBINDINGS:
        for name, (role, *subjects) in _CLUSTER_BINDINGS.items():
            yield _binding(resource, name, "ClusterRole", role, [_subject(s) for s in subjects])
        for name in CONTROLLERS:
            full = f"system:controller:{name}"
            yield _binding(resource, full, "ClusterRole", full, [_subject(f"s:{name}")])
    elif resource == ROLES:
        for key, rules in NAMESPACED_ROLES.items():
            yield _object(resource, key, rules=[rule(r) for r in rules])
    else:
        for key, (role, *subjects) in _BINDINGS.items():
            yield _binding(resource, key, "Role", role, [_subject(s) for s in subjects])
        for key in NAMESPACED_ROLES:
            name = key.partition("/")[2]
            if name.startswith("system:controller:"):
                subject = _subject(f"s:{name.removeprefix('system:controller:')}")
                yield _binding(resource, key, "Role", name, [subject])


RESOURCES = (CLUSTERROLES, CLUSTERROLEBINDINGS, ROLES, ROLEBINDINGS)


async def ensure(client: Client) -> int:
    """Create what is missing and repair what is to be kept up to date; how many objects were written."""
    written = 0

    async def one(resource: GVR, wanted: Object, found: Object | None) -> None:
        nonlocal written
        if found is None:
            await _create(client, resource, wanted)
        else:
            repaired = reconciled(found, wanted)
            if repaired is None:
                return
            try:
                await client.update(resource, repaired)
            except errors.Conflict:  # somebody is faster; the next start looks again
                return
        written += 1

    async with trio.open_nursery() as nursery:  # all at once: a store that groups its writes needs one sync for many
        for resource in RESOURCES:
            page = await client.list(resource)
            have = {(o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in page.items}
            for wanted in objects(resource):
                meta = wanted["metadata"]
                nursery.start_soon(one, resource, wanted, have.get((meta.get("namespace", ""), meta["name"])))
    return written


async def _create(client: Client, resource: GVR, wanted: Object) -> None:
    namespace = wanted["metadata"].get("namespace", "")
    try:
        try:
            await client.create(resource, wanted)
        except errors.NotFound:
            try:
                await client.create(NAMESPACES, {"metadata": {"name": namespace}})
            except errors.AlreadyExists:
                pass
            await client.create(resource, wanted)
    except errors.AlreadyExists:
        pass


def reconciled(found: Object, wanted: Object) -> Object | None:
    """`found` with what it lacks of `wanted`, or None if it lacks nothing or is to be left alone."""
    meta = found["metadata"]
    if (meta.get("annotations") or {}).get(AUTOUPDATE) != "true":
        return None
    changed = dict(found)
    for member in ("rules", "subjects"):
        if member not in wanted or "aggregationRule" in wanted:
            continue
        have = found.get(member) or []
        missing = [item for item in wanted[member] or () if item not in have]
        if missing:
            changed[member] = [*have, *missing]
    labels = meta.get("labels") or {}
    lacking = {k: v for k, v in wanted["metadata"]["labels"].items() if labels.get(k) != v}
    if lacking:
        changed["metadata"] = {**meta, "labels": {**labels, **lacking}}
    if "aggregationRule" in wanted and found.get("aggregationRule") != wanted["aggregationRule"]:
        changed["aggregationRule"] = wanted["aggregationRule"]
    return None if changed == found else changed
