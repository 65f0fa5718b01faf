"""The resources that a cluster has: built in, and added by CustomResourceDefinitions while it runs.

The garbage collector and the namespace controller must know them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kcore.objects import Object, meta
from kcore.objects.resources import CUSTOMRESOURCEDEFINITIONS, GVR

if TYPE_CHECKING:
    from kcore.client.informer import Informer

# group and version, then "plural Kind"; an asterisk marks cluster scope. What can be listed, watched and deleted.
_TABLE = """
[v1]
configmaps ConfigMap
endpoints Endpoints
events Event
limitranges LimitRange
namespaces Namespace *
nodes Node *
persistentvolumeclaims PersistentVolumeClaim
persistentvolumes PersistentVolume *
pods Pod
podtemplates PodTemplate
replicationcontrollers ReplicationController
resourcequotas ResourceQuota
secrets Secret
serviceaccounts ServiceAccount
services Service
[admissionregistration.k8s.io/v1]
mutatingadmissionpolicies MutatingAdmissionPolicy *
mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding *
mutatingwebhookconfigurations MutatingWebhookConfiguration *
validatingadmissionpolicies ValidatingAdmissionPolicy *
validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding *
validatingwebhookconfigurations ValidatingWebhookConfiguration *
[apiextensions.k8s.io/v1]
customresourcedefinitions CustomResourceDefinition *
[apiregistration.k8s.io/v1]
apiservices APIService *
[apps/v1]
controllerrevisions ControllerRevision
daemonsets DaemonSet
deployments Deployment
replicasets ReplicaSet
statefulsets StatefulSet
[autoscaling/v2]
horizontalpodautoscalers HorizontalPodAutoscaler
[batch/v1]
cronjobs CronJob
jobs Job
[certificates.k8s.io/v1]
certificatesigningrequests CertificateSigningRequest *
[coordination.k8s.io/v1]
leases Lease
[discovery.k8s.io/v1]
endpointslices EndpointSlice
[flowcontrol.apiserver.k8s.io/v1]
flowschemas FlowSchema *
prioritylevelconfigurations PriorityLevelConfiguration *
[networking.k8s.io/v1]
ingressclasses IngressClass *
ingresses Ingress
ipaddresses IPAddress *
networkpolicies NetworkPolicy
servicecidrs ServiceCIDR *
[node.k8s.io/v1]
runtimeclasses RuntimeClass *
[policy/v1]
poddisruptionbudgets PodDisruptionBudget
[rbac.authorization.k8s.io/v1]
clusterrolebindings ClusterRoleBinding *
clusterroles ClusterRole *
rolebindings RoleBinding
roles Role
[resource.k8s.io/v1]
deviceclasses DeviceClass *
resourceclaims ResourceClaim
resourceclaimtemplates ResourceClaimTemplate
resourceslices ResourceSlice *
[scheduling.k8s.io/v1]
priorityclasses PriorityClass *
[storage.k8s.io/v1]
csidrivers CSIDriver *
csinodes CSINode *
csistoragecapacities CSIStorageCapacity
storageclasses StorageClass *
volumeattachments VolumeAttachment *
volumeattributesclasses VolumeAttributesClass *
"""


def _parse(table: str) -> tuple[GVR, ...]:
    found, group, version = [], "", ""
    for line in table.splitlines():
        if line.startswith("["):
            group, _, version = line.strip("[]").rpartition("/")
        elif line:
            resource, kind, *cluster = line.split()
            found.append(GVR(group, version, resource, kind, not cluster))
    return tuple(found)


BUILTIN = _parse(_TABLE)


def custom(crd: Object) -> GVR | None:
    """The resource that an established CRD adds, in its storage version."""
    if not meta.condition_is(crd, "Established") or meta.deleting(crd):
        return None
    spec = crd["spec"]
    version = next((v["name"] for v in spec["versions"] if v.get("storage") and v.get("served")), None) or next(
        (v["name"] for v in spec["versions"] if v.get("served")), None
    )
    if version is None:
        return None
    names = spec["names"]
    return GVR(spec["group"], version, names["plural"], names["kind"], spec["scope"] == "Namespaced")


class Resources:
    """All resources now, kept up to date from the informer of CRDs."""

    def __init__(self, crds: Informer):
        self._crds = crds
        self._custom: dict[str, GVR] = {}  # by the CRD's name
        self._watchers: list[tuple[Callable[[GVR], None], Callable[[GVR], None]]] = []
        self.stop = crds.on_change(self._changed)

    def all(self) -> list[GVR]:
        return [*BUILTIN, *self._custom.values()]

    def namespaced(self) -> list[GVR]:
        return [r for r in self.all() if r.namespaced]

    def of_kind(self, api_version: str, kind: str) -> GVR | None:
        """Any version of the group will do: an object is the same in all of them."""
        group = api_version.rpartition("/")[0]
        return next((r for r in self.all() if r.group == group and r.kind == kind), None)

    def follow(self, added: Callable[[GVR], None], removed: Callable[[GVR], None]) -> None:
        """Call `added` for every resource, now and later; `removed` for custom ones that go."""
        self._watchers.append((added, removed))
        for resource in self.all():
            added(resource)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        name = meta.name(new or old or {})
        before, now = self._custom.get(name), custom(new) if new is not None else None
        if before == now:
            return
        if before is not None:
            del self._custom[name]
            for _, removed in self._watchers:
                removed(before)
        if now is not None:
            self._custom[name] = now
            for added, _ in self._watchers:
                added(now)


__all__ = ["BUILTIN", "CUSTOMRESOURCEDEFINITIONS", "Resources", "custom"]
