"""The core group: pods, services, nodes and what they use."""

from __future__ import annotations

from kcore.api.kinds import ScalePaths, Subresource
from kcore.api.names import dns_label
from kcore_kinds import config, nodes, pods, services, volumes, workloads
from kcore_kinds.declare import PROXY, STATUS, Group, Object, field, fields

CONNECT = ("create", "get")


def _first_ip(pod: Object) -> str:
    ips = pod.get("status", {}).get("podIPs")
    return str(ips[0].get("ip", "")) if ips else ""


POD_FIELDS = fields(
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)
POD_FIELDS["spec.hostNetwork"] = lambda pod: "true" if pod.get("spec", {}).get("hostNetwork") else "false"
POD_FIELDS["status.podIPs"] = _first_ip
EVENT_FIELDS = {
    **fields(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "type",
    ),
    "source": lambda event: field("source.component")(event) or field("reportingComponent")(event),
}

group = Group("")
group.serve("Binding", "bindings", verbs=("create",), virtual=True)
group.serve("ComponentStatus", "componentstatuses", namespaced=False, short="cs", verbs=("get", "list"))
group.serve("ConfigMap", "configmaps", hash="qFsyl6wFWjQ=", short="cm")
group.serve("Endpoints", "endpoints", strategy=services.EndpointsStrategy(), hash="fWeeMqaN/OA=", short="ep")
group.serve(
    "Event",
    "events",
    upsert=True,
    selectable=EVENT_FIELDS,
    store_prefix="/registry/events/",
    hash="r2yiGXH7wu8=",
    short="ev",
)
group.serve("LimitRange", "limitranges", strategy=config.LimitRangeStrategy(), hash="EBKMFVe6cwo=", short="limits")
group.serve(
    "Namespace",
    "namespaces",
    strategy=nodes.NamespaceStrategy(),
    names=dns_label,
    selectable=fields("status.phase"),
    hash="Q3oi5N2YM8M=",
    namespaced=False,
    short="ns",
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    status=True,
    subresources=(Subresource("finalize", "Namespace", ("update",), namespaced=False),),
)
group.serve(
    "Node",
    "nodes",
    strategy=nodes.NodeStrategy(),
    selectable=fields("spec.unschedulable"),
    hash="XwShjMxG9Fs=",
    namespaced=False,
    short="no",
    status=True,
    subresources=(Subresource("proxy", "NodeProxyOptions", PROXY, namespaced=False),),
)
group.serve(
    "PersistentVolumeClaim",
    "persistentvolumeclaims",
    strategy=volumes.ClaimStrategy(),
    hash="QWTyNDq0dC4=",
    short="pvc",
    status=True,
)
group.serve(
    "PersistentVolume",
    "persistentvolumes",
    strategy=volumes.VolumeStrategy(),
    hash="HN/zwEC+JgM=",
    namespaced=False,
    short="pv",
    status=True,
)
group.serve(
    "Pod",
    "pods",
    strategy=pods.PodStrategy(),
    selectable=POD_FIELDS,
    generation=True,
    hash="xPOwRZ+Yhw8=",
    short="po",
    category="all",
    status=True,
    subresources=(
        Subresource("attach", "PodAttachOptions", CONNECT),
        Subresource("binding", "Binding", ("create",)),
        Subresource("ephemeralcontainers", "Pod", STATUS),
        Subresource("eviction", "Eviction", ("create",), group="policy", version="v1"),
        Subresource("exec", "PodExecOptions", CONNECT),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", CONNECT),
        Subresource("proxy", "PodProxyOptions", PROXY),
        Subresource("resize", "Pod", STATUS),
    ),
)
group.serve("PodTemplate", "podtemplates", strategy=pods.PodTemplateStrategy(), hash="LIXB2x4IFpk=")
group.serve(
    "ReplicationController",
    "replicationcontrollers",
    strategy=workloads.ReplicationControllerStrategy(),
    selectable=fields("status.replicas"),
    generation=True,
    hash="Jond2If31h0=",
    short="rc",
    category="all",
    status=True,
    scale=ScalePaths(),
)
group.serve(
    "ResourceQuota",
    "resourcequotas",
    strategy=config.ResourceQuotaStrategy(),
    hash="8uhSgffRX6w=",
    short="quota",
    status=True,
)
group.serve("Secret", "secrets", strategy=config.SecretStrategy(), selectable=fields("type"), hash="S6u1pOWzb84=")
group.serve(
    "ServiceAccount",
    "serviceaccounts",
    strategy=config.ServiceAccountStrategy(),
    hash="pbx9ZvyFpBE=",
    short="sa",
    subresources=(Subresource("token", "TokenRequest", ("create",), group="authentication.k8s.io", version="v1"),),
)
group.serve(
    "Service",
    "services",
    strategy=services.ServiceStrategy(),
    names=dns_label,
    selectable=fields("spec.clusterIP", "spec.type"),
    hash="0/CO1lhkEBI=",
    short="svc",
    category="all",
    status=True,
    subresources=(Subresource("proxy", "ServiceProxyOptions", PROXY),),
)

KINDS = group.kinds
