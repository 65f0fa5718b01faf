"""What one PolicyRule covers (rbac/v1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from kcore.objects import Object


@attrs.frozen(slots=True)
class Rule:
    """A PolicyRule, its lists as sets. `source` is the rule as it stands in the role."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    paths: tuple[str, ...]
    source: Object = attrs.field(eq=False)

    @classmethod
    def of(cls, rule: Object) -> Rule:
        def words(key: str) -> frozenset[str]:
            return frozenset(rule.get(key) or ())

        paths = tuple(rule.get("nonResourceURLs") or ())
        return cls(words("verbs"), words("apiGroups"), words("resources"), words("resourceNames"), paths, rule)

    def covers(self, verb: str, group: str, resource: str, subresource: str) -> bool:
        """Whether it is about this, names aside."""
        if verb not in self.verbs and "*" not in self.verbs:
            return False
        if group not in self.groups and "*" not in self.groups:
            return False
        if "*" in self.resources:
            return True
        if subresource:
            return f"{resource}/{subresource}" in self.resources or f"*/{subresource}" in self.resources
        return resource in self.resources

    def covers_path(self, verb: str, path: str) -> bool:
        if not self.paths or (verb not in self.verbs and "*" not in self.verbs):
            return False
        return any(p in ("*", path) or (p.endswith("*") and path.startswith(p[:-1])) for p in self.paths)


def single(rule: Rule) -> Iterator[Rule]:
    """The rule taken apart: one verb, group, resource and name (or path) each."""
    nothing: frozenset[str] = frozenset()
    for verb in sorted(rule.verbs):
        for path in rule.paths:
            yield Rule(frozenset((verb,)), nothing, nothing, nothing, (path,), rule.source)
        for group in sorted(rule.groups):
            for resource in sorted(rule.resources):
                for name in sorted(rule.names) or [""]:
                    names = frozenset((name,)) if name else nothing
                    yield Rule(frozenset((verb,)), frozenset((group,)), frozenset((resource,)), names, (), rule.source)


def uncovered(wanted: Iterable[Rule], held: list[Rule]) -> list[Rule]:
    """The single permissions of `wanted` that nobody with `held` has: for the check against escalation."""
    return [one for rule in wanted for one in single(rule) if not any(_holds(h, one) for h in held)]


def _holds(held: Rule, one: Rule) -> bool:
    (verb,) = one.verbs
    if one.paths:
        path = one.paths[0]
        if path.endswith("*"):
            return ("*" in held.verbs or verb in held.verbs) and any(
                p == "*" or (p.endswith("*") and path[:-1].startswith(p[:-1])) for p in held.paths
            )
        return held.covers_path(verb, path)
    (group,), (full,) = one.groups, one.resources
    resource, _, subresource = full.partition("/")
    if held.names and not (one.names and one.names <= held.names):
        return False
    return held.covers(verb, group, resource, subresource)
