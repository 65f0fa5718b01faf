"""Roles and bindings: who may do what, and how the cluster comes by its first ones."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from kcore_auth import bootstrap
from kcore_auth.escalation import Escalation
from kcore_auth.node_graph import VOLUMEATTACHMENTS, Graph
from kcore_auth.nodes import Restriction, open_nodes
from kcore_auth.rbac import Index, Rbac, open_rbac

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.api.auth import Attributes, Decision, User
from kcore.api.kinds import Kind
from kcore.objects import Object
from kcore.objects.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    GVR,
    PERSISTENTVOLUMES,
    PODS,
    ROLEBINDINGS,
    ROLES,
)
from kcore.registry import NoConfig

GROUP = bootstrap.GROUP
WEAK = User("weak", ("weakgroup", "system:authenticated"))


def role(name: str, *rules: Object, namespace: str = "", **rest: Any) -> Object:
    meta: Object = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    return {"metadata": {**meta, **rest}, "rules": list(rules)}


def rule(verbs: str, resources: str, groups: str = "-", names: str = "") -> Object:
    return bootstrap.rule((verbs, groups, resources, names) if names else (verbs, groups, resources))


def binding(name: str, to: str, *subjects: tuple[str, str], namespace: str = "", kind: str = "ClusterRole") -> Object:
    meta = {"name": name, "namespace": namespace} if namespace else {"name": name}
    who = [{"kind": k, "name": n, **({"namespace": "ns1"} if k == "ServiceAccount" else {})} for k, n in subjects]
    return {"metadata": meta, "roleRef": {"apiGroup": GROUP, "kind": kind, "name": to}, "subjects": who}


def ask(user: User, verb: str, resource: str, namespace: str = "ns1", **rest: str) -> Attributes:
    resource, _, subresource = resource.partition("/")
    return Attributes(user, verb, resource, subresource, namespace=namespace, **rest)


def path(user: User, verb: str, path: str) -> Attributes:
    return Attributes(user, verb, path=path)


def test_a_role_binding_allows_in_its_namespace_and_says_why() -> None:
    index = Index()
    index.put(ROLES, role("r", rule("get list", "pods deployments/scale", "- apps"), namespace="ns1"))
    index.put(ROLEBINDINGS, binding("rb", "r", ("Group", "weakgroup"), namespace="ns1", kind="Role"))
    why = 'RBAC: allowed by RoleBinding "rb/ns1" of Role "r" to Group "weakgroup"'
    assert index.decide(ask(WEAK, "get", "pods")) == Decision(True, why)
    assert index.decide(ask(WEAK, "get", "deployments/scale", group="apps")) == Decision(True, why)
    assert index.decide(ask(WEAK, "get", "deployments", group="apps")) is None
    assert index.decide(ask(WEAK, "delete", "pods")) is None
    assert index.decide(ask(WEAK, "get", "pods", "ns2")) is None
    assert index.decide(ask(WEAK, "get", "pods", "")) is None
    assert index.decide(ask(User("other"), "get", "pods")) is None


def test_names_limit_a_rule() -> None:
    index = Index()
    index.put(CLUSTERROLES, role("r", rule("*", "configmaps", names="one two")))
    index.put(CLUSTERROLEBINDINGS, binding("b", "r", ("User", "weak")))
    assert index.decide(ask(WEAK, "get", "configmaps", name="one"))
    assert index.decide(ask(WEAK, "get", "configmaps", name="three")) is None
    assert index.decide(ask(WEAK, "list", "configmaps")) is None


def test_wildcards_subresources_and_paths() -> None:
    index = Index()
    rules = (
        rule("get", "*/status", "apps"),
        {"nonResourceURLs": ["/healthz/*", "/version"], "verbs": ["get"]},
        rule("*", "*", "*.example.com x.example.com"),
    )
    index.put(CLUSTERROLES, role("r", *rules))
    index.put(CLUSTERROLEBINDINGS, binding("b", "r", ("User", "weak")))
    assert index.decide(ask(WEAK, "get", "deployments/status", group="apps"))
    assert index.decide(ask(WEAK, "get", "deployments", group="apps")) is None
    assert index.decide(ask(WEAK, "patch", "things/any", group="x.example.com"))
    assert index.decide(ask(WEAK, "get", "things", group="y.example.com")) is None
    assert index.decide(path(WEAK, "get", "/healthz/etcd"))
    assert index.decide(path(WEAK, "get", "/version"))
    assert index.decide(path(WEAK, "post", "/version")) is None
    assert index.decide(path(WEAK, "get", "/versions")) is None


def test_service_accounts_are_bound_by_namespace_and_name() -> None:
    index = Index()
    index.put(CLUSTERROLES, role("r", rule("get", "pods")))
    index.put(ROLEBINDINGS, binding("b", "r", ("ServiceAccount", "robot"), namespace="ns1"))
    robot = User("system:serviceaccount:ns1:robot", ("system:serviceaccounts",))
    decision = index.decide(ask(robot, "get", "pods"))
    assert decision is not None
    assert 'to ServiceAccount "robot/ns1"' in decision.reason
    assert index.decide(ask(User("system:serviceaccount:ns2:robot"), "get", "pods")) is None


def test_a_change_of_role_or_binding_counts_at_once() -> None:
    index = Index()
    bound = binding("b", "r", ("User", "weak"))
    index.put(CLUSTERROLEBINDINGS, bound)
    assert index.decide(ask(WEAK, "get", "pods")) is None
    index.put(CLUSTERROLES, role("r", rule("get", "pods")))
    assert index.decide(ask(WEAK, "get", "pods"))
    index.put(CLUSTERROLEBINDINGS, binding("b", "r", ("User", "other")))
    assert index.decide(ask(WEAK, "get", "pods")) is None
    assert index.decide(ask(User("other"), "get", "pods"))
    index.drop(CLUSTERROLEBINDINGS, bound)
    assert index.decide(ask(User("other"), "get", "pods")) is None


def test_an_aggregated_role_has_the_rules_of_those_it_selects() -> None:
    index = Index()
    for obj in bootstrap.objects(CLUSTERROLES):
        index.put(CLUSTERROLES, obj)
    index.put(CLUSTERROLEBINDINGS, binding("b", "admin", ("User", "weak")))
    assert index.decide(ask(WEAK, "list", "pods"))  # from view, through edit
    assert index.decide(ask(WEAK, "create", "rolebindings", group=GROUP))
    assert index.decide(ask(WEAK, "get", "widgets", group="example.com")) is None
    labels = {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}
    index.put(CLUSTERROLES, role("widgets", rule("get", "widgets", "example.com"), **labels))
    assert index.decide(ask(WEAK, "get", "widgets", group="example.com"))


async def test_a_new_cluster_gets_its_roles_and_a_second_start_changes_nothing(context: Any) -> None:
    assert await bootstrap.ensure(context.client()) == 135
    assert await bootstrap.ensure(context.client()) == 0


async def test_what_a_bootstrap_role_lost_comes_back_and_what_it_gained_stays(context: Any) -> None:
    client = context.client()
    await bootstrap.ensure(client)
    found = await client.get(CLUSTERROLES, "system:discovery")
    extra = {"nonResourceURLs": ["/mine"], "verbs": ["get"]}
    await client.update(CLUSTERROLES, {**found, "rules": [extra]})
    frozen = await client.get(CLUSTERROLES, "system:basic-user")
    left = {**frozen["metadata"], "annotations": {bootstrap.AUTOUPDATE: "false"}}
    await client.update(CLUSTERROLES, {**frozen, "metadata": left, "rules": []})
    assert await bootstrap.ensure(client) == 1
    assert (await client.get(CLUSTERROLES, "system:discovery"))["rules"] == [extra, *found["rules"]]
    assert (await client.get(CLUSTERROLES, "system:basic-user"))["rules"] == []


async def test_the_authorizer_follows_the_cluster(context: Any) -> None:
    client = context.client()
    async with open_rbac(context, NoConfig()) as rbac:
        assert (await rbac.authorize(path(WEAK, "get", "/version"))).allowed
        assert (await rbac.authorize(ask(WEAK, "get", "pods"))).allowed is None
        assert (await rbac.authorize(ask(User("a", ("system:masters",)), "get", "pods"))).allowed
        await client.create(CLUSTERROLEBINDINGS, binding("b", "view", ("User", "weak")))
        await trio.testing.wait_all_tasks_blocked()
        assert (await rbac.authorize(ask(WEAK, "get", "pods"))).allowed
        scheduler = User("system:kube-scheduler")
        assert (await rbac.authorize(ask(scheduler, "create", "pods/binding"))).allowed
        manager = User("system:kube-controller-manager")
        assert (await rbac.authorize(ask(manager, "create", "pods"))).allowed
        assert (await rbac.authorize(ask(manager, "create", "storageclasses", "", group="storage.k8s.io"))).allowed


def pod(name: str, node: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "ns1"}, "spec": {"nodeName": node, "containers": [], **spec}}


PVC_SECRET = {"csi": {"nodeStageSecretRef": {"name": "csi", "namespace": "ns1"}}}
WORLD: list[tuple[GVR, Object]] = [  # what the nodes' pods lead to
    (
        PODS,
        pod(
            "p",
            "n1",
            serviceAccountName="sa",
            containers=[{"name": "c", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "env"}}}]}],
            volumes=[
                {"name": "s", "projected": {"sources": [{"secret": {"name": "s"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scratch", "ephemeral": {}},
            ],
            resourceClaims=[{"name": "r", "resourceClaimName": "gpu"}],
        ),
    ),
    (PODS, pod("q", "n2", imagePullSecrets=[{"name": "other"}])),
    (
        PERSISTENTVOLUMES,
        {"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "ns1", "name": "data"}, **PVC_SECRET}},
    ),
    (VOLUMEATTACHMENTS, {"metadata": {"name": "va"}, "spec": {"nodeName": "n1"}}),
]


def test_the_graph_forgets_what_pods_no_longer_name() -> None:
    graph = Graph()
    world = {o["metadata"]["name"]: o for _, o in WORLD}
    again = pod("p2", "n1", serviceAccountName="sa")
    graph.volume_changed(None, world["pv"])
    graph.pod_changed(None, world["p"])
    graph.pod_changed(None, again)
    assert graph.related("n1", "secrets", "ns1", "csi")
    graph.pod_changed(world["p"], None)
    assert not graph.related("n1", "secrets", "ns1", "csi")
    assert not graph.related("n1", "secrets", "ns1", "s")
    assert graph.related("n1", "serviceaccounts", "ns1", "sa")
    mirror = {**again, "metadata": {**again["metadata"], "annotations": {"kubernetes.io/config.mirror": "x"}}}
    graph.pod_changed(again, mirror)
    assert not graph.related("n1", "serviceaccounts", "ns1", "sa")
    graph.pod_changed(mirror, None)
    graph.volume_changed(world["pv"], None)
    assert graph == Graph()


NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (ask(NODE, "get", "nodes", "", name="n1"), None),
        (ask(NODE, "update", "nodes/status", "", name="n1"), None),
        (ask(NODE, "list", "pods", "", field_selector="spec.nodeName=n1"), None),
        (ask(NODE, "list", "pods", ""), "can only list/watch pods with spec.nodeName field selector"),
        (
            ask(NODE, "watch", "pods", "", field_selector="spec.nodeName=n2"),
            "can only list/watch pods with spec.nodeName field selector",
        ),
        (ask(NODE, "get", "secrets", name="s"), None),
        (ask(NODE, "get", "secrets", name="other"), "no relationship found between node 'n1' and this object"),
        (ask(NODE, "list", "secrets"), "No Object name found"),
        (ask(NODE, "create", "secrets"), "can only read resources of this type"),
        (ask(NODE, "get", "nodes", "", name="n2"), "node 'n1' cannot read 'n2', only its own Node object"),
        (ask(NODE, "get", "pods", name="p"), None),
        (ask(NODE, "get", "pods", name="q"), "no relationship found between node 'n1' and this object"),
        (ask(NODE, "get", "configmaps", name="env"), None),
        (ask(NODE, "get", "persistentvolumeclaims", name="data"), None),
        (ask(NODE, "get", "persistentvolumeclaims", name="p-scratch"), None),
        (ask(NODE, "list", "persistentvolumeclaims"), "can only get individual resources of this type"),
        (ask(NODE, "get", "persistentvolumes", "", name="pv"), None),
        (ask(NODE, "get", "secrets", name="csi"), None),
        (ask(NODE, "create", "serviceaccounts/token", name="sa"), None),
        (
            ask(NODE, "create", "serviceaccounts/token", name="default"),
            "no relationship found between node 'n1' and this object",
        ),
        (ask(NODE, "get", "resourceclaims", group="resource.k8s.io", name="gpu"), None),
        (ask(NODE, "get", "volumeattachments", "", group="storage.k8s.io", name="va"), None),
        (
            ask(NODE, "get", "csinodes", "", group="storage.k8s.io", name="n2"),
            "can only access CSINode with the same name as the requesting node",
        ),
        (ask(NODE, "watch", "secrets", field_selector="metadata.name=s"), None),
        (ask(NODE, "update", "leases", "kube-node-lease", group="coordination.k8s.io", name="n1"), None),
        (
            ask(NODE, "update", "leases", "kube-node-lease", group="coordination.k8s.io", name="n2"),
            "can only access node lease with the same name as the requesting node",
        ),
        (ask(NODE, "delete", "deployments", group="apps"), ""),
        (ask(User("system:node:n1"), "get", "nodes", "", name="n1"), ""),  # not in the group
    ],
)
async def test_a_node_may_do_what_is_its_own(context: Any, attributes: Attributes, reason: str | None) -> None:
    client = context.client()
    for resource, obj in WORLD:
        await client.create(resource, obj)
    async with open_nodes(context, NoConfig()) as nodes:
        decision = await nodes.authorize(attributes)
    assert decision.allowed is (True if reason is None else None)
    assert decision.reason == (reason or "")


async def test_nobody_grants_what_he_lacks(context: Any) -> None:
    rbac = Rbac()
    server = context.part("api").server
    server.authorizers.append(rbac)
    for resource in bootstrap.RESOURCES:
        for obj in bootstrap.objects(resource):
            rbac.index.put(resource, obj)
    plugin = Escalation(server)
    roles, bindings = Kind(GROUP, "v1", "Role", "roles"), Kind(GROUP, "v1", "RoleBinding", "rolebindings")

    def write(kind: Kind, obj: Object, user: User = WEAK) -> AdmissionRequest:
        return AdmissionRequest("CREATE", kind, "", "ns1", obj["metadata"]["name"], user, obj)

    secret = role("esc", rule("get list", "secrets"), namespace="ns1")
    with pytest.raises(errors.Forbidden) as caught:
        await plugin.validate(write(roles, secret))
    assert caught.value.message == (
        'roles.rbac.authorization.k8s.io "esc" is forbidden: user "weak" '
        '(groups=["weakgroup" "system:authenticated"]) '
        "is attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    admin = binding("esc", "cluster-admin", ("User", "weak"), namespace="ns1")
    with pytest.raises(errors.Forbidden, match="NonResourceURLs"):
        await plugin.validate(write(bindings, admin))
    with pytest.raises(errors.NotFound, match='"nope" not found'):
        await plugin.validate(write(bindings, binding("esc", "nope", namespace="ns1", kind="Role")))
    await plugin.validate(write(roles, secret, User("boss", ("system:masters",))))
    rbac.index.put(CLUSTERROLEBINDINGS, binding("e", "edit", ("User", "weak")))
    await plugin.validate(write(roles, secret))
    rbac.index.put(CLUSTERROLES, role("binder", rule("bind", "clusterroles", GROUP, "cluster-admin")))
    rbac.index.put(CLUSTERROLEBINDINGS, binding("b", "binder", ("User", "weak")))
    await plugin.validate(write(bindings, admin))


async def test_a_node_changes_itself_and_its_pods_only() -> None:
    nodes, pods = Kind("", "v1", "Node", "nodes"), Kind("", "v1", "Pod", "pods")
    plugin = Restriction()

    def write(operation: str, kind: Kind, obj: Object, part: str = "", user: User = NODE) -> AdmissionRequest:
        old = None if operation == "CREATE" else obj
        return AdmissionRequest(operation, kind, part, "", obj["metadata"]["name"], user, obj, old)

    mine, other = {"metadata": {"name": "n1"}}, {"metadata": {"name": "n2"}}
    await plugin.validate(write("UPDATE", nodes, mine, "status"))
    with pytest.raises(errors.Forbidden) as caught:
        await plugin.validate(write("UPDATE", nodes, other, "status"))
    assert caught.value.message == 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"'
    await plugin.validate(write("DELETE", pods, {"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}}))
    for operation in ("CREATE", "UPDATE", "DELETE"):
        with pytest.raises(errors.Forbidden, match="set to itself"):
            await plugin.validate(write(operation, pods, {"metadata": {"name": "p"}, "spec": {"nodeName": "n2"}}))
    with pytest.raises(errors.Forbidden, match="mirror"):
        await plugin.validate(write("CREATE", pods, {"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}}))
    assert not plugin.handles(write("UPDATE", nodes, other, user=WEAK))


def test_the_controllers_own_roles_are_upstreams():
    roles = {o["metadata"]["name"]: o for o in bootstrap.objects(CLUSTERROLES)}
    binder = roles["system:controller:persistent-volume-binder"]["rules"]
    [classes] = [r for r in binder if r.get("resources") == ["storageclasses"]]
    assert classes["verbs"] == ["get", "list", "watch"]
    bindings = {o["metadata"]["name"]: o for o in bootstrap.objects(CLUSTERROLEBINDINGS)}
    subjects = bindings["kcore:default-storage-class"]["subjects"]
    assert [s["name"] for s in subjects] == ["system:kube-controller-manager", "persistent-volume-binder"]
