"""The controllers of this package, by the names that kube-controller-manager knows them by.

A controller's module is imported when it is opened.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from kcore.controller.base import provider
from kcore.registry import NoConfig, Provider

if TYPE_CHECKING:
    from kcore.controller import Controller


def _lazy(name: str, where: str, help: str, config: type = NoConfig) -> Provider[Controller]:
    module, _, cls = where.partition(":")

    def open(context: Any, settings: Any) -> AbstractAsyncContextManager[Controller]:
        make = getattr(import_module(f"kcore_controllers.{module}"), cls)
        return provider(make, name, config).open(context, settings)

    return Provider(name, open, config, help)


def providers() -> list[Provider[Controller]]:
    """In the order in which they are opened."""
    return [
        _lazy("serviceaccount", "serviceaccount:ServiceAccountController", "The default account of each namespace"),
        _lazy("root-ca-certificate-publisher", "serviceaccount:RootCAController", "kube-root-ca.crt everywhere"),
        _lazy("serviceaccount-token", "serviceaccount_tokens:TokenController", "Tokens in Secrets that ask for one"),
        _lazy("deployment", "deployment:DeploymentController", "Deployments by way of ReplicaSets"),
        _lazy("replicaset", "replicas:ReplicaSetController", "ReplicaSets"),
        _lazy("replicationcontroller", "replicas:ReplicationControllerController", "ReplicationControllers"),
        _lazy("daemonset", "daemonset:DaemonSetController", "DaemonSets"),
        _lazy("statefulset", "statefulset:StatefulSetController", "StatefulSets"),
        _lazy("job", "job:JobController", "Jobs"),
        _lazy("ttl-after-finished", "ttl:TTLAfterFinishedController", "Deleting finished Jobs"),
        _lazy("cronjob", "cronjob:CronJobController", "CronJobs"),
        _lazy("disruption", "disruption:DisruptionController", "The status of PodDisruptionBudgets"),
        _lazy("resourcequota", "quota:ResourceQuotaController", "What ResourceQuotas count"),
        _lazy("clusterrole-aggregation", "aggregation:AggregationController", "ClusterRoles made of others"),
        _lazy("horizontalpodautoscaling", "autoscaler:AutoscalerController", "HorizontalPodAutoscalers"),
        _lazy("persistentvolume-binder", "volumes:VolumeController", "Binding claims, making volumes", VolumeConfig),
        _lazy("persistentvolume-expander", "expander:ExpandController", "Volumes of claims that have grown"),
        _lazy("ephemeral-volume", "ephemeral:EphemeralVolumeController", "Claims for ephemeral volumes of pods"),
        _lazy("persistentvolumeclaim-protection", "protection:ClaimProtection", "Claims that pods use stay"),
        _lazy("persistentvolume-protection", "protection:VolumeProtection", "Volumes that are bound stay"),
        _lazy("certificatesigningrequest", "certificates:SigningController", "Approves and signs certificates"),
        _lazy(
            "validatingadmissionpolicy-status",
            "policystatus:PolicyStatusController",
            "What does not fit in the expressions of policies",
        ),
        _lazy("endpointslice", "endpointslice:EndpointSliceController", "EndpointSlices of services"),
        _lazy("endpointslicemirroring", "mirroring:MirroringController", "EndpointSlices of custom Endpoints"),
        _lazy("service-lb", "loadbalancer:LoadBalancerController", "Addresses of load balancers", LoadBalancerConfig),
        _lazy("endpoints", "endpoints:EndpointsController", "Endpoints of services"),
        _lazy("namespace", "namespace:NamespaceController", "Emptying namespaces that are being deleted"),
        _lazy("garbagecollector", "garbage:GarbageCollector", "Deleting what has lost its owners"),
        _lazy("nodelifecycle", "nodelifecycle:NodeLifecycleController", "Nodes that are silent", NodeLifecycleConfig),
        _lazy("taint-eviction", "tainteviction:TaintEvictionController", "Pods on nodes with NoExecute taints"),
        _lazy("tokencleaner", "bootstrap:TokenCleaner", "Deleting bootstrap tokens that have expired"),
        _lazy("bootstrapsigner", "bootstrap:BootstrapSigner", "kube-public/cluster-info, for nodes that join"),
        _lazy("podgc", "podgc:PodGC", "Pods without a node, and too many finished ones", PodGCConfig),
    ]


@attrs.frozen
class NodeLifecycleConfig:
    """When a node counts as silent."""

    grace_period: float = attrs.field(default=40.0, validator=attrs.validators.gt(0))
    """Seconds without a heartbeat until a node is Unknown (--node-monitor-grace-period)."""
    startup_grace_period: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    """The same for a node that has never reported (--node-startup-grace-period)."""


@attrs.frozen
class PodGCConfig:
    """When finished pods are deleted."""

    threshold: int = 12500
    """How many finished pods may exist (--terminated-pod-gc-threshold); 0 or less: any number."""


@attrs.frozen
class VolumeConfig:
    """The default StorageClass and its volumes, which the fake runtime backs."""

    default_class: str = "standard"
    """The name of the default StorageClass that is made if there is none; "" makes none."""
    provisioner: str = "kcore.dev/fake"
    """The provisioner of the default class."""
    stands_in_for: tuple[str, ...] = attrs.field(
        default=(
            "docker.io/hostpath",
            "k8s.io/minikube-hostpath",
            "microk8s.io/hostpath",
            "rancher.io/local-path",
        )
    )
    """Other provisioners whose volumes are made too: those that manifests for small clusters name."""
    binding_mode: str = attrs.field(
        default="WaitForFirstConsumer", validator=attrs.validators.in_(("WaitForFirstConsumer", "Immediate"))
    )
    """volumeBindingMode of the default class."""
    per_node: bool = False
    """Whether a volume is a directory of one node alone (nodes on several hosts), and pods follow it there."""


def _pools(instance: object, attribute: object, pools: list[str]) -> None:
    from kcore_controllers.pools import Pool

    for text in pools:
        Pool.parse(text)


@attrs.frozen
class LoadBalancerConfig:
    """Where the addresses of Services of type LoadBalancer come from."""

    pools: list[str] = attrs.field(factory=list, validator=_pools)
    """Networks (``192.0.2.0/28``) and ranges (``192.0.2.10-192.0.2.20``), in order; none: no addresses."""
    load_balancer_class: str = ""
    """The ``spec.loadBalancerClass`` of the services to look after; "" for those without one."""
