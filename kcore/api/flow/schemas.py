"""FlowSchemas: which priority level a request belongs to, and which flow of it.

Compiled when they change; a decision is remembered by all that a schema can see of a request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from kcore.api.auth import User
from kcore.api.routing import RequestInfo
from kcore.objects import Object

_REMEMBERED = 8192
_DEFAULT_PRECEDENCE = 1000


@attrs.frozen(slots=True)
class Rule:
    """One of a schema's rules: anybody of the subjects, doing anything of the rest."""

    users: frozenset[str]  # "*" for anybody
    groups: frozenset[str]
    resources: tuple[tuple[frozenset[str], frozenset[str], frozenset[str], bool, frozenset[str]], ...]
    paths: tuple[tuple[frozenset[str], frozenset[str], tuple[str, ...]], ...]

    def match(self, user: User, info: RequestInfo) -> bool:
        return self._subject(user) and (self._resource(info) if info.resource else self._path(info))

    def _subject(self, user: User) -> bool:
        users, groups = self.users, self.groups
        if "*" in users or user.name in users or "*" in groups or not groups.isdisjoint(user.groups):
            return True
        if users and user.name.startswith("system:serviceaccount:"):
            return user.name.rpartition(":")[0] + ":*" in users
        return False

    def _resource(self, info: RequestInfo) -> bool:
        resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        for verbs, groups, resources, cluster, namespaces in self.resources:
            if not _has(verbs, info.verb) or not _has(groups, info.group) or not _has(resources, resource):
                continue
            if _has(namespaces, info.namespace) if info.namespace else cluster:
                return True
        return False

    def _path(self, info: RequestInfo) -> bool:
        for verbs, exact, prefixes in self.paths:
            if _has(verbs, info.verb) and (info.path in exact or info.path.startswith(prefixes)):
                return True
        return False


def _has(wanted: frozenset[str], value: str) -> bool:
    return value in wanted or "*" in wanted


@attrs.frozen(slots=True, eq=False)
class Schema:
    name: str
    uid: str
    precedence: int
    level: str
    distinguisher: str  # "", ByUser or ByNamespace
    rules: tuple[Rule, ...]

    def flow(self, user: User, info: RequestInfo) -> str:
        if self.distinguisher == "ByUser":
            return user.name
        return info.namespace if self.distinguisher == "ByNamespace" else ""


class Matcher:
    """All schemas, in the order in which they are tried."""

    def __init__(self, schemas: Iterable[Schema]) -> None:
        self.schemas = sorted(schemas, key=lambda s: (s.precedence, s.name))
        self._remembered: dict[Any, Schema | None] = {}

    def match(self, user: User, info: RequestInfo) -> Schema | None:
        place = info.namespace if info.resource else info.path
        key = (user.name, user.groups, info.verb, info.group, info.resource, info.subresource, place)
        try:
            return self._remembered[key]
        except KeyError:
            pass
        found = next((s for s in self.schemas if any(rule.match(user, info) for rule in s.rules)), None)
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = found
        return found


def compile(obj: Object) -> Schema:
    """A FlowSchema as it is stored."""
    spec, meta = obj.get("spec") or {}, obj["metadata"]
    return Schema(
        meta["name"],
        meta.get("uid", ""),
        spec.get("matchingPrecedence") or _DEFAULT_PRECEDENCE,
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        (spec.get("distinguisherMethod") or {}).get("type", ""),
        tuple(_rule(rule) for rule in spec.get("rules") or ()),
    )


def _rule(rule: Object) -> Rule:
    users, groups = set(), set()
    for subject in rule.get("subjects") or ():
        kind = subject.get("kind")
        if kind == "User":
            users.add(subject["user"]["name"])
        elif kind == "Group":
            groups.add(subject["group"]["name"])
        elif kind == "ServiceAccount":
            account = subject["serviceAccount"]
            users.add(f"system:serviceaccount:{account['namespace']}:{account['name']}")
    resources = tuple(
        (
            frozenset(r.get("verbs") or ()),
            frozenset(r.get("apiGroups") or ()),
            frozenset(r.get("resources") or ()),
            bool(r.get("clusterScope")),
            frozenset(r.get("namespaces") or ()),
        )
        for r in rule.get("resourceRules") or ()
    )
    paths = []
    for r in rule.get("nonResourceRules") or ():
        urls = r.get("nonResourceURLs") or ()
        prefixes = tuple(u[:-1] for u in urls if u.endswith("*"))
        paths.append((frozenset(r.get("verbs") or ()), frozenset(urls), prefixes))
    return Rule(frozenset(users), frozenset(groups), resources, tuple(paths))
