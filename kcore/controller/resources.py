"""The resources that a cluster has: built in, and added by CustomResourceDefinitions and APIServices while it runs.

The garbage collector and the namespace controller must know them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import trio

from kcore.errors import ApiError
from kcore.objects import Object, meta
from kcore.objects.resources import CUSTOMRESOURCEDEFINITIONS, GVR

if TYPE_CHECKING:
    from kcore.client import Client
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
    """All resources now: those of definitions by the informer of CRDs, those of other servers when they are asked.

    `services` is the informer of APIServices; without it nothing is known of other servers.
    """

    def __init__(self, crds: Informer, services: Informer | None = None):
        self._services = services
        self._custom: dict[str, GVR] = {}  # by the CRD's name
        self._remote: dict[str, dict[GVR, frozenset[str]]] = {}  # by the APIService's name, with their verbs
        self._watchers: list[tuple[Callable[[GVR], None], Callable[[GVR], None]]] = []
        self.changed = trio.Event()
        """Set when other servers should be asked again; `discover` makes a new one."""
        stops = [crds.on_change(self._changed)]
        if services is not None:
            stops.append(services.on_change(self._service_changed))
        self._stops = stops

    def stop(self) -> None:
        for stop in self._stops:
            stop()

    def all(self) -> list[GVR]:
        remote = [resource for found in self._remote.values() for resource in found]
        groups = {(resource.group, resource.version) for resource in remote}  # what is built in may be elsewhere
        builtin = [r for r in BUILTIN if (r.group, r.version) not in groups] if groups else list(BUILTIN)
        return [*builtin, *self._custom.values(), *remote]

    def namespaced(self) -> list[GVR]:
        return [r for r in self.all() if r.namespaced]

    def is_elsewhere(self, resource: GVR) -> bool:
        """Whether another server answers for it."""
        return any(resource in found for found in self._remote.values())

    def can(self, resource: GVR, *verbs: str) -> bool:
        """What another server has need not do everything."""
        for found in self._remote.values():
            if resource in found:
                return found[resource].issuperset(verbs)
        return True

    def of_kind(self, api_version: str, kind: str) -> GVR | None:
        """Any version of the group will do: an object is the same in all of them."""
        group = api_version.rpartition("/")[0]
        return next((r for r in self.all() if r.group == group and r.kind == kind), None)

    def follow(self, added: Callable[[GVR], None], removed: Callable[[GVR], None]) -> None:
        """Call `added` for every resource, now and later; `removed` for those that go."""
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
            self._tell((), (before,))
        if now is not None:
            self._custom[name] = now
            self._tell((now,), ())

    def _tell(self, added: Iterable[GVR], removed: Iterable[GVR]) -> None:
        for resource in removed:
            for _, gone in self._watchers:
                gone(resource)
        for resource in added:
            for come, _ in self._watchers:
                come(resource)

    # --- other servers ---

    @property
    def elsewhere(self) -> bool:
        """Whether another server answers for anything."""
        return self._services is not None and any(_is_remote(s) for s in self._services.items())

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        name = meta.name(new or old or {})
        if new is None or not _is_remote(new):
            self._tell((), self._remote.pop(name, ()))
        elif old is None or old["spec"] != new["spec"] or _available(old) != _available(new):
            self.changed.set()

    async def discover(self, client: Client) -> dict[str, str]:
        """Ask other servers what they have. Returns why that failed, by group and version.

        Of a server that cannot be asked what was known before goes on being known.
        """
        self.changed = trio.Event()
        failures = {}
        services = [s for s in (self._services.items() if self._services is not None else ()) if _is_remote(s)]
        services.sort(key=lambda s: -s["spec"].get("versionPriority", 0))
        taken: set[tuple[str, str]] = set()  # of several versions the first is enough
        for service in services:
            spec = service["spec"]
            group, version = spec.get("group", ""), spec["version"]
            where = f"{group}/{version}"
            if _available(service) is False:
                failures[where] = f"stale GroupVersion discovery: {where}"
                continue
            try:
                found = await client.discover(group, version)
            except (ApiError, OSError) as error:
                failures[where] = str(error)
                continue
            now = {r: verbs for r, verbs in _discovered(group, version, found) if (group, r.resource) not in taken}
            taken |= {(group, resource.resource) for resource in now}
            before = self._remote.get(meta.name(service), {})
            self._remote[meta.name(service)] = now
            self._tell(now.keys() - before.keys(), before.keys() - now.keys())
        return failures


def _is_remote(service: Object) -> bool:
    return bool(service["spec"].get("service"))


def _available(service: Object) -> bool | None:
    """None: nobody has looked yet."""
    conditions = (service.get("status") or {}).get("conditions") or ()
    return next((c["status"] == "True" for c in conditions if c["type"] == "Available"), None)


def _discovered(group: str, version: str, found: Iterable[Object]) -> Iterator[tuple[GVR, frozenset[str]]]:
    for one in found:
        name, kind, verbs = one.get("name"), one.get("kind"), one.get("verbs")
        if name and kind and isinstance(verbs, list) and "/" not in name:
            yield GVR(group, version, name, kind, bool(one.get("namespaced"))), frozenset(verbs)


__all__ = ["BUILTIN", "CUSTOMRESOURCEDEFINITIONS", "Resources", "custom"]
