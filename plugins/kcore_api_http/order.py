"""Which authenticators and admission plugins are on by default, and in which order they run."""

from __future__ import annotations

from collections.abc import Iterable

AUTHENTICATION = ("request-header", "certificate", "serviceaccount", "bootstrap-token", "anonymous")
"""What kubeadm enables, in upstream's order."""

# Upstream's order of admission plugins. Those that it does not know run after them, in the order of the config, and
# before those that see what all others have made of an object.
_FIRST = (
    "NamespaceLifecycle", "LimitPodHardAntiAffinityTopology", "LimitRanger", "ServiceAccount", "NodeRestriction",
    "TaintNodesByCondition", "AlwaysPullImages", "PodSecurity", "PodNodeSelector", "Priority",
    "DefaultTolerationSeconds", "PodTolerationRestriction", "EventRateLimit", "ExtendedResourceToleration",
    "DefaultStorageClass", "StorageObjectInUseProtection", "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize", "RuntimeClass", "CertificateApproval", "CertificateSigning",
    "CertificateSubjectRestriction", "DefaultIngressClass", "DenyServiceExternalIPs", "PodTopologyLabels",
    "RBACEscalation",
)  # fmt: skip
_LAST = (
    "MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook",
    "ResourceQuota",
)  # fmt: skip
_OFF = frozenset(
    (
        "LimitPodHardAntiAffinityTopology", "AlwaysPullImages", "PodNodeSelector", "PodTolerationRestriction",
        "EventRateLimit", "ExtendedResourceToleration", "OwnerReferencesPermissionEnforcement",
        "DenyServiceExternalIPs",
    )
)  # fmt: skip
ADMISSION = tuple(name for name in (*_FIRST, *_LAST) if name not in _OFF)
"""Upstream's default plugins that are here and what kubeadm adds to them (NodeRestriction)."""


def in_order(names: Iterable[str]) -> list[str]:
    """Admission plugins as they run, whatever order a config lists them in."""
    rank = {name: (0, i) for i, name in enumerate(_FIRST)} | {name: (2, i) for i, name in enumerate(_LAST)}
    return sorted(dict.fromkeys(names), key=lambda name: rank.get(name, (1, 0)))
