"""Namespaces, garbage collection, services and nodes in a fake cluster."""

import pytest
from trio.testing import MockClock

from kcore import errors
from kcore.objects import meta
from kcore.objects.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
)

from .conftest import Start
from .objects import deployment, pod, replicaset, service

WORKLOADS = ("deployment", "replicaset", "garbagecollector")
NOT_READY_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for k in ("not-ready", "unreachable")
]


async def test_every_namespace_gets_its_account_and_the_root_certificate(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("serviceaccount", "root-ca-certificate-publisher") as c:
        (c.context.data_dir / "pki").mkdir()
        (c.context.data_dir / "pki" / "ca.crt").write_text("PEM")
        await c.client.create(NAMESPACES, {"metadata": {"name": "one"}, "spec": {"finalizers": ["kubernetes"]}})
        await c.settle()
        assert await c.client.get(SERVICEACCOUNTS, "default", "one")
        assert (await c.client.get(CONFIGMAPS, "kube-root-ca.crt", "one"))["data"] == {"ca.crt": "PEM"}
        await c.client.delete(SERVICEACCOUNTS, "default", "one")
        await c.client.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "forged"}}, "one")
        await c.settle()
        assert await c.client.get(SERVICEACCOUNTS, "default", "one")
        assert (await c.client.get(CONFIGMAPS, "kube-root-ca.crt", "one"))["data"] == {"ca.crt": "PEM"}


async def test_a_namespace_goes_when_it_is_empty_and_pods_go_first(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("namespace") as c:
        c.start_delay = -1
        await c.client.create(NAMESPACES, {"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}})
        held = {"metadata": {"name": "keep", "namespace": "ns", "finalizers": ["ex.com/f"]}}
        await c.client.create(CONFIGMAPS, held)
        await c.client.create(SECRETS, {"metadata": {"name": "s", "namespace": "ns"}})
        await c.stop_node("node-1")
        stuck = {**pod("p", nodeName="node-1"), "metadata": {"name": "p", "namespace": "ns"}}
        await c.client.create(PODS, stuck)
        await c.client.delete(NAMESPACES, "ns")
        await c.settle(20)
        assert await c.client.get(SECRETS, "s", "ns")  # a pod may still need it
        await c.client.delete(PODS, "p", "ns", grace_seconds=0)
        await c.settle(20)
        assert await c.all(SECRETS, "ns") == []
        ns = await c.client.get(NAMESPACES, "ns")
        remaining = meta.condition(ns, "NamespaceContentRemaining") or {}
        assert remaining["message"] == "Some resources are remaining: configmaps. has 1 resource instances"
        finalizers = meta.condition(ns, "NamespaceFinalizersRemaining") or {}
        assert (finalizers["status"], finalizers["message"]) == (
            "True",
            "Some content in the namespace has finalizers remaining: ex.com/f in 1 resource instances",
        )
        await c.client.patch(CONFIGMAPS, "keep", {"metadata": {"finalizers": None}}, "ns")
        await c.settle(30)
        with pytest.raises(errors.NotFound):
            await c.client.get(NAMESPACES, "ns")


async def test_what_loses_its_owner_goes(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*WORKLOADS) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=3))
        await c.settle()
        assert len(await c.all(PODS)) == 3
        await c.client.delete(DEPLOYMENTS, "web", "default")
        await c.settle(60)
        assert await c.all(REPLICASETS) == []
        assert await c.all(PODS) == []


async def test_foreground_deletion_removes_the_owner_last(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*WORKLOADS) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=3))
        await c.settle()
        order: list[str] = []
        for resource in (DEPLOYMENTS, REPLICASETS, PODS):
            kind = resource.kind
            c.informers.get(resource).on_change(lambda o, n, kind=kind: order.append(kind) if n is None else None)
        await c.client.delete(DEPLOYMENTS, "web", "default", propagation="Foreground")
        await c.settle(60)
        assert order == ["Pod", "Pod", "Pod", "ReplicaSet", "Deployment"]


async def test_orphaned_dependents_stay_without_an_owner(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*WORKLOADS) as c:
        await c.client.create(REPLICASETS, replicaset(replicas=2))
        await c.settle()
        await c.client.delete(REPLICASETS, "web", "default", propagation="Orphan")
        await c.settle(60)
        assert await c.all(REPLICASETS) == []
        assert [p["metadata"].get("ownerReferences") for p in await c.all(PODS)] == [None, None]


async def test_an_object_of_an_owner_that_never_existed_goes(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("garbagecollector") as c:
        ref = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "ghost", "uid": "no-such"}
        unknown = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "x", "uid": "whatever"}
        for name, owner in (("a", ref), ("b", unknown)):
            await c.client.create(
                CONFIGMAPS, {"metadata": {"name": name, "namespace": "default", "ownerReferences": [owner]}}
            )
        await c.settle(60)
        assert [meta.name(m) for m in await c.all(CONFIGMAPS)] == ["b"]


async def test_one_remaining_owner_keeps_an_object(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("garbagecollector") as c:
        owners = [await c.client.create(SECRETS, {"metadata": {"name": n, "namespace": "default"}}) for n in "xy"]
        refs = [{"apiVersion": "v1", "kind": "Secret", "name": meta.name(o), "uid": meta.uid(o)} for o in owners]
        await c.client.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "default", "ownerReferences": refs}})
        await c.client.delete(SECRETS, "x", "default")
        await c.settle()
        kept = await c.client.get(CONFIGMAPS, "a", "default")
        assert [r["name"] for r in kept["metadata"]["ownerReferences"]] == ["y"]
        await c.client.delete(SECRETS, "y", "default")
        await c.settle()
        assert await c.all(CONFIGMAPS) == []


async def test_a_service_knows_its_pods(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("deployment", "replicaset", "endpointslice", "endpoints") as c:
        await c.client.create(SERVICES, service())
        await c.client.create(DEPLOYMENTS, deployment(replicas=3))
        await c.settle()
        (endpoint_slice,) = await c.all(ENDPOINTSLICES)
        pods = {p["status"]["podIP"]: p for p in await c.all(PODS)}
        assert {e["addresses"][0] for e in endpoint_slice["endpoints"]} == set(pods)
        assert endpoint_slice["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert meta.labels(endpoint_slice) == {
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        one = endpoint_slice["endpoints"][0]
        assert one["conditions"] == {"ready": True, "serving": True, "terminating": False}
        assert one["nodeName"] == pods[one["addresses"][0]]["spec"]["nodeName"]
        endpoints = await c.client.get(ENDPOINTS, "web", "default")
        assert {a["ip"] for a in endpoints["subsets"][0]["addresses"]} == set(pods)
        assert endpoints["subsets"][0]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        await c.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, "default")
        await c.settle()
        (endpoint_slice,) = await c.all(ENDPOINTSLICES)
        assert endpoint_slice["endpoints"] == []
        assert "subsets" not in await c.client.get(ENDPOINTS, "web", "default")


async def test_many_endpoints_are_spread_over_slices_of_a_hundred(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("replicaset", "endpointslice") as c:
        await c.client.create(SERVICES, service())
        await c.client.create(REPLICASETS, replicaset(replicas=250))
        await c.settle(60)
        slices = await c.all(ENDPOINTSLICES)
        assert sum(len(s["endpoints"]) for s in slices) == 250
        assert max(len(s["endpoints"]) for s in slices) == 100
        before = {meta.name(s): meta.resource_version(s) for s in slices}
        victim = (await c.all(PODS))[0]
        await c.set_status(victim, conditions=[{"type": "Ready", "status": "False"}])
        await c.settle()
        after = {meta.name(s): meta.resource_version(s) for s in await c.all(ENDPOINTSLICES)}
        assert len([n for n in before if before[n] != after[n]]) == 1
        await c.client.delete(ENDPOINTSLICES, min(before), "default")  # somebody's mistake
        await c.settle()
        slices = await c.all(ENDPOINTSLICES)
        assert len({e["addresses"][0] for s in slices for e in s["endpoints"]}) == 250


async def test_endpoints_kept_by_hand_are_mirrored(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("endpointslicemirroring", "endpointslice", "endpoints") as c:
        await c.client.create(SERVICES, service("ext", selector=None))
        subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 443, "protocol": "TCP"}]}]
        await c.client.create(ENDPOINTS, {"metadata": {"name": "ext", "namespace": "default"}, "subsets": subsets})
        await c.settle()
        (s,) = await c.all(ENDPOINTSLICES)
        assert (s["endpoints"][0]["addresses"], s["ports"][0]["port"]) == (["192.0.2.1"], 443)
        await c.client.delete(ENDPOINTS, "ext", "default")
        await c.settle()
        assert await c.all(ENDPOINTSLICES) == []


async def test_a_silent_node_is_not_ready_within_40_s_and_its_pods_run_elsewhere_after_300(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("deployment", "replicaset", "nodelifecycle", "taint-eviction", "podgc") as c:
        d = deployment(replicas=6)
        d["spec"]["template"]["spec"]["tolerations"] = NOT_READY_TOLERATIONS
        await c.client.create(DEPLOYMENTS, d)
        await c.settle(60)
        on_dead = [meta.name(p) for p in await c.all(PODS) if p["spec"]["nodeName"] == "node-2"]
        assert len(on_dead) == 2
        await c.stop_node("node-2")
        await c.settle(51)  # 40 s after the last of the heartbeats that come every 10 s
        node = await c.client.get(NODES, "node-2")
        assert (meta.condition(node, "Ready") or {})["status"] == "Unknown"
        taints = {(t["key"], t["effect"]) for t in node["spec"]["taints"]}
        assert taints == {
            ("node.kubernetes.io/unreachable", "NoSchedule"),
            ("node.kubernetes.io/unreachable", "NoExecute"),
        }
        for name in on_dead:
            assert not meta.pod_ready(await c.client.get(PODS, name, "default"))
        await c.settle(270)
        assert not any(meta.deleting(p) for p in await c.all(PODS))
        await c.settle(60)
        pods = await c.all(PODS)
        assert {meta.name(p) for p in pods if meta.deleting(p)} == set(on_dead)
        alive = [p for p in pods if meta.pod_active(p)]
        assert len(alive) == 6
        assert {p["spec"]["nodeName"] for p in alive} == {"node-1", "node-3"}
        evicted = await c.client.get(PODS, on_dead[0], "default")
        assert (meta.condition(evicted, "DisruptionTarget") or {})["reason"] == "DeletionByTaintManager"
        await c.client.delete(NODES, "node-2")
        await c.settle(60)
        assert not any(meta.name(p) in on_dead for p in await c.all(PODS))


async def test_a_node_that_comes_back_in_time_keeps_its_pods(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("replicaset", "nodelifecycle", "taint-eviction") as c:
        rs = replicaset(replicas=3)
        rs["spec"]["template"]["spec"]["tolerations"] = NOT_READY_TOLERATIONS
        await c.client.create(REPLICASETS, rs)
        await c.settle(60)
        names = {meta.name(p) for p in await c.all(PODS)}
        await c.stop_node("node-1")
        await c.settle(120)
        c.stopped.clear()
        now = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2030-01-01T00:00:00Z"}
        await c.client.patch(NODES, "node-1", {"status": {"conditions": [now]}}, subresource="status")
        await c.settle(600)
        assert {meta.name(p) for p in await c.all(PODS)} == names
        assert "taints" not in (await c.client.get(NODES, "node-1"))["spec"]


async def test_nobody_is_evicted_when_all_nodes_are_silent(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("replicaset", "nodelifecycle", "taint-eviction") as c:
        await c.client.create(REPLICASETS, replicaset(replicas=3))
        await c.settle(65)
        for name in ("node-1", "node-2", "node-3"):
            await c.stop_node(name)
        await c.settle(3600)
        assert not any(meta.deleting(p) for p in await c.all(PODS))


async def test_conditions_and_cordons_become_taints(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("nodelifecycle") as c:
        pressure = {"type": "MemoryPressure", "status": "True"}
        ready = {"type": "Ready", "status": "True"}
        await c.client.patch(NODES, "node-1", {"status": {"conditions": [ready, pressure]}}, subresource="status")
        await c.client.patch(NODES, "node-1", {"spec": {"unschedulable": True}})
        await c.settle(5)
        node = await c.client.get(NODES, "node-1")
        assert [(t["key"], t["effect"]) for t in node["spec"]["taints"]] == [
            ("node.kubernetes.io/memory-pressure", "NoSchedule"),
            ("node.kubernetes.io/unschedulable", "NoSchedule"),
        ]
        assert meta.annotations(node)["node.alpha.kubernetes.io/ttl"] == "0"


async def test_pods_of_no_node_and_deleted_pods_without_one_are_cleared(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("podgc") as c:
        c.schedule = False
        await c.client.create(PODS, pod("lost", nodeName="gone"))
        waiting = pod("waiting")
        waiting["metadata"]["finalizers"] = ["a.b/c"]
        await c.client.create(PODS, waiting)
        await c.settle(120)
        assert [meta.name(p) for p in await c.all(PODS)] == ["waiting"]
