"""The rules of webhook configurations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, one_of, problems

OPERATIONS = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]
SIDE_EFFECTS = ["None", "NoneOnDryRun"]
VERSIONS = ["v1", "v1beta1"]
ACTIONS = ["Audit", "Deny", "Warn"]  # of a policy's binding
_ONE_TARGET = "exactly one of url or service is required"


def webhooks(obj: Object, old: Object | None) -> Iterator[Cause]:
    seen: set[str] = set()
    for i, hook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{i}]", hook.get("name", "")
        yield from _hook(path, hook)
        if not _same_conditions(obj, old):
            yield from _conditions(f"{path}.matchConditions", hook.get("matchConditions"))
        yield from _versions(f"{path}.admissionReviewVersions", hook.get("admissionReviewVersions") or [])
        if name in seen:
            yield fields.duplicate(f"{path}.name", name)
        seen.add(name)


def _hook(path: str, hook: Object) -> Iterator[Cause]:
    name = hook.get("name", "")
    if not name:
        yield fields.required(f"{path}.name")
    else:
        yield from problems(f"{path}.name", name, names.dns_subdomain(name))
        if len(name.split(".")) < 3:
            why = "should be a domain with at least three segments separated by dots"
            yield fields.invalid(f"{path}.name", name, why)
    for i, each in enumerate(hook.get("rules") or ()):
        yield from rule(f"{path}.rules[{i}]", each)
    yield from one_of(f"{path}.failurePolicy", hook.get("failurePolicy"), ["Fail", "Ignore"])
    yield from one_of(f"{path}.matchPolicy", hook.get("matchPolicy"), ["Equivalent", "Exact"])
    effects = hook.get("sideEffects")
    if effects is None:
        yield fields.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    yield from one_of(f"{path}.sideEffects", effects, SIDE_EFFECTS)
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        yield fields.invalid(f"{path}.timeoutSeconds", seconds, why)
    for name in ("namespaceSelector", "objectSelector"):
        yield from common.label_selector(f"{path}.{name}", hook.get(name))
    yield from one_of(f"{path}.reinvocationPolicy", hook.get("reinvocationPolicy"), ["IfNeeded", "Never"])
    yield from _client(f"{path}.clientConfig", hook.get("clientConfig") or {})


def _same_conditions(obj: Object, old: Object | None) -> bool:
    """Whether an update leaves all match conditions as they were: then they are not compiled again."""
    now, was = obj.get("webhooks") or [], (old or {}).get("webhooks") or []
    return (
        old is not None
        and len(now) == len(was)
        and all(a.get("matchConditions") == b.get("matchConditions") for a, b in zip(now, was, strict=True))
    )


def _conditions(path: str, given: list[Object] | None) -> Iterator[Cause]:
    if given:
        from kcore_kinds.validation.admission import match_conditions

        yield from match_conditions(path, given)


def rule(path: str, given: Object) -> Iterator[Cause]:
    """RuleWithOperations."""
    operations = given.get("operations") or []
    if not operations:
        yield fields.required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        why = "if '*' is present, must not specify other operations"
        yield fields.invalid(f"{path}.operations", operations, why)
    for i, operation in enumerate(operations):
        yield from one_of(f"{path}.operations[{i}]", operation, OPERATIONS)
    for name, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        words = given.get(name) or []
        if not words:
            yield fields.required(f"{path}.{name}")
        if len(words) > 1 and "*" in words:
            yield fields.invalid(f"{path}.{name}", words, f"if '*' is present, must not specify other {what}")
    for i, version in enumerate(given.get("apiVersions") or ()):
        if not version:
            yield fields.required(f"{path}.apiVersions[{i}]")
    yield from _resources(f"{path}.resources", given.get("resources") or [])
    yield from one_of(f"{path}.scope", given.get("scope"), ["*", "Cluster", "Namespaced"])


def _resources(path: str, resources: list[str]) -> Iterator[Cause]:
    if not resources:
        yield fields.required(path)
    all_of: set[str] = set()  # x/*
    of_all: set[str] = set()  # */x
    plain = False
    for i, given in enumerate(resources):
        if not given:
            yield fields.required(f"{path}[{i}]")
            continue
        resource, slash, sub = given.partition("/")
        if not slash:
            plain = given != "*"
            continue
        if resource in all_of:
            why = f"if '{resource}/*' is present, must not specify {given}"
            yield fields.invalid(f"{path}[{i}]", given, why)
        if sub in of_all:
            yield fields.invalid(f"{path}[{i}]", given, f"if '*/{sub}' is present, must not specify {given}")
        if sub == "*":
            all_of.add(resource)
        if resource == "*":
            of_all.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        yield fields.invalid(path, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and plain:
        why = "if '*' is present, must not specify other resources without subresources"
        yield fields.invalid(path, resources, why)


def _client(path: str, client: Object) -> Iterator[Cause]:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield fields.required(path, _ONE_TARGET)
    elif url is not None and not url.startswith("https://"):
        why = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
        yield fields.invalid(f"{path}.url", url, why)
    elif service is not None:
        for name in ("name", "namespace"):
            if not service.get(name):
                yield fields.required(f"{path}.service.{name}", f"service {name} is required")
        yield from common.port_number(f"{path}.service.port", service.get("port", 443))


def _versions(path: str, given: list[Any]) -> Iterator[Cause]:
    if not given:
        yield fields.required(path, f"must specify one of {', '.join(VERSIONS)}")
    elif not set(given) & set(VERSIONS):
        yield fields.invalid(path, given, f"must include at least one of {', '.join(VERSIONS)}")
