"""The values that OpenAPI documents of a server list for members of built-in types (``kubectl explain`` shows them).

The package that the schemas come from leaves them out, as upstream's own files do. They stand here for what a client
writes and validation holds it to: elsewhere an answer might not be what its document says. (Kubernetes API reference.)
"""

from __future__ import annotations

Values = tuple[str, ...]

_CORE, _APPS, _BATCH, _NET = (f"io.k8s.api.{group}." for group in ("core.v1", "apps.v1", "batch.v1", "networking.v1"))
_ADMISSION = "io.k8s.api.admissionregistration.v1."

_PROTOCOL = ("SCTP", "TCP", "UDP")
_EFFECT = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_TRAFFIC = ("Cluster", "Local")
_CONTAINER: dict[str, Values] = {
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "terminationMessagePolicy": ("FallbackToLogsOnError", "File"),
}
_WEBHOOK: dict[str, Values] = {
    "failurePolicy": ("Fail", "Ignore"),
    "matchPolicy": ("Equivalent", "Exact"),
    "sideEffects": ("None", "NoneOnDryRun", "Some", "Unknown"),
}

ENUMS: dict[str, dict[str, Values]] = {
    _CORE + "Container": _CONTAINER,
    _CORE + "EphemeralContainer": _CONTAINER,
    _CORE + "ContainerPort": {"protocol": _PROTOCOL},
    _CORE + "ServicePort": {"protocol": _PROTOCOL},
    _CORE + "PodSpec": {
        "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        "preemptionPolicy": ("Never", "PreemptLowerPriority"),
        "restartPolicy": ("Always", "Never", "OnFailure"),
    },
    _CORE + "ServiceSpec": {
        "externalTrafficPolicy": _TRAFFIC,
        "internalTrafficPolicy": _TRAFFIC,
        "ipFamilyPolicy": ("PreferDualStack", "RequireDualStack", "SingleStack"),
        "sessionAffinity": ("ClientIP", "None"),
        "type": ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"),
    },
    _CORE + "Taint": {"effect": _EFFECT},
    _CORE + "Toleration": {"effect": _EFFECT},
    _CORE + "TopologySpreadConstraint": {
        "nodeAffinityPolicy": ("Honor", "Ignore"),
        "nodeTaintsPolicy": ("Honor", "Ignore"),
        "whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway"),
    },
    _CORE + "HTTPGetAction": {"scheme": ("HTTP", "HTTPS")},
    _CORE + "SeccompProfile": {"type": ("Localhost", "RuntimeDefault", "Unconfined")},
    _CORE + "PodSecurityContext": {
        "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
        "supplementalGroupsPolicy": ("Merge", "Strict"),
    },
    _CORE + "SecurityContext": {"procMount": ("Default", "Unmasked")},
    _CORE + "AppArmorProfile": {"type": ("Localhost", "RuntimeDefault", "Unconfined")},
    _CORE + "NodeSelectorRequirement": {"operator": ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")},
    _CORE + "VolumeMount": {"mountPropagation": ("Bidirectional", "HostToContainer", "None")},
    _CORE + "PersistentVolumeSpec": {
        "persistentVolumeReclaimPolicy": ("Delete", "Recycle", "Retain"),
        "volumeMode": ("Block", "Filesystem"),
    },
    _CORE + "PersistentVolumeClaimSpec": {"volumeMode": ("Block", "Filesystem")},
    _APPS + "DeploymentStrategy": {"type": ("Recreate", "RollingUpdate")},
    _APPS + "DaemonSetUpdateStrategy": {"type": ("OnDelete", "RollingUpdate")},
    _APPS + "StatefulSetUpdateStrategy": {"type": ("OnDelete", "RollingUpdate")},
    _APPS + "StatefulSetSpec": {"podManagementPolicy": ("OrderedReady", "Parallel")},
    _BATCH + "CronJobSpec": {"concurrencyPolicy": ("Allow", "Forbid", "Replace")},
    _BATCH + "JobSpec": {
        "completionMode": ("Indexed", "NonIndexed"),
        "podReplacementPolicy": ("Failed", "TerminatingOrFailed"),
    },
    _BATCH + "PodFailurePolicyRule": {"action": ("Count", "FailIndex", "FailJob", "Ignore")},
    _BATCH + "PodFailurePolicyOnExitCodesRequirement": {"operator": ("In", "NotIn")},
    _NET + "HTTPIngressPath": {"pathType": ("Exact", "ImplementationSpecific", "Prefix")},
    "io.k8s.api.discovery.v1.EndpointSlice": {"addressType": ("FQDN", "IPv4", "IPv6")},
    "io.k8s.api.policy.v1.PodDisruptionBudgetSpec": {
        "unhealthyPodEvictionPolicy": ("AlwaysAllow", "IfHealthyBudget"),
    },
    _ADMISSION + "ValidatingWebhook": _WEBHOOK,
    _ADMISSION + "MutatingWebhook": {**_WEBHOOK, "reinvocationPolicy": ("IfNeeded", "Never")},
    _ADMISSION + "RuleWithOperations": {"scope": ("*", "Cluster", "Namespaced")},
    _ADMISSION + "ValidatingAdmissionPolicySpec": {"failurePolicy": ("Fail", "Ignore")},
    _ADMISSION + "MatchResources": {"matchPolicy": ("Equivalent", "Exact")},
}
