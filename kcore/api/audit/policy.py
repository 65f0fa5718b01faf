"""The audit policy: an ``audit.k8s.io/v1`` Policy, as kube-apiserver reads it with --audit-policy-file.

The rules are tried in order and the first that matches says how much is told; no match means nothing is. What a rule
can see of a request is little, so decisions are remembered: thousands of requests share a few of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from kcore.api.auth import User
from kcore.api.routing import RequestInfo
from kcore.errors import ConfigError

NONE, METADATA, REQUEST, REQUEST_RESPONSE = range(4)
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_VERSIONS = ("audit.k8s.io/v1",)
_REMEMBERED = 4096
_RULE = frozenset(
    (
        "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages",
        "omitManagedFields",
    )
)  # fmt: skip


@attrs.frozen(slots=True)
class Decision:
    """How much is told of a request."""

    level: int
    omitted: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


NOTHING = Decision(NONE)


@attrs.frozen(slots=True)
class Resources:
    """``resources`` of a rule: one group's, with subresources ("pods/log", "*/scale", "pods/*") and names."""

    group: str = ""
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def match(self, info: RequestInfo) -> bool:
        if self.group != info.group:
            return False
        wanted = self.resources
        if not wanted:
            return True
        if self.names and info.name not in self.names:
            return False
        both = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        if both in wanted or "*" in wanted or f"{info.resource}/*" in wanted:
            return True
        return bool(info.subresource) and f"*/{info.subresource}" in wanted


@attrs.frozen(slots=True)
class Rule:
    decision: Decision
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    resources: tuple[Resources, ...]
    namespaces: frozenset[str]
    paths: frozenset[str]
    prefixes: tuple[str, ...]  # of nonResourceURLs that end in "*"

    def match(self, user: User, info: RequestInfo) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if not info.resource or (self.namespaces and info.namespace not in self.namespaces):
                return False
            return not self.resources or any(r.match(info) for r in self.resources)
        if self.paths or self.prefixes:
            return not info.resource and (info.path in self.paths or info.path.startswith(self.prefixes))
        return True


class Policy:
    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._named = any(r.names for rule in rules for r in rule.resources)
        self._remembered: dict[Any, Decision] = {}

    def decide(self, user: User, info: RequestInfo) -> Decision:
        place = info.path if not info.resource else info.name if self._named else ""
        key = (user.name, user.groups, info.verb, info.group, info.resource, info.subresource, info.namespace, place)
        found = self._remembered.get(key)
        if found is None:
            found = next((rule.decision for rule in self._rules if rule.match(user, info)), NOTHING)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
        return found


def read(path: Path | str) -> Policy:
    """The policy in a file. Raises ConfigError with every mistake in it."""
    import yaml

    try:
        text = Path(path).read_text()
        doc = yaml.load(text, Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{path}: the audit policy cannot be read: {error}"]) from error
    return parse(doc, str(path))


def parse(doc: Any, where: str = "audit policy") -> Policy:
    """Raises ConfigError."""
    problems: list[str] = []

    def wrong(path: str, why: str) -> None:
        problems.append(f"{where}: {path}: {why}")

    if not isinstance(doc, dict) or doc.get("kind") != "Policy" or doc.get("apiVersion") not in _VERSIONS:
        raise ConfigError([f"{where}: an object of kind Policy and apiVersion {_VERSIONS[0]} is expected"])
    for name in doc.keys() - {"apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"}:
        wrong(str(name), "unknown field")
    stages = _stages(doc.get("omitStages"), "omitStages", wrong)
    managed = bool(doc.get("omitManagedFields"))
    rules = []
    given = doc.get("rules") or []
    if not isinstance(given, list):
        wrong("rules", "a list is expected")
        given = []
    for i, rule in enumerate(given):
        made = _rule(rule, f"rules[{i}]", stages, managed, wrong)
        if made is not None:
            rules.append(made)
    if problems:
        raise ConfigError(problems)
    return Policy(rules)


Wrong = Callable[[str, str], None]


def _rule(rule: Any, path: str, stages: frozenset[str], managed: bool, wrong: Wrong) -> Rule | None:
    if not isinstance(rule, dict):
        wrong(path, "an object is expected")
        return None
    for name in rule.keys() - _RULE:
        wrong(f"{path}.{name}", "unknown field")
    level = rule.get("level", "")
    if level not in LEVELS:
        wrong(f"{path}.level", f'Unsupported value: "{level}": supported values: {", ".join(LEVELS)}')
        return None
    urls = _strings(rule.get("nonResourceURLs"), f"{path}.nonResourceURLs", wrong)
    for url in urls:
        if url != "*" and not url.startswith("/"):
            wrong(f"{path}.nonResourceURLs", f"\"{url}\": non-resource URL rules must begin with a '/' character")
        elif "*" in url[:-1]:
            wrong(f"{path}.nonResourceURLs", f'"{url}": non-resource URL wildcards * must be the final character')
    namespaces = _strings(rule.get("namespaces"), f"{path}.namespaces", wrong)
    resources = tuple(_resources(rule.get("resources"), f"{path}.resources", wrong))
    if urls and (namespaces or resources):
        wrong(f"{path}.nonResourceURLs", "rules cannot apply to both regular resources and non-resource URLs")
    omitted = stages | _stages(rule.get("omitStages"), f"{path}.omitStages", wrong)
    omit = rule.get("omitManagedFields")
    return Rule(
        Decision(LEVELS.index(level), omitted, managed if omit is None else bool(omit)),
        frozenset(_strings(rule.get("users"), f"{path}.users", wrong)),
        frozenset(_strings(rule.get("userGroups"), f"{path}.userGroups", wrong)),
        frozenset(_strings(rule.get("verbs"), f"{path}.verbs", wrong)),
        resources,
        frozenset(namespaces),
        frozenset(url for url in urls if not url.endswith("*")),
        tuple(url[:-1] for url in urls if url.endswith("*")),
    )


def _resources(given: Any, path: str, wrong: Wrong) -> list[Resources]:
    found = []
    if given is not None and not isinstance(given, list):
        wrong(path, "a list is expected")
        return []
    for i, each in enumerate(given or ()):
        at = f"{path}[{i}]"
        if not isinstance(each, dict) or each.keys() - {"group", "resources", "resourceNames"}:
            wrong(at, "an object of group, resources, resourceNames is expected")
            continue
        group = each.get("group") or ""
        if "/" in group:
            wrong(f"{at}.group", f'"{group}": the group of a resource has no version')
        names = _strings(each.get("resourceNames"), f"{at}.resourceNames", wrong)
        resources = _strings(each.get("resources"), f"{at}.resources", wrong)
        if names and not resources:
            wrong(f"{at}.resourceNames", "using resourceNames requires at least one resource")
        found.append(Resources(group, frozenset(resources), frozenset(names)))
    return found


def _stages(given: Any, path: str, wrong: Wrong) -> frozenset[str]:
    stages = _strings(given, path, wrong)
    for stage in stages:
        if stage not in STAGES:
            wrong(path, f'Unsupported value: "{stage}": supported values: {", ".join(STAGES)}')
    return frozenset(stages)


def _strings(given: Any, path: str, wrong: Wrong) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        wrong(path, "a list of strings is expected")
        return []
    return given
