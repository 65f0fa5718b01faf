"""Making policies and their bindings."""

from __future__ import annotations

from typing import Any

from tests.dynamic.conftest import REGISTRATION, RULE

VALIDATING, MUTATING = "validatingadmissionpolicies", "mutatingadmissionpolicies"


def rule(**more: Any) -> dict[str, Any]:
    return {**RULE, "operations": ["CREATE", "UPDATE"], **more}


async def policy(api, *validations: Any, binding: dict[str, Any] | None = None, **spec: Any) -> None:
    """A ValidatingAdmissionPolicy "p" with a binding "b", in force when this returns."""
    made = [{"expression": v} if isinstance(v, str) else v for v in validations]
    spec = {"matchConstraints": {"resourceRules": [rule()]}, "validations": made, **spec}
    await api.call("POST", f"{REGISTRATION}/{VALIDATING}", {"metadata": {"name": "p"}, "spec": spec}, expect=201)
    await bind(api, **(binding or {}))


async def bind(api, name: str = "b", **spec: Any) -> None:
    spec = {"policyName": "p", "validationActions": ["Deny"], **spec}
    body = {"metadata": {"name": name}, "spec": spec}
    await api.call("POST", f"{REGISTRATION}/validatingadmissionpolicybindings", body, expect=201)
    await api.server.feed.caught_up()


async def mutation(api, *mutations: Any, name: str = "m", resources: str = "configmaps", **spec: Any) -> None:
    """A MutatingAdmissionPolicy with a binding. A string is an ApplyConfiguration, a list's only item a JSONPatch."""
    made = [
        {"patchType": "JSONPatch", "jsonPatch": {"expression": m[0]}}
        if isinstance(m, list)
        else {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": m}}
        for m in mutations
    ]
    spec = {
        "matchConstraints": {"resourceRules": [rule(resources=[resources])]},
        "mutations": made,
        "reinvocationPolicy": "Never",
        **spec,
    }
    await api.call("POST", f"{REGISTRATION}/{MUTATING}", {"metadata": {"name": name}, "spec": spec}, expect=201)
    body = {"metadata": {"name": name}, "spec": {"policyName": name}}
    await api.call("POST", f"{REGISTRATION}/mutatingadmissionpolicybindings", body, expect=201)
    await api.server.feed.caught_up()
