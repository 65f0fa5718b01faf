"""The FlowSchemas and PriorityLevelConfigurations that every cluster has, with the settings that Kubernetes suggests.

https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults
"""

from __future__ import annotations

from typing import Any

from kcore.objects import Object

API = "flowcontrol.apiserver.k8s.io/v1"
AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
MANDATORY = frozenset(("exempt", "catch-all"))
_ALL = ["*"]


def _level(name: str, shares: int, lendable: int, queues: int = 0, hand: int = 0) -> Object:
    response: Object = {"type": "Reject"}
    if queues:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": 50}
        response = {"type": "Queue", "queuing": queuing}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return _object("PriorityLevelConfiguration", name, {"type": "Limited", "limited": limited})


def _object(kind: str, name: str, spec: Object) -> Object:
    meta = {"name": name, "annotations": {AUTO_UPDATE: "true"}}
    return {"apiVersion": API, "kind": kind, "metadata": meta, "spec": spec}


def levels() -> list[Object]:
    exempt = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
    return [
        _object("PriorityLevelConfiguration", "exempt", exempt),
        _level("catch-all", 5, 0),
        _level("system", 30, 33, 64, 6),
        _level("node-high", 40, 25, 64, 6),
        _level("leader-election", 10, 0, 16, 4),
        _level("workload-high", 40, 50, 128, 6),
        _level("workload-low", 100, 90, 128, 6),
        _level("global-default", 20, 50, 128, 6),
    ]


def _users(*names: str) -> list[Object]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _accounts(*names: str) -> list[Object]:
    return [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": n}} for n in names]


def _resources(
    verbs: list[str] = _ALL,
    groups: list[str] = _ALL,
    resources: list[str] = _ALL,
    namespaces: list[str] | None = _ALL,
    cluster: bool = True,
) -> Object:
    rule: Object = {"verbs": verbs, "apiGroups": groups, "resources": resources}
    if cluster:
        rule["clusterScope"] = True
    if namespaces:
        rule["namespaces"] = namespaces
    return rule


def _schema(name: str, level: str, precedence: int, by: str, rules: list[tuple[list[Object], Any, Any]]) -> Object:
    made = []
    for subjects, resources, paths in rules:
        rule: Object = {"subjects": subjects}
        if resources:
            rule["resourceRules"] = resources
        if paths:
            rule["nonResourceRules"] = [{"verbs": verbs, "nonResourceURLs": urls} for verbs, urls in paths]
        made.append(rule)
    spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": made}
    if by:
        spec["distinguisherMethod"] = {"type": by}
    return _object("FlowSchema", name, spec)


def schemas() -> list[Object]:
    everything = [_resources()]
    anywhere = [(_ALL, _ALL)]
    writes = ["get", "create", "update"]
    leases = _resources(writes, ["coordination.k8s.io"], ["leases"], cluster=False)
    system_leases = _resources(writes, ["coordination.k8s.io"], ["leases"], ["kube-system"], cluster=False)
    node_status = [
        _resources(_ALL, [""], ["nodes", "nodes/status"], None),
        _resources(_ALL, ["coordination.k8s.io"], ["leases"], cluster=False),
    ]
    managers = _users("system:kube-controller-manager", "system:kube-scheduler")
    everybody = _groups("system:unauthenticated", "system:authenticated")
    endpoints = [
        _resources(["get", "create", "update"], [""], ["endpoints"], cluster=False),
    ]
    return [
        _schema("exempt", "exempt", 1, "", [(_groups("system:masters"), everything, anywhere)]),
        _schema("probes", "exempt", 2, "", [(everybody, [], [(["get"], ["/healthz", "/readyz", "/livez"])])]),
        _schema("system-leader-election", "leader-election", 100, "ByUser", [(managers, [system_leases], [])]),
        _schema(
            "endpoint-controller", "workload-high", 150, "ByUser",
            [([*_users("system:kube-controller-manager"), *_accounts("endpoint-controller", "endpointslicemirroring-controller")], endpoints, [])],  # noqa: E501
        ),
        _schema(
            "workload-leader-election", "leader-election", 200, "ByUser", [(_accounts("*"), [leases], [])]
        ),
        _schema("system-node-high", "node-high", 400, "ByUser", [(_groups("system:nodes"), node_status, [])]),
        _schema("system-nodes", "system", 500, "ByUser", [(_groups("system:nodes"), everything, anywhere)]),
        _schema(
            "kube-controller-manager", "workload-high", 800, "ByNamespace",
            [(_users("system:kube-controller-manager"), everything, anywhere)],
        ),
        _schema(
            "kube-scheduler", "workload-high", 800, "ByNamespace",
            [(_users("system:kube-scheduler"), everything, anywhere)],
        ),
        _schema(
            "kube-system-service-accounts", "workload-high", 900, "ByNamespace",
            [(_accounts("*"), everything, anywhere)],
        ),
        _schema(
            "service-accounts", "workload-low", 9000, "ByUser",
            [(_groups("system:serviceaccounts"), everything, anywhere)],
        ),
        _schema("global-default", "global-default", 9900, "ByUser", [(everybody, everything, anywhere)]),
        _schema("catch-all", "catch-all", 10000, "ByUser", [(everybody, everything, anywhere)]),
    ]  # fmt: skip
