"""Every policy of the distribution passes the suite that third parties run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kcore_policies import config as c
from kcore_policies.affinity import InterPodAffinity
from kcore_policies.balance import NodeResourcesBalancedAllocation
from kcore_policies.basics import DefaultBinder, PrioritySort, SchedulingGates
from kcore_policies.fit import NodeResourcesFit
from kcore_policies.images import ImageLocality
from kcore_policies.nodes import NodeAffinity, NodeName, NodeUnschedulable, TaintToleration
from kcore_policies.ports import NodePorts
from kcore_policies.preemption import DefaultPreemption
from kcore_policies.spread import PodTopologySpread
from kcore_policies.volumes import VolumeBinding

from kcore.objects import Object
from kcore.objects.resources import GVR, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, SERVICES, STORAGECLASSES
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import NodePolicy, Policy, spread_out
from kcore.testing.policy import PolicySuite
from kcore.testing.scheduling import node, pod

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


class TestNodeResourcesFit(PolicySuite):
    def policy(self) -> Policy:
        return NodeResourcesFit(c.FitConfig())

    def pods(self) -> list[Object]:
        return [*super().pods(), pod("gpu", requests={"example.com/gpu": "1"}), pod("huge", cpu="100")]


class TestMostAllocated(TestNodeResourcesFit):
    def policy(self) -> Policy:
        return NodeResourcesFit(c.FitConfig(strategy="MostAllocated"))


class TestRequestedToCapacityRatio(TestNodeResourcesFit):
    def policy(self) -> Policy:
        return NodeResourcesFit(c.FitConfig(strategy="RequestedToCapacityRatio", shape=[[0, 10], [50, 0], [100, 5]]))


class TestNodeResourcesBalancedAllocation(PolicySuite):
    def policy(self) -> Policy:
        return NodeResourcesBalancedAllocation(c.BalancedConfig())


class TestBalanceOfThree(PolicySuite):
    def policy(self) -> Policy:
        return NodeResourcesBalancedAllocation(c.BalancedConfig({"cpu": 1, "memory": 1, "example.com/gpu": 1}))

    def pods(self) -> list[Object]:
        return [pod("gpu", cpu="1", requests={"example.com/gpu": "1"})]


class TestNodeName(PolicySuite):
    def policy(self) -> Policy:
        return NodeName()

    def pods(self) -> list[Object]:
        return [pod("named", nodeName="node-2"), pod("lost", nodeName="nowhere")]


class TestNodeUnschedulable(PolicySuite):
    def policy(self) -> Policy:
        return NodeUnschedulable()

    def nodes(self) -> list[Object]:
        return [node(f"node-{i}", unschedulable=i % 2 == 0) for i in range(5)]

    def pods(self) -> list[Object]:
        tolerations = [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]
        return [pod("plain"), pod("daemon", tolerations=tolerations)]


class TestTaintToleration(PolicySuite):
    def policy(self) -> Policy:
        return TaintToleration()

    def nodes(self) -> list[Object]:
        hard = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
        soft = {"key": "slow", "effect": "PreferNoSchedule"}
        sets = ((), (hard,), (soft,), (hard, soft), ())
        return [node(f"node-{i}", taints=taints) for i, taints in enumerate(sets)]

    def pods(self) -> list[Object]:
        return [pod("plain"), pod("gpu", tolerations=[{"key": "gpu", "operator": "Equal", "value": "yes"}])]


class TestNodeAffinity(PolicySuite):
    def policy(self) -> Policy:
        return NodeAffinity(c.NodeAffinityConfig())

    def pods(self) -> list[Object]:
        expression = {"key": ZONE, "operator": "NotIn", "values": ["a", "c"]}
        required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        preferred = [{"weight": 5, "preference": {"matchExpressions": [{"key": ZONE, "operator": "Exists"}]}}]
        affinity = {
            "requiredDuringSchedulingIgnoredDuringExecution": required,
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        }
        return [pod("selector", nodeSelector={ZONE: "a"}), pod("affine", affinity={"nodeAffinity": affinity})]


class TestNodePorts(PolicySuite):
    def policy(self) -> Policy:
        return NodePorts()

    def placed(self) -> Mapping[str, Sequence[Object]]:
        return {"node-1": [pod("web", ports=[80])]}

    def pods(self) -> list[Object]:
        return [pod("port-80", ports=[80]), pod("port-81", ports=[81])]


def constrained(name: str, when: str, key: str = ZONE) -> Object:
    constraint = {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    return pod(name, labels={"app": "web"}, topologySpreadConstraints=[constraint])


class TestPodTopologySpread(PolicySuite):
    independent = False

    def policy(self) -> Policy:
        return PodTopologySpread(c.PodTopologySpreadConfig())

    def placed(self) -> Mapping[str, Sequence[Object]]:
        return {"node-0": [pod("w0", labels={"app": "web"})], "node-2": [pod("w1", labels={"app": "web"})]}

    def pods(self) -> list[Object]:
        hard = [constrained("hard", "DoNotSchedule"), constrained("hosts", "DoNotSchedule", HOST)]
        return [*hard, constrained("soft", "ScheduleAnyway"), pod("in-service", labels={"app": "web"})]

    def objects(self) -> Mapping[GVR, Sequence[Object]]:
        meta = {"name": "web", "namespace": "default", "resourceVersion": "1"}
        return {SERVICES: [{"metadata": meta, "spec": {"selector": {"app": "web"}}}]}


def liking(name: str, kind: str, **labels: str) -> Object:
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": ZONE}
    rules = {
        "requiredDuringSchedulingIgnoredDuringExecution": [term],
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 3, "podAffinityTerm": {**term, "topologyKey": HOST}}
        ],
    }
    return pod(name, labels=labels, affinity={kind: rules})


class TestInterPodAffinity(PolicySuite):
    independent = False

    def policy(self) -> Policy:
        return InterPodAffinity(c.InterPodAffinityConfig())

    def placed(self) -> Mapping[str, Sequence[Object]]:
        return {
            "node-0": [pod("w0", labels={"app": "web"})],
            "node-2": [liking("shy", "podAntiAffinity", app="db")],
            "node-4": [liking("fond", "podAffinity", app="db")],
        }

    def pods(self) -> list[Object]:
        return [
            liking("near", "podAffinity", app="web"),
            liking("far", "podAntiAffinity", app="web"),
            pod("web", labels={"app": "web"}),
        ]


class TestImageLocality(PolicySuite):
    def policy(self) -> Policy:
        return ImageLocality()

    def nodes(self) -> list[Object]:
        return [node(f"node-{i}", images={"img:1": 2**20 * 100 * i} if i else None) for i in range(5)]


class TestVolumeBinding(PolicySuite):
    def policy(self) -> Policy:
        return VolumeBinding(c.VolumeBindingConfig())

    def pods(self) -> list[Object]:
        return [
            pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": name}}])
            for name in ("bound", "waiting", "made")
        ]

    def objects(self) -> Mapping[GVR, Sequence[Object]]:
        return {
            PERSISTENTVOLUMECLAIMS: [
                claim("bound", "local", "pv-a"),
                claim("waiting", "local"),
                claim("made", "fast"),
            ],
            PERSISTENTVOLUMES: [volume("pv-a", "a"), volume("pv-b", "b")],
            STORAGECLASSES: [storage_class("local"), storage_class("fast", "csi.example.com", zone="c")],
        }


def claim(name: str, storage: str, bound_to: str = "") -> Object:
    spec = {
        "storageClassName": storage,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {
        "metadata": {"name": name, "namespace": "default", "resourceVersion": "1"},
        "spec": {**spec, "volumeName": bound_to} if bound_to else spec,
        "status": {"phase": "Bound" if bound_to else "Pending"},
    }


def volume(name: str, zone: str) -> Object:
    expression = {"key": ZONE, "operator": "In", "values": [zone]}
    return {
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {
            "storageClassName": "local",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "2Gi"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        },
        "status": {"phase": "Available"},
    }


def storage_class(name: str, provisioner: str = "kubernetes.io/no-provisioner", zone: str = "") -> Object:
    out: Object = {
        "metadata": {"name": name, "resourceVersion": "1"},
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    if zone:
        out["allowedTopologies"] = [{"matchLabelExpressions": [{"key": ZONE, "values": [zone]}]}]
    return out


class TestDefaultPreemption(PolicySuite):
    def policy(self) -> Policy:
        return DefaultPreemption(c.PreemptionConfig())


class TestPrioritySort(PolicySuite):
    def policy(self) -> Policy:
        return PrioritySort()


class TestSchedulingGates(PolicySuite):
    def policy(self) -> Policy:
        return SchedulingGates()


class TestDefaultBinder(PolicySuite):
    def policy(self) -> Policy:
        return DefaultBinder()


class EvenNames(NodePolicy):
    """As the docstring of NodePolicy has it, with a score."""

    name = "EvenNames"

    def filter_node(self, pod: PodInfo, node: Object) -> str | None:
        return None if int(node["metadata"]["name"][-1]) % 2 == 0 else "node(s) had an odd name"

    def score_node(self, pod: PodInfo, node: Object) -> float:
        return float(node["metadata"]["name"][-1]) - 2

    def normalize(self, scores):  # type: ignore[no-untyped-def]
        return spread_out(scores)


class TestOneNodeAtATime(PolicySuite):
    def policy(self) -> Policy:
        return EvenNames()

    def nodes(self) -> list[Object]:
        return [node(f"node-{i}") for i in range(6)]

    def test_holes_and_new_nodes_change_nothing_for_the_others(self) -> None:
        policy, table = self._attached()
        table.remove_node("node-1")
        assert self._by_name(policy, table) == self._fresh("node-1")
