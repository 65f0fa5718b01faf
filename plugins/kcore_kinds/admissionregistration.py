"""admissionregistration.k8s.io: webhooks and policies that take part in admission."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("admissionregistration.k8s.io")
group.serve(
    "MutatingAdmissionPolicy",
    "mutatingadmissionpolicies",
    generation=True,
    hash="LYmCf+UMVdg=",
    namespaced=False,
    category="api-extensions",
)
group.serve(
    "MutatingAdmissionPolicyBinding",
    "mutatingadmissionpolicybindings",
    generation=True,
    hash="90V5FRZZ3Zg=",
    namespaced=False,
    category="api-extensions",
)
group.serve(
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    generation=True,
    hash="Sqi0GUgDaX0=",
    namespaced=False,
    category="api-extensions",
)
group.serve(
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    generation=True,
    hash="6OxvlMmQ6is=",
    namespaced=False,
    category="api-extensions",
    status=True,
)
group.serve(
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    generation=True,
    hash="v9715VZqakg=",
    namespaced=False,
    category="api-extensions",
)
group.serve(
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    generation=True,
    hash="B0wHjQmsGNk=",
    namespaced=False,
    category="api-extensions",
)

KINDS = group.kinds
