"""The resources that components work with, by their standard names."""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True)
class GVR:
    """Group, version and resource (the plural), and what is needed to address it."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection, an object or a subresource."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.resource)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


PODS = GVR("", "v1", "pods", "Pod")
NODES = GVR("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = GVR("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICES = GVR("", "v1", "services", "Service")
ENDPOINTS = GVR("", "v1", "endpoints", "Endpoints")
CONFIGMAPS = GVR("", "v1", "configmaps", "ConfigMap")
SECRETS = GVR("", "v1", "secrets", "Secret")
SERVICEACCOUNTS = GVR("", "v1", "serviceaccounts", "ServiceAccount")
REPLICATIONCONTROLLERS = GVR("", "v1", "replicationcontrollers", "ReplicationController")
PERSISTENTVOLUMES = GVR("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
PERSISTENTVOLUMECLAIMS = GVR("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
EVENTS = GVR("", "v1", "events", "Event")
RESOURCEQUOTAS = GVR("", "v1", "resourcequotas", "ResourceQuota")
LIMITRANGES = GVR("", "v1", "limitranges", "LimitRange")
DEPLOYMENTS = GVR("apps", "v1", "deployments", "Deployment")
REPLICASETS = GVR("apps", "v1", "replicasets", "ReplicaSet")
STATEFULSETS = GVR("apps", "v1", "statefulsets", "StatefulSet")
DAEMONSETS = GVR("apps", "v1", "daemonsets", "DaemonSet")
CONTROLLERREVISIONS = GVR("apps", "v1", "controllerrevisions", "ControllerRevision")
JOBS = GVR("batch", "v1", "jobs", "Job")
CRONJOBS = GVR("batch", "v1", "cronjobs", "CronJob")
ENDPOINTSLICES = GVR("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES = GVR("coordination.k8s.io", "v1", "leases", "Lease")
STORAGECLASSES = GVR("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
RUNTIMECLASSES = GVR("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
PRIORITYCLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
PODDISRUPTIONBUDGETS = GVR("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
HORIZONTALPODAUTOSCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
CLUSTERROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTERROLEBINDINGS = GVR(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLEBINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CUSTOMRESOURCEDEFINITIONS = GVR(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
APISERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
