"""The tables of what runs the cluster itself: access, admission, priorities, extensions, devices."""

from __future__ import annotations

from kcore.api.kinds import Column
from kcore.objects import meta
from kcore_kinds.tables.cells import (
    AGE,
    CREATED,
    NAME,
    NONE,
    UNSET,
    Object,
    at,
    col,
    count,
    human_duration,
    selector_text,
)


def _role(binding: Object) -> str:
    ref = binding.get("roleRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _subjects(binding: Object, kind: str) -> str:
    found = (s for s in binding.get("subjects") or () if s.get("kind") == kind)
    return ", ".join(f"{s['namespace']}/{s['name']}" if kind == "ServiceAccount" else s["name"] for s in found)


_BINDING = (
    NAME,
    col("Role", _role),
    AGE,
    col("Users", lambda b: _subjects(b, "User"), wide=True),
    col("Groups", lambda b: _subjects(b, "Group"), wide=True),
    col("ServiceAccounts", lambda b: _subjects(b, "ServiceAccount"), wide=True),
)


def _param_kind(policy: Object) -> str:
    kind = policy.get("spec", {}).get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def _param_ref(binding: Object) -> str:
    ref = binding.get("spec", {}).get("paramRef")
    if not ref:
        return UNSET
    if ref.get("name"):
        return f"{ref['namespace']}/{ref['name']}" if ref.get("namespace") else str(ref["name"])
    return selector_text(ref.get("selector"))


_WEBHOOKS = (NAME, col("Webhooks", count("webhooks"), "integer"), AGE)
_POLICY_BINDING = (NAME, col("PolicyName", at("spec.policyName")), col("ParamRef", _param_ref), AGE)


def _policy(counted: str) -> tuple[Column, ...]:
    column = col(counted, count(f"spec.{counted.lower()}"), "integer")
    return (NAME, column, col("ParamKind", _param_kind), AGE)


def _duration(csr: Object) -> str:
    seconds = csr.get("spec", {}).get("expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


def _csr_condition(csr: Object) -> str:
    status = csr.get("status") or {}
    types = {c["type"] for c in status.get("conditions") or ()}
    words = ["Denied"] if "Denied" in types else ["Approved"] if "Approved" in types else ["Pending"]
    if "Failed" in types:
        words.append("Failed")
    if status.get("certificate"):
        words.append("Issued")
    return ",".join(words)


def _api_service(service: Object) -> str:
    found = service.get("spec", {}).get("service")
    return f"{found.get('namespace', '')}/{found.get('name', '')}" if found else "Local"


def _available(service: Object) -> str:
    found = meta.condition(service, "Available")
    if found is None:
        return "Unknown"
    if found["status"] == "True":
        return "True"
    return f"{found['status']} ({found['reason']})" if found.get("reason") else str(found["status"])


def _dangling(schema: Object) -> str:
    found = meta.condition(schema, "Dangling")
    return "?" if found is None else str(found["status"])


def _claim_state(claim: Object) -> str:
    status = claim.get("status") or {}
    words = ["deleted"] if meta.deleting(claim) else []
    if status.get("allocation"):
        words.append("allocated")
    if status.get("reservedFor"):
        words.append("reserved")
    return ",".join(words) or "pending"


def _slice_node(slice: Object) -> str:
    spec = slice.get("spec", {})
    if spec.get("allNodes"):
        return "<all>"
    return str(spec.get("nodeName") or UNSET)


TABLES: dict[str, tuple[Column, ...]] = {
    "roles.rbac.authorization.k8s.io": (NAME, CREATED),
    "clusterroles.rbac.authorization.k8s.io": (NAME, CREATED),
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "validatingadmissionpolicies.admissionregistration.k8s.io": _policy("Validations"),
    "mutatingadmissionpolicies.admissionregistration.k8s.io": _policy("Mutations"),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _POLICY_BINDING,
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": _POLICY_BINDING,
    "customresourcedefinitions.apiextensions.k8s.io": (NAME, CREATED),
    "apiservices.apiregistration.k8s.io": (
        NAME,
        col("Service", _api_service),
        col("Available", _available),
        AGE,
    ),
    "certificatesigningrequests.certificates.k8s.io": (
        NAME,
        AGE,
        col("SignerName", at("spec.signerName")),
        col("Requestor", at("spec.username")),
        col("RequestedDuration", _duration),
        col("Condition", _csr_condition),
    ),
    "leases.coordination.k8s.io": (NAME, col("Holder", at("spec.holderIdentity")), AGE),
    "flowschemas.flowcontrol.apiserver.k8s.io": (
        NAME,
        col("PriorityLevel", at("spec.priorityLevelConfiguration.name")),
        col("MatchingPrecedence", at("spec.matchingPrecedence", 0)),
        col("DistinguisherMethod", at("spec.distinguisherMethod.type", NONE)),
        AGE,
        col("MissingPL", _dangling),
    ),
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": (
        NAME,
        col("Type", at("spec.type")),
        col("NominalConcurrencyShares", at("spec.limited.nominalConcurrencyShares", NONE)),
        col("Queues", at("spec.limited.limitResponse.queuing.queues", NONE)),
        col("HandSize", at("spec.limited.limitResponse.queuing.handSize", NONE)),
        col("QueueLengthLimit", at("spec.limited.limitResponse.queuing.queueLengthLimit", NONE)),
        AGE,
    ),
    "runtimeclasses.node.k8s.io": (NAME, col("Handler", at("handler")), AGE),
    "priorityclasses.scheduling.k8s.io": (
        NAME,
        col("Value", at("value", 0), "integer"),
        col("Global-Default", at("globalDefault", False), "boolean"),
        AGE,
        col("PreemptionPolicy", at("preemptionPolicy")),
    ),
    "deviceclasses.resource.k8s.io": (NAME, AGE),
    "resourceclaims.resource.k8s.io": (NAME, col("State", _claim_state), AGE),
    "resourceclaimtemplates.resource.k8s.io": (NAME, AGE),
    "resourceslices.resource.k8s.io": (
        NAME,
        col("Node", _slice_node),
        col("Driver", at("spec.driver")),
        col("Pool", at("spec.pool.name")),
        AGE,
    ),
}
