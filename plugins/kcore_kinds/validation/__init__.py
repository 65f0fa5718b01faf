"""What an object must say to be accepted: the rules of each kind, beyond its shape and its metadata.

`check` finds the rules of a definition. A rule is a generator ``rule(obj, old)`` of field errors; `old` is None for a
new object. ``rule_status`` of the same name judges a change of the status. Modules are imported when first needed.

Rules see objects in Go's form with defaults filled in, and say what Kubernetes says, in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import Any

from kcore.errors import Cause

Object = dict[str, Any]
Rule = Callable[[Object, Object | None], Iterable[Cause]]

# definition: (module, function)
RULES = {
    "core.v1.Pod": ("pods", "pod"),
    "core.v1.PodTemplate": ("pods", "pod_template"),
    "core.v1.Service": ("services", "service"),
    "core.v1.Endpoints": ("services", "endpoints"),
    "discovery.v1.EndpointSlice": ("services", "endpoint_slice"),
    "core.v1.ConfigMap": ("config", "config_map"),
    "core.v1.Secret": ("config", "secret"),
    "core.v1.LimitRange": ("config", "limit_range"),
    "core.v1.ResourceQuota": ("config", "resource_quota"),
    "core.v1.ReplicationController": ("workloads", "replication_controller"),
    "apps.v1.ReplicaSet": ("workloads", "replica_set"),
    "apps.v1.Deployment": ("workloads", "deployment"),
    "apps.v1.StatefulSet": ("workloads", "stateful_set"),
    "apps.v1.DaemonSet": ("workloads", "daemon_set"),
    "apps.v1.ControllerRevision": ("workloads", "controller_revision"),
    "batch.v1.Job": ("jobs", "job"),
    "batch.v1.CronJob": ("jobs", "cron_job"),
    "core.v1.PersistentVolumeClaim": ("storage", "claim"),
    "core.v1.PersistentVolume": ("storage", "volume"),
    "storage.v1.StorageClass": ("storage", "storage_class"),
    "storage.v1.CSIDriver": ("drivers", "driver"),
    "storage.v1.CSINode": ("drivers", "node"),
    "storage.v1.CSIStorageCapacity": ("drivers", "capacity"),
    "storage.v1.VolumeAttachment": ("drivers", "attachment"),
    "storage.v1.VolumeAttributesClass": ("drivers", "attributes_class"),
    "resource.v1.DeviceClass": ("devices", "device_class"),
    "resource.v1.ResourceClaim": ("devices", "claim"),
    "resource.v1.ResourceClaimTemplate": ("devices", "claim_template"),
    "resource.v1.ResourceSlice": ("devices", "resource_slice"),
    "flowcontrol.v1.FlowSchema": ("flows", "flow_schema"),
    "flowcontrol.v1.PriorityLevelConfiguration": ("flows", "priority_level"),
    "networking.v1.IPAddress": ("addresses", "address"),
    "networking.v1.ServiceCIDR": ("addresses", "service_range"),
    "rbac.v1.Role": ("access", "role"),
    "rbac.v1.ClusterRole": ("access", "cluster_role"),
    "rbac.v1.RoleBinding": ("access", "role_binding"),
    "rbac.v1.ClusterRoleBinding": ("access", "role_binding"),
    "certificates.v1.CertificateSigningRequest": ("access", "certificate_request"),
    "authorization.v1.SubjectAccessReview": ("access", "subject_access_review"),
    "authorization.v1.LocalSubjectAccessReview": ("access", "subject_access_review"),
    "authorization.v1.SelfSubjectAccessReview": ("access", "self_subject_access_review"),
    "autoscaling.v1.HorizontalPodAutoscaler": ("scaling", "autoscaler_v1"),
    "autoscaling.v2.HorizontalPodAutoscaler": ("scaling", "autoscaler"),
    "policy.v1.PodDisruptionBudget": ("scaling", "disruption_budget"),
    "scheduling.v1.PriorityClass": ("scaling", "priority_class"),
    "networking.v1.Ingress": ("networking", "ingress"),
    "networking.v1.IngressClass": ("networking", "ingress_class"),
    "networking.v1.NetworkPolicy": ("networking", "network_policy"),
    "core.v1.Node": ("cluster", "node"),
    "core.v1.Namespace": ("cluster", "namespace"),
    "coordination.v1.Lease": ("cluster", "lease"),
    "node.v1.RuntimeClass": ("cluster", "runtime_class"),
    "events.v1.Event": ("cluster", "event"),
    "admissionregistration.v1.ValidatingWebhookConfiguration": ("webhooks", "webhooks"),
    "admissionregistration.v1.MutatingWebhookConfiguration": ("webhooks", "webhooks"),
    "admissionregistration.v1.ValidatingAdmissionPolicy": ("admission", "policy"),
    "admissionregistration.v1.ValidatingAdmissionPolicyBinding": ("admission", "policy_binding"),
    "admissionregistration.v1.MutatingAdmissionPolicy": ("admission", "mutating_policy"),
    "admissionregistration.v1.MutatingAdmissionPolicyBinding": ("admission", "mutating_binding"),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition": (
        "definitions",
        "definition",
    ),
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService": ("cluster", "api_service"),
}


@cache
def _rule(definition: str, suffix: str = "") -> Rule | None:
    found = RULES.get(definition.removeprefix("io.k8s.api."))
    if found is None:
        return None
    module, function = found
    rule: Rule | None = getattr(import_module(f"kcore_kinds.validation.{module}"), function + suffix, None)
    return rule


def check(definition: str, obj: Object, old: Object | None = None) -> list[Cause]:
    """Every mistake in an object, new (`old` is None) or changed."""
    rule = _rule(definition)
    return list(rule(obj, old)) if rule else []


def check_status(definition: str, obj: Object, old: Object) -> list[Cause]:
    """Every mistake in a changed status."""
    rule = _rule(definition, "_status")
    return list(rule(obj, old)) if rule else []
