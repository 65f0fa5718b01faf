"""What each policy decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kcore_policies import config as c
from kcore_policies.affinity import InterPodAffinity
from kcore_policies.balance import NodeResourcesBalancedAllocation
from kcore_policies.fit import NodeResourcesFit
from kcore_policies.images import ImageLocality
from kcore_policies.nodes import NodeAffinity, NodeUnschedulable, TaintToleration
from kcore_policies.ports import NodePorts
from kcore_policies.spread import PodTopologySpread

from kcore.objects import Object
from kcore.objects.resources import REPLICASETS, SERVICES
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Policy
from kcore.scheduler.table import NodeTable
from kcore.testing.scheduling import StillHandle, node, node_table, pod

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"
MIB = 1024 * 1024


def allowed(policy: Policy, obj: Object, table: NodeTable) -> set[str]:
    """The names of the nodes that the policy lets through."""
    mask = policy.filter(PodInfo(obj), table)
    return {name for name, row in table.rows.items() if mask is None or mask[row]}


def scores(policy: Policy, obj: Object, table: NodeTable) -> dict[str, float]:
    found = policy.score(PodInfo(obj), table)
    assert found is not None
    rows = list(table.rows.values())
    final = policy.normalize(found[rows])
    return dict(zip(table.rows, (float(s) for s in final), strict=True))


def reasons(policy: Policy, obj: Object, table: NodeTable) -> dict[str, tuple[int, bool]]:
    """reason -> (nodes, preemptible)"""
    info = PodInfo(obj)
    mask = policy.filter(info, table)
    assert mask is not None
    found = policy.refusals(info, table, table.alive & ~mask)
    return {r.reason: (int(np.count_nonzero(r.nodes)), r.preemptible) for r in found}


# --- NodeResourcesFit ------------------------------------------------------------------------------------------------


def fit(**settings: Any) -> NodeResourcesFit:
    return NodeResourcesFit(c.FitConfig(**settings))


def test_a_pod_fits_up_to_the_last_millicore() -> None:
    table = node_table([node("a", cpu="1"), node("b", cpu="2")], {"b": [pod("p", cpu="1001m")]})
    assert allowed(fit(), pod("q", cpu="1"), table) == {"a"}
    assert allowed(fit(), pod("q", cpu="999m"), table) == {"a", "b"}


def test_init_containers_count_when_they_need_more_than_the_others_together() -> None:
    init = [{"name": "i", "image": "x", "resources": {"requests": {"cpu": "3"}}}]
    table = node_table([node("a", cpu="2"), node("b", cpu="3")])
    assert allowed(fit(), pod("q", cpu="1", initContainers=init), table) == {"b"}


def test_sidecars_count_beside_the_containers_and_under_later_init_containers() -> None:
    sidecar = {"name": "s", "image": "x", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}
    init = {"name": "i", "image": "x", "resources": {"requests": {"cpu": "2500m"}}}
    assert PodInfo(pod("q", cpu="1", initContainers=[sidecar])).requests["cpu"] == 2000
    assert PodInfo(pod("q", cpu="1", initContainers=[sidecar, init])).requests["cpu"] == 3500
    assert PodInfo(pod("q", cpu="1", initContainers=[init, sidecar])).requests["cpu"] == 2500


def test_overhead_is_added() -> None:
    assert PodInfo(pod("q", cpu="1", overhead={"cpu": "250m"})).requests["cpu"] == 1250


def test_a_node_takes_only_so_many_pods() -> None:
    table = node_table([node("a", pods="1")], {"a": [pod("p")]})
    assert reasons(fit(), pod("q"), table) == {"Too many pods": (1, True)}


def test_reasons_name_each_resource_and_whether_an_empty_node_would_do() -> None:
    table = node_table([node("a", cpu="2"), node("b", cpu="4")], {"b": [pod("p", cpu="3")]})
    found = fit().refusals(PodInfo(pod("q", cpu="3", memory="1Ti")), table, table.alive)
    assert {(r.reason, r.preemptible, tuple(r.nodes)) for r in found} == {
        ("Insufficient cpu", False, (True, False)),
        ("Insufficient cpu", True, (False, True)),
        ("Insufficient memory", False, (True, True)),
    }


def test_extended_resources_must_be_there_unless_they_are_ignored() -> None:
    table = node_table([node("a"), node("b", **{"example.com/gpu": "1"})])
    wanting = pod("q", requests={"example.com/gpu": "1"})
    assert allowed(fit(), wanting, table) == {"b"}
    assert allowed(fit(ignored_resources=["example.com/gpu"]), wanting, table) == {"a", "b"}
    assert allowed(fit(ignored_resource_groups=["example.com"]), wanting, table) == {"a", "b"}


def test_least_allocated_prefers_the_emptier_node() -> None:
    table = node_table(
        [node("a", cpu="4", memory="4Gi"), node("b", cpu="4", memory="4Gi")], {"a": [pod("p", cpu="2")]}
    )
    found = scores(fit(), pod("q", cpu="1", memory="1Gi"), table)
    assert found == {"a": 47, "b": 75}  # a: (25 % cpu + about 70 % memory free) / 2


def test_most_allocated_prefers_the_fuller_node() -> None:
    table = node_table([node("a"), node("b")], {"a": [pod("p", cpu="2")]})
    found = scores(fit(strategy="MostAllocated"), pod("q", cpu="1"), table)
    assert found["a"] > found["b"]


def test_requested_to_capacity_ratio_follows_its_shape() -> None:
    table = node_table([node("a", cpu="10")], {"a": [pod("p", cpu="4")]})
    policy = fit(strategy="RequestedToCapacityRatio", shape=[[0, 0], [50, 10], [100, 0]], resources={"cpu": 1})
    assert scores(policy, pod("q", cpu="1"), table) == {"a": 100}
    assert scores(policy, pod("q", cpu="3500m"), table) == {"a": 50}


def test_bad_settings_are_refused_with_the_field() -> None:
    with pytest.raises(ValueError, match="strategy"):
        c.FitConfig(strategy="Least")
    with pytest.raises(ValueError, match="resources"):
        c.FitConfig(resources={"cpu": 0})
    with pytest.raises(ValueError, match="shape"):
        c.FitConfig(shape=[[50, 0], [10, 5]])


def test_balance_prefers_the_node_whose_shares_are_alike() -> None:
    table = node_table(
        [node("a", cpu="4", memory="4Gi"), node("b", cpu="4", memory="4Gi")],
        {"a": [pod("p", cpu="2")], "b": [pod("r", cpu="1", memory="1Gi")]},
    )
    policy = NodeResourcesBalancedAllocation(c.BalancedConfig())
    assert scores(policy, pod("q", cpu="1", memory="1Gi"), table) == {"a": 75, "b": 100}
    assert policy.score(PodInfo(pod("nothing")), table) is None


# --- the node itself -------------------------------------------------------------------------------------------------


def test_taints_keep_pods_away_unless_tolerated() -> None:
    taint = {"key": "gpu", "value": "a100", "effect": "NoSchedule"}
    table = node_table([node("a", taints=[taint]), node("b")])

    def with_toleration(**toleration: str) -> Object:
        return pod("q", tolerations=[toleration])

    policy = TaintToleration()
    assert allowed(policy, pod("q"), table) == {"b"}
    assert allowed(policy, with_toleration(key="gpu", operator="Exists"), table) == {"a", "b"}
    assert allowed(policy, with_toleration(operator="Exists"), table) == {"a", "b"}
    assert allowed(policy, with_toleration(key="gpu", value="a100", effect="NoSchedule"), table) == {"a", "b"}
    assert allowed(policy, with_toleration(key="gpu", value="h100"), table) == {"b"}
    assert allowed(policy, with_toleration(key="gpu", operator="Exists", effect="NoExecute"), table) == {"b"}


def test_soft_taints_cost_points() -> None:
    soft = {"key": "slow", "effect": "PreferNoSchedule"}
    table = node_table([node("a", taints=[soft, {**soft, "key": "old"}]), node("b", taints=[soft]), node("c")])
    assert scores(TaintToleration(), pod("q"), table) == {"a": 0, "b": 50, "c": 100}


def test_a_cordoned_node_takes_pods_that_tolerate_it() -> None:
    table = node_table([node("a", unschedulable=True), node("b")])
    assert allowed(NodeUnschedulable(), pod("q"), table) == {"b"}
    assert allowed(NodeUnschedulable(), pod("q", tolerations=[{"operator": "Exists"}]), table) == {"a", "b"}


def required(*expressions: Object, fields: bool = False) -> Object:
    term = {"matchFields" if fields else "matchExpressions": list(expressions)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ({"key": "n", "operator": "In", "values": ["1", "3"]}, {"n1", "n3"}),
        ({"key": "n", "operator": "NotIn", "values": ["1", "3"]}, {"n2", "bare"}),
        ({"key": "n", "operator": "NotIn", "values": ["1"]}, {"n2", "n3", "bare"}),
        ({"key": "n", "operator": "Exists"}, {"n1", "n2", "n3"}),
        ({"key": "n", "operator": "DoesNotExist"}, {"bare"}),
        ({"key": "n", "operator": "Gt", "values": ["1"]}, {"n2", "n3"}),
        ({"key": "n", "operator": "Lt", "values": ["3"]}, {"n1", "n2"}),
        ({"key": "n", "operator": "In", "values": ["9"]}, set()),
    ],
)
def test_node_affinity_knows_every_operator(expression: Object, names: set[str]) -> None:
    table = node_table([*(node(f"n{i}", labels={"n": str(i)}) for i in (1, 2, 3)), node("bare")])
    policy = NodeAffinity(c.NodeAffinityConfig())
    assert allowed(policy, pod("q", affinity=required(expression)), table) == names


def test_node_affinity_matches_the_name_of_a_node() -> None:
    table = node_table([node("a"), node("b")])
    policy = NodeAffinity(c.NodeAffinityConfig())
    by_name = {"key": "metadata.name", "operator": "In", "values": ["b"]}
    assert allowed(policy, pod("q", affinity=required(by_name, fields=True)), table) == {"b"}


def test_an_empty_term_matches_nothing() -> None:
    policy = NodeAffinity(c.NodeAffinityConfig())
    assert allowed(policy, pod("q", affinity=required()), node_table([node("a")])) == set()


def test_added_affinity_holds_for_every_pod_and_has_a_reason_of_its_own() -> None:
    added = required({"key": "pool", "operator": "In", "values": ["x"]})["nodeAffinity"]
    policy = NodeAffinity(c.NodeAffinityConfig(added))
    table = node_table([node("a", labels={"pool": "x"}), node("b")])
    assert allowed(policy, pod("q"), table) == {"a"}
    assert list(reasons(policy, pod("q"), table)) == ["node(s) didn't match scheduler-enforced node affinity"]


def test_host_ports_are_used_once_for_each_protocol_and_address() -> None:
    other = pod("p", ports=[80])
    other["spec"]["containers"][0]["ports"][0]["hostIP"] = "127.0.0.1"
    table = node_table([node("a"), node("b"), node("c")], {"a": [pod("r", ports=[80])], "b": [other]})
    assert allowed(NodePorts(), pod("q", ports=[80]), table) == {"c"}
    udp = pod("q", ports=[80])
    udp["spec"]["containers"][0]["ports"][0]["protocol"] = "UDP"
    assert allowed(NodePorts(), udp, table) == {"a", "b", "c"}
    elsewhere = pod("q", ports=[80])
    elsewhere["spec"]["containers"][0]["ports"][0]["hostIP"] = "127.0.0.2"
    assert allowed(NodePorts(), elsewhere, table) == {"b", "c"}
    table.remove_pod("default/r")
    assert allowed(NodePorts(), pod("q", ports=[80]), table) == {"a", "c"}


def test_nodes_that_hold_the_image_score_by_its_size() -> None:
    table = node_table([node("a", images={"img:1": 600 * MIB}), node("b", images={"img:1": 30 * MIB}), node("c")])
    found = scores(ImageLocality(), pod("q"), table)
    assert found["a"] > found["b"] >= found["c"] == 0


# --- PodTopologySpread -----------------------------------------------------------------------------------------------


def spreading(**constraint: Any) -> Object:
    base = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    selector = {"labelSelector": {"matchLabels": {"app": "web"}}}
    return pod("q", labels={"app": "web"}, topologySpreadConstraints=[{**base, **selector, **constraint}])


def web(name: str, **more: Any) -> Object:
    return pod(name, labels={"app": "web"}, **more)


def zones() -> list[Object]:
    return [node("a1", labels={ZONE: "a"}), node("a2", labels={ZONE: "a"}), node("b1", labels={ZONE: "b"}), node("x")]


def spread(**settings: Any) -> PodTopologySpread:
    return PodTopologySpread(c.PodTopologySpreadConfig(**settings))


def test_pods_spread_over_zones_within_the_skew() -> None:
    table = node_table(zones(), {"a1": [web("1")]})
    assert allowed(spread(), spreading(), table) == {"b1"}
    assert allowed(spread(), spreading(maxSkew=2), table) == {"a1", "a2", "b1"}
    found = reasons(spread(), spreading(), table)
    assert found == {
        "node(s) didn't match pod topology spread constraints (missing required label)": (1, False),
        "node(s) didn't match pod topology spread constraints": (2, True),
    }


def test_pods_of_other_namespaces_and_those_being_deleted_do_not_count() -> None:
    leaving = web("2")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    table = node_table(zones(), {"a1": [web("1", namespace="other"), leaving]})
    assert allowed(spread(), spreading(), table) == {"a1", "a2", "b1"}


def test_too_few_domains_count_as_an_empty_one() -> None:
    table = node_table(zones(), {"a1": [web("1")], "b1": [web("2")]})
    assert allowed(spread(), spreading(), table) == {"a1", "a2", "b1"}
    assert allowed(spread(), spreading(minDomains=3), table) == set()


def test_nodes_that_the_selector_excludes_do_not_count_unless_told_so() -> None:
    table = node_table([node("a", labels={ZONE: "a"}), node("b", labels={ZONE: "b", "old": "yes"})], {"a": [web("1")]})
    affinity = required({"key": "old", "operator": "DoesNotExist"})
    obj = spreading()
    obj["spec"]["affinity"] = affinity
    assert allowed(spread(), obj, table) == {"a", "b"}
    ignoring = spreading(nodeAffinityPolicy="Ignore")
    ignoring["spec"]["affinity"] = affinity
    assert allowed(spread(), ignoring, table) == {"b"}


def test_tainted_nodes_count_unless_told_not_to() -> None:
    taint = {"key": "k", "effect": "NoSchedule"}
    table = node_table(
        [node("a", labels={ZONE: "a"}), node("b", labels={ZONE: "b"}, taints=[taint])], {"a": [web("1")]}
    )
    assert allowed(spread(), spreading(), table) == {"b"}
    assert "a" in allowed(spread(), spreading(nodeTaintsPolicy="Honor"), table)


def test_match_label_keys_look_at_pods_of_the_same_revision_only() -> None:
    table = node_table(zones(), {"a1": [pod("1", labels={"app": "web", "rev": "1"})]})
    obj = spreading(matchLabelKeys=["rev"])
    obj["metadata"]["labels"]["rev"] = "2"
    assert allowed(spread(), obj, table) == {"a1", "a2", "b1"}


def test_soft_constraints_prefer_the_emptier_domain() -> None:
    table = node_table(zones(), {"a1": [web("1"), web("2")], "b1": [web("3")]})
    found = scores(spread(), spreading(whenUnsatisfiable="ScheduleAnyway"), table)
    assert found["b1"] > found["a1"] == found["a2"] > found["x"] == 0


def test_pods_of_a_service_or_a_replica_set_spread_by_default() -> None:
    table = node_table(zones(), {"a1": [web("1"), web("2")]})
    policy = spread()
    meta = {"name": "web", "namespace": "default", "resourceVersion": "1"}
    selector = {"matchLabels": {"app": "web"}}
    policy.attach(StillHandle(table, {SERVICES: [{"metadata": meta, "spec": {"selector": {"app": "web"}}}]}))
    found = scores(policy, web("q"), table)
    assert found["b1"] > found["a2"] > found["a1"]
    assert policy.score(PodInfo(pod("alone")), table) is None
    policy.attach(StillHandle(table, {REPLICASETS: [{"metadata": meta, "spec": {"selector": selector}}]}))
    owned = web("q")
    owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}]
    assert scores(policy, owned, table) == found


def test_the_default_constraints_can_be_given() -> None:
    zone = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    policy = spread(defaulting_type="List", default_constraints=[zone])
    table = node_table(zones(), {"a1": [web("1")]})
    meta = {"name": "web", "namespace": "default", "resourceVersion": "1"}
    policy.attach(StillHandle(table, {SERVICES: [{"metadata": meta, "spec": {"selector": {"app": "web"}}}]}))
    assert allowed(policy, web("q"), table) == {"b1"}
    with pytest.raises(ValueError, match="defaulting_type"):
        c.PodTopologySpreadConfig(default_constraints=[zone])


def test_counts_follow_pods_and_nodes() -> None:
    table = node_table(zones(), {"a1": [web("1")]})
    assert allowed(spread(), spreading(), table) == {"b1"}
    table.add_pod(PodInfo(web("2")), "b1")
    assert allowed(spread(), spreading(), table) == {"a1", "a2", "b1"}
    table.remove_pod("default/1")
    assert allowed(spread(), spreading(), table) == {"a1", "a2"}
    table.remove_node("b1")
    assert allowed(spread(), spreading(), table) == {"a1", "a2"}
    table.set_node(node("b1", labels={ZONE: "b"}))  # its pods are still bound to it
    assert allowed(spread(), spreading(), table) == {"a1", "a2"}


# --- InterPodAffinity ------------------------------------------------------------------------------------------------


def inter(**settings: Any) -> InterPodAffinity:
    return InterPodAffinity(c.InterPodAffinityConfig(**settings))


def term(app: str, key: str = ZONE, **more: Any) -> Object:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def near(*terms: Object, app: str = "q", kind: str = "podAffinity") -> Object:
    return pod(
        app, labels={"app": app}, affinity={kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}
    )


def test_affinity_wants_the_same_zone() -> None:
    table = node_table(zones(), {"a1": [web("1")]})
    assert allowed(inter(), near(term("web")), table) == {"a1", "a2"}
    assert allowed(inter(), near(term("web", HOST)), table) == {"a1"}
    assert allowed(inter(), near(term("db")), table) == set()


def test_the_first_pod_of_a_group_may_go_anywhere_that_has_the_label() -> None:
    table = node_table(zones())
    assert allowed(inter(), near(term("q")), table) == {"a1", "a2", "b1"}
    table.add_pod(PodInfo(near(term("q"), app="q")), "b1")
    second = near(term("q"))
    second["metadata"]["name"] = "q2"
    assert allowed(inter(), second, table) == {"b1"}


def test_all_terms_must_be_met_by_pods_that_match_them_all() -> None:
    table = node_table(zones(), {"a1": [pod("1", labels={"app": "web", "tier": "x"})], "b1": [web("2")]})
    tier = {"labelSelector": {"matchLabels": {"tier": "x"}}, "topologyKey": ZONE}
    assert allowed(inter(), near(term("web"), tier), table) == {"a1", "a2"}


def test_anti_affinity_works_in_both_directions() -> None:
    table = node_table(zones(), {"a1": [web("1")]})
    assert allowed(inter(), near(term("web"), kind="podAntiAffinity"), table) == {"b1", "x"}
    shy = near(term("web"), app="shy", kind="podAntiAffinity")
    table = node_table(zones(), {"a1": [shy]})
    assert allowed(inter(), web("q"), table) == {"b1", "x"}
    assert reasons(inter(), web("q"), table) == {"node(s) didn't satisfy existing pods anti-affinity rules": (2, True)}
    table.remove_pod("default/shy")
    assert allowed(inter(), web("q"), table) == {"a1", "a2", "b1", "x"}


def test_terms_mean_the_pods_own_namespace_unless_they_say_otherwise() -> None:
    table = node_table(zones(), {"a1": [web("1", namespace="shop")]})
    table.set_namespace("shop", {"team": "blue"})
    assert allowed(inter(), near(term("web")), table) == set()
    assert allowed(inter(), near(term("web", namespaces=["shop"])), table) == {"a1", "a2"}
    blue = {"matchLabels": {"team": "blue"}}
    assert allowed(inter(), near(term("web", namespaceSelector=blue)), table) == {"a1", "a2"}
    assert allowed(inter(), near(term("web", namespaceSelector={})), table) == {"a1", "a2"}
    table.set_namespace("shop", {"team": "red"})
    assert allowed(inter(), near(term("web", namespaceSelector=blue)), table) == set()


def test_preferences_of_both_sides_add_up() -> None:
    preferred = [{"weight": 10, "podAffinityTerm": term("web")}]
    fond = pod(
        "q",
        labels={"app": "q"},
        affinity={"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
    )
    table = node_table(zones(), {"a1": [web("1")]})
    assert scores(inter(), fond, table) == {"a1": 100, "a2": 100, "b1": 0, "x": 0}
    away = [{"weight": 10, "podAffinityTerm": term("q")}]
    shy = pod("s", affinity={"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": away}})
    table = node_table(zones(), {"a1": [shy], "b1": [near(term("q"), app="f")]})
    assert scores(inter(), pod("q", labels={"app": "q"}), table) == {"a1": 0, "a2": 0, "b1": 100, "x": 90}
