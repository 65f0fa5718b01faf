"""admissionregistration.k8s.io: webhooks and policies that take part in admission."""

from __future__ import annotations

from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing


def fill_webhooks(obj: Object, values: Object) -> None:
    for hook in obj.get("webhooks") or ():
        missing(
            hook,
            {
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "timeoutSeconds": 10,
                **values,
            },
        )
        if (hook.get("clientConfig") or {}).get("service"):
            missing(hook["clientConfig"]["service"], {"port": 443})
        fill_rules(hook.get("rules"))


def fill_rules(rules: list[Object] | None) -> None:
    for rule in rules or ():
        missing(rule, {"scope": "*"})


def fill_matches(matches: Object | None) -> None:
    """What a policy or its binding applies to."""
    if matches is None:
        return
    missing(matches, {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}})
    fill_rules(matches.get("resourceRules"))
    fill_rules(matches.get("excludeResourceRules"))


class ValidatingWebhookStrategy(Builtin):
    def default(self, obj: Object) -> None:
        fill_webhooks(obj, {})


class MutatingWebhookStrategy(Builtin):
    def default(self, obj: Object) -> None:
        fill_webhooks(obj, {"reinvocationPolicy": "Never"})


class PolicyStrategy(Builtin):
    def default(self, obj: Object) -> None:
        missing(obj["spec"], {"failurePolicy": "Fail"})
        fill_matches(obj["spec"].get("matchConstraints"))


class BindingStrategy(Builtin):
    def default(self, obj: Object) -> None:
        fill_matches(obj["spec"].get("matchResources"))


group = Group("admissionregistration.k8s.io")
group.serve(
    "MutatingAdmissionPolicy",
    "mutatingadmissionpolicies",
    blind=False,
    strategy=PolicyStrategy(),
    generation=True,
    hash="LYmCf+UMVdg=",
    namespaced=False,
    category="api-extensions",
)
group.serve(
    "MutatingAdmissionPolicyBinding",
    "mutatingadmissionpolicybindings",
    blind=False,
    strategy=BindingStrategy(),
    generation=True,
    hash="90V5FRZZ3Zg=",
    namespaced=False,
    category="api-extensions",
)
group.serve(
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    blind=False,
    strategy=MutatingWebhookStrategy(),
    generation=True,
    hash="Sqi0GUgDaX0=",
    namespaced=False,
    category="api-extensions",
)
group.serve(
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    blind=False,
    strategy=PolicyStrategy(),
    generation=True,
    hash="6OxvlMmQ6is=",
    namespaced=False,
    category="api-extensions",
    status=True,
)
group.serve(
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    blind=False,
    strategy=BindingStrategy(),
    generation=True,
    hash="v9715VZqakg=",
    namespaced=False,
    category="api-extensions",
)
group.serve(
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    blind=False,
    strategy=ValidatingWebhookStrategy(),
    generation=True,
    hash="B0wHjQmsGNk=",
    namespaced=False,
    category="api-extensions",
)

KINDS = group.kinds
