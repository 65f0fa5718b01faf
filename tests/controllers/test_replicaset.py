"""ReplicaSets and ReplicationControllers in a fake cluster."""

from trio.testing import MockClock

from kcore import errors
from kcore.objects import Object, meta
from kcore.objects.resources import GVR, PODS, REPLICASETS, REPLICATIONCONTROLLERS
from kcore.testing.client import MemoryClient

from .conftest import Start
from .objects import pod, replicaset, template


async def test_a_replicaset_keeps_as_many_pods_as_it_says(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("replicaset") as c:
        await c.client.create(REPLICASETS, replicaset(replicas=7))
        await c.settle()
        pods = await c.all(PODS)
        assert len(pods) == 7
        assert all(p["metadata"]["name"].startswith("web-") for p in pods)
        ref = pods[0]["metadata"]["ownerReferences"][0]
        assert (ref["kind"], ref["name"], ref["controller"], ref["blockOwnerDeletion"]) == (
            "ReplicaSet",
            "web",
            True,
            True,
        )
        rs = await c.client.get(REPLICASETS, "web", "default")
        assert rs["status"] == {
            "replicas": 7,
            "fullyLabeledReplicas": 7,
            "readyReplicas": 7,
            "availableReplicas": 7,
            "observedGeneration": 1,
            "terminatingReplicas": 0,
        }
        await c.client.delete(PODS, meta.name(pods[0]), "default", grace_seconds=0)
        await c.client.patch(REPLICASETS, "web", {"spec": {"replicas": 5}}, "default")
        await c.settle(60)
        assert len(await c.all(PODS)) == 5


async def test_pods_that_do_the_least_good_go_first(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("replicaset") as c:
        await c.client.create(REPLICASETS, replicaset(replicas=3))
        await c.settle()
        c.start_delay = -1
        await c.client.patch(REPLICASETS, "web", {"spec": {"replicas": 5}}, "default")
        await c.settle()
        await c.client.patch(REPLICASETS, "web", {"spec": {"replicas": 3}}, "default")
        await c.settle(60)
        assert all(meta.pod_ready(p) for p in await c.all(PODS))
        cheap = (await c.all(PODS))[1]
        cost = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}}
        await c.client.patch(PODS, meta.name(cheap), cost, "default")
        await c.client.patch(REPLICASETS, "web", {"spec": {"replicas": 2}}, "default")
        await c.settle(60)
        assert meta.name(cheap) not in [meta.name(p) for p in await c.all(PODS)]


async def test_matching_orphans_are_adopted_and_relabelled_pods_released(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("replicaset") as c:
        await c.client.create(PODS, pod("orphan"))
        await c.client.create(REPLICASETS, replicaset(replicas=2))
        await c.settle()
        assert len(await c.all(PODS)) == 2
        orphan = await c.client.get(PODS, "orphan", "default")
        rs = await c.client.get(REPLICASETS, "web", "default")
        assert meta.controlled_by(orphan, rs)
        await c.client.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}}, "default")
        await c.settle()
        assert not meta.controlled_by(await c.client.get(PODS, "orphan", "default"), rs)
        assert len(await c.all(PODS, labels="app=web")) == 2


async def test_a_quota_that_refuses_pods_is_told_and_not_hammered(cluster: Start, autojump_clock: MockClock) -> None:
    class Limited(MemoryClient):
        asked = 0

        async def create(self, resource: GVR, obj: Object, *args, **kwargs):  # type: ignore[no-untyped-def]
            if resource is PODS and not kwargs.get("subresource"):
                self.asked += 1
                if self.asked > 3:
                    raise errors.Forbidden("exceeded quota: q")
            return await super().create(resource, obj, *args, **kwargs)

    client = Limited()
    async with cluster("replicaset", client=client) as c:
        await c.client.create(REPLICASETS, replicaset(replicas=100))
        await c.settle(5)
        rs = await c.client.get(REPLICASETS, "web", "default")
        assert meta.condition_is(rs, "ReplicaFailure")
        assert rs["status"]["replicas"] == 3
        assert client.asked < 40
        client.asked = -1000
        await c.settle(120)
        rs = await c.client.get(REPLICASETS, "web", "default")
        assert rs["status"]["readyReplicas"] == 100
        assert meta.condition(rs, "ReplicaFailure") is None


async def test_available_means_ready_for_min_ready_seconds(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("replicaset") as c:
        await c.client.create(REPLICASETS, replicaset(replicas=1, minReadySeconds=30))
        await c.settle(20)
        status = (await c.client.get(REPLICASETS, "web", "default"))["status"]
        assert (status["readyReplicas"], status.get("availableReplicas", 0)) == (1, 0)
        await c.settle(20)
        assert (await c.client.get(REPLICASETS, "web", "default"))["status"]["availableReplicas"] == 1


async def test_a_replication_controller_selects_by_a_plain_map(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("replicationcontroller") as c:
        rc = {
            "metadata": {"name": "rc", "namespace": "default"},
            "spec": {"replicas": 2, "selector": {"app": "web"}, "template": template()},
        }
        await c.client.create(REPLICATIONCONTROLLERS, rc)
        await c.settle()
        status = (await c.client.get(REPLICATIONCONTROLLERS, "rc", "default"))["status"]
        assert status == {
            "replicas": 2,
            "fullyLabeledReplicas": 2,
            "readyReplicas": 2,
            "availableReplicas": 2,
            "observedGeneration": 1,
        }
