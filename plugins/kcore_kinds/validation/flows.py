"""The rules of flow schemas and priority levels."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation.common import Object, problems

VERBS = [
    "*", "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch",
]  # fmt: skip
MAX_PRECEDENCE = 10_000
MAX_ENTROPY = 60


def flow_schema(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name", "")
    precedence = spec.get("matchingPrecedence", 0)
    path = "spec.matchingPrecedence"
    if precedence <= 0:
        yield fields.invalid(path, precedence, "must be a positive value")
    if precedence > MAX_PRECEDENCE:
        yield fields.invalid(path, precedence, f"must not be greater than {MAX_PRECEDENCE}")
    if precedence == 1 and name != "exempt":
        yield fields.invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        yield fields.not_supported("spec.distinguisherMethod", method.get("type", ""), ["ByNamespace", "ByUser"])
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    if level:
        yield from problems("spec.priorityLevelConfiguration.name", level, names.dns_subdomain(level))
    else:
        yield fields.required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    for i, rule in enumerate(spec.get("rules") or ()):
        yield from _rule(f"spec.rules[{i}]", rule)


def _rule(path: str, rule: Object) -> Iterator[Cause]:
    subjects = rule.get("subjects") or []
    if not subjects:
        yield fields.required(f"{path}.subjects", "subjects must contain at least one value")
    for i, subject in enumerate(subjects):
        yield from _subject(f"{path}.subjects[{i}]", subject)
    resources, others = rule.get("resourceRules") or [], rule.get("nonResourceRules") or []
    if not resources and not others:
        yield fields.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for i, one in enumerate(resources):
        yield from _resources(f"{path}.resourceRules[{i}]", one)
    for i, one in enumerate(others):
        yield from _urls(f"{path}.nonResourceRules[{i}]", one)


def _subject(path: str, subject: Object) -> Iterator[Cause]:
    kind = subject.get("kind", "")
    members = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
    if kind not in members:
        yield fields.not_supported(f"{path}.kind", kind, sorted(members))
        return
    for name, member in members.items():
        given = subject.get(member)
        if name == kind and given is None:
            yield fields.required(f"{path}.{member}", f"{member} is required when subject kind is '{name}'")
        elif name != kind and given is not None:
            yield fields.forbidden(f"{path}.{member}", f"{member} is forbidden when subject kind is not '{name}'")
        elif given is not None and name != "ServiceAccount" and not given.get("name"):
            yield fields.required(f"{path}.{member}.name")
        elif given is not None and name == "ServiceAccount":
            yield from _account(f"{path}.{member}", given)


def _account(path: str, given: Object) -> Iterator[Cause]:
    name, namespace = given.get("name", ""), given.get("namespace", "")
    if not name:
        yield fields.required(f"{path}.name")
    elif name != "*":
        yield from problems(f"{path}.name", name, names.dns_subdomain(name))
    if not namespace:
        yield fields.required(f"{path}.namespace", "must specify namespace for service account")
    elif namespace != "*":
        yield from problems(f"{path}.namespace", namespace, names.dns_label(namespace))


def _alone(path: str, given: list[str], what: str) -> Iterator[Cause]:
    if len(given) > 1 and "*" in given:
        yield fields.invalid(path, given, f"if '*' is present, must not specify other {what}")


def _verbs(path: str, given: list[str]) -> Iterator[Cause]:
    if not given:
        yield fields.required(path, "verbs must contain at least one value")
    elif not set(given) <= set(VERBS):
        yield fields.not_supported(path, given, VERBS)
    yield from _alone(path, given, "verbs")


def _resources(path: str, rule: Object) -> Iterator[Cause]:
    yield from _verbs(f"{path}.verbs", rule.get("verbs") or [])
    for member, one, what in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        given = rule.get(member) or []
        if not given:
            yield fields.required(f"{path}.{member}", f"resource rules must supply at least one {one}")
        yield from _alone(f"{path}.{member}", given, what)
    spaces = rule.get("namespaces") or []
    if not spaces and not rule.get("clusterScope"):
        why = "resource rules that are not cluster scoped must supply at least one namespace"
        yield fields.required(f"{path}.namespaces", why)
    yield from _alone(f"{path}.namespaces", spaces, "namespaces")
    for i, space in enumerate(spaces):
        if space != "*":
            yield from problems(f"{path}.namespaces[{i}]", space, names.dns_label(space))


def _urls(path: str, rule: Object) -> Iterator[Cause]:
    yield from _verbs(f"{path}.verbs", rule.get("verbs") or [])
    given = rule.get("nonResourceURLs") or []
    if not given:
        yield fields.required(f"{path}.nonResourceURLs", "nonResourceURLs must contain at least one value")
    yield from _alone(f"{path}.nonResourceURLs", given, "non-resource URLs")
    for i, url in enumerate(given):
        wrong = _url_problem(url)
        if wrong:
            yield fields.invalid(f"{path}.nonResourceURLs[{i}]", url, wrong)


def _url_problem(url: str) -> str:
    if url in ("*", "/"):
        return ""
    if not url:
        return "non-resource URL should not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if "//" in url or " " in url:
        return "must not contain white-space" if " " in url else "must not contain empty segment"
    if "*" in url.removesuffix("/*"):
        return "wildcard can only do suffix matching"
    return ""


# --- priority levels ------------------------------------------------------------------------------------------------


def priority_level(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name", "")
    type, limited, exempt = spec.get("type", ""), spec.get("limited"), spec.get("exempt")
    if (name == "exempt") != (type == "Exempt"):
        yield fields.invalid("spec.type", type, "type must be 'Exempt' if and only if `name` is 'exempt'")
    if type == "Exempt":
        if limited is not None:
            yield fields.forbidden("spec.limited", "must be nil if the type is not Limited")
        if exempt is not None:
            yield from _shares("spec.exempt", exempt)
    elif type == "Limited":
        if exempt is not None:
            yield fields.forbidden("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            yield fields.required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from _limited("spec.limited", limited)
    else:
        yield fields.not_supported("spec.type", type, ["Exempt", "Limited"])


def _shares(path: str, given: Object) -> Iterator[Cause]:
    shares, lendable = given.get("nominalConcurrencyShares"), given.get("lendablePercent")
    if shares is not None and shares < 0:
        yield fields.invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")
    if lendable is not None and not 0 <= lendable <= 100:
        yield fields.invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive")


def _limited(path: str, limited: Object) -> Iterator[Cause]:
    yield from _shares(path, limited)
    response, at = limited.get("limitResponse") or {}, f"{path}.limitResponse"
    type, queuing = response.get("type", ""), response.get("queuing")
    if type == "Reject":
        if queuing is not None:
            yield fields.forbidden(f"{at}.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif type == "Queue":
        if queuing is None:
            why = "must not be empty if limited.limitResponse.type is Limited"
            yield fields.required(f"{at}.queuing", why)
        else:
            yield from _queuing(f"{at}.queuing", queuing)
    else:
        yield fields.not_supported(f"{at}.type", type, ["Queue", "Reject"])
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        why = "if specified, must be a non-negative integer"
        yield fields.invalid(f"{path}.borrowingLimitPercent", borrowing, why)


def _queuing(path: str, queuing: Object) -> Iterator[Cause]:
    for name in ("queueLengthLimit", "queues"):
        if queuing.get(name, 0) <= 0:
            yield fields.invalid(f"{path}.{name}", queuing.get(name, 0), "must be positive")
    queues, hand = queuing.get("queues", 0), queuing.get("handSize", 0)
    if hand <= 0:
        yield fields.invalid(f"{path}.handSize", hand, "must be positive")
    elif hand > queues:
        yield fields.invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})")
    elif _entropy(queues, hand) > MAX_ENTROPY:
        why = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_ENTROPY}"
        )
        yield fields.invalid(f"{path}.handSize", hand, why)


def _entropy(deck: int, hand: int) -> int:
    """Bits that a dealer of `hand` out of `deck` queues needs."""
    return math.ceil(sum(math.log2(deck - i) for i in range(hand)))
