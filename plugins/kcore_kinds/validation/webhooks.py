"""The rules of webhook configurations and of bindings of admission policies."""

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
ACTIONS = ["Audit", "Deny", "Warn"]
_ONE_TARGET = "exactly one of url or service is required"


def webhooks(obj: Object, old: Object | None) -> Iterator[Cause]:
    seen: set[str] = set()
    for i, hook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{i}]", hook.get("name", "")
        yield from _hook(path, hook)
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
    for i, rule in enumerate(hook.get("rules") or ()):
        yield from _rule(f"{path}.rules[{i}]", rule)
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
    yield from _client(f"{path}.clientConfig", hook.get("clientConfig") or {})
    yield from _versions(f"{path}.admissionReviewVersions", hook.get("admissionReviewVersions") or [])


def _rule(path: str, rule: Object) -> Iterator[Cause]:
    operations = rule.get("operations") or []
    if not operations:
        yield fields.required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        why = "if '*' is present, must not specify other operations"
        yield fields.invalid(f"{path}.operations", operations, why)
    for i, operation in enumerate(operations):
        yield from one_of(f"{path}.operations[{i}]", operation, OPERATIONS)
    for name in ("apiGroups", "apiVersions", "resources"):
        if not rule.get(name):
            yield fields.required(f"{path}.{name}")
    yield from one_of(f"{path}.scope", rule.get("scope"), ["*", "Cluster", "Namespaced"])


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


def policy_binding(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if not spec.get("policyName"):
        yield fields.required("spec.policyName")
    else:
        yield from problems("spec.policyName", spec["policyName"], names.dns_subdomain(spec["policyName"]))
    actions = spec.get("validationActions") or []
    if not actions:
        yield fields.required("spec.validationActions")
    for i, action in enumerate(actions):
        yield from one_of(f"spec.validationActions[{i}]", action, ACTIONS)
    if {"Deny", "Warn"} <= set(actions):
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        yield fields.invalid("spec.validationActions", actions, why)
