"""The admission plugins that every cluster has, each under its upstream name.

They do what Kubernetes users take for defaults but what needs a look at other objects: the token volume of a pod's
service account, priorities, limits, the default storage class. The config lists the ones to use; they run in
upstream's order, which is the order here.
"""

from __future__ import annotations

from collections.abc import Iterable

from kcore.api.admission import Admission
from kcore.hookspecs import hookimpl
from kcore.registry import NoConfig, Provider, lazily
from kcore_admission.config import (
    EventLimitConfig,
    NodeSelectorConfig,
    PodSecurityConfig,
    QuotaConfig,
    TolerationsConfig,
)

# name: (module, one line of help, settings)
PLUGINS: dict[str, tuple[str, str, type]] = {
    "NamespaceLifecycle": ("namespaces", "Nothing is created in a namespace that is missing or going away", NoConfig),
    "LimitPodHardAntiAffinityTopology": ("placement", "Nobody keeps a whole zone to himself", NoConfig),
    "LimitRanger": ("limits", "Requests and limits as the namespace's LimitRanges say", NoConfig),
    "ServiceAccount": ("accounts", "Pods run as a service account and get its token", NoConfig),
    "TaintNodesByCondition": ("nodes", "A new node takes no pods before it is ready", NoConfig),
    "AlwaysPullImages": ("accounts", "Every image is pulled anew, so that its pull secret is checked", NoConfig),
    "PodSecurity": ("podsecurity", "Pods keep to the Pod Security Standard of their namespace", PodSecurityConfig),
    "PodNodeSelector": ("placement", "Pods get the node selector of their namespace", NodeSelectorConfig),
    "Priority": ("priority", "Pods get the number behind their priority class", NoConfig),
    "DefaultTolerationSeconds": ("nodes", "Pods stay five minutes on a node that does not answer", NoConfig),
    "PodTolerationRestriction": (
        "placement",
        "Pods get the tolerations of their namespace, no other",
        TolerationsConfig,
    ),
    "EventRateLimit": ("events", "Nobody floods the store with events", EventLimitConfig),
    "ExtendedResourceToleration": ("placement", "Who asks for a special resource may run where it is", NoConfig),
    "DefaultStorageClass": ("storage", "Claims that name no storage class get the default one", NoConfig),
    "StorageObjectInUseProtection": ("storage", "Claims and volumes in use are not deleted", NoConfig),
    "OwnerReferencesPermissionEnforcement": ("owners", "Owner references need the right to delete", NoConfig),
    "PersistentVolumeClaimResize": ("storage", "Claims grow only if their storage class lets them", NoConfig),
    "RuntimeClass": ("runtimes", "Pods get overhead and node selector of their runtime class", NoConfig),
    "CertificateApproval": ("certificates", "Certificate requests are approved by those who may", NoConfig),
    "CertificateSigning": ("certificates", "Certificates are signed by those who may", NoConfig),
    "CertificateSubjectRestriction": (
        "certificates",
        "Nobody becomes system:masters by certificate request",
        NoConfig,
    ),
    "DefaultIngressClass": ("storage", "Ingresses that name no class get the default one", NoConfig),
    "DenyServiceExternalIPs": ("services", "Services take no external addresses", NoConfig),
    "PodTopologyLabels": ("placement", "Pods get zone and region of their node as labels", NoConfig),
    "ResourceQuota": ("quota", "A namespace uses no more than its ResourceQuotas allow", QuotaConfig),
}
OPTIONAL = frozenset(
    (
        "LimitPodHardAntiAffinityTopology",
        "AlwaysPullImages",
        "PodNodeSelector",
        "PodTolerationRestriction",
        "EventRateLimit",
        "ExtendedResourceToleration",
        "OwnerReferencesPermissionEnforcement",
        "DenyServiceExternalIPs",
    )
)
"""Off unless the config names them."""
DEFAULTS = tuple(name for name in PLUGINS if name not in OPTIONAL)


@hookimpl
def kcore_admission() -> Iterable[Provider[Admission]]:
    return [
        Provider(name, lazily(f"kcore_admission.{module}:{name}.open"), config, help=help)
        for name, (module, help, config) in PLUGINS.items()
    ]
