"""StatefulSets in a fake cluster."""

from typing import Any

from trio.testing import MockClock

from kcore.objects import Object, meta
from kcore.objects.resources import PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from kcore.testing.cluster import FakeCluster

from .conftest import Start
from .objects import template


def statefulset(**spec: Any) -> Object:
    return {
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "replicas": 3,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(),
            "volumeClaimTemplates": [
                {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
            ],
            **spec,
        },
    }


def recorder(c: FakeCluster) -> list[str]:
    history: list[str] = []

    def note(old: Object | None, new: Object | None) -> None:
        if old is None and new is not None:
            history.append(f"+{meta.name(new)}")
        elif new is None and old is not None:
            history.append(f"-{meta.name(old)}")
        elif new is not None and old is not None and meta.pod_ready(new) and not meta.pod_ready(old):
            history.append(f"={meta.name(new)}")

    c.pods.on_change(note)
    return history


async def test_pods_come_one_after_the_other_and_go_in_reverse(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("statefulset") as c:
        history = recorder(c)
        await c.client.create(STATEFULSETS, statefulset())
        await c.settle()
        assert history == ["+db-0", "=db-0", "+db-1", "=db-1", "+db-2", "=db-2"]
        pod = await c.client.get(PODS, "db-1", "default")
        status = (await c.client.get(STATEFULSETS, "db", "default"))["status"]
        assert meta.labels(pod) == {
            "app": "web",
            "statefulset.kubernetes.io/pod-name": "db-1",
            "apps.kubernetes.io/pod-index": "1",
            "controller-revision-hash": status["currentRevision"],
        }
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
        assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}]
        assert status == {
            "observedGeneration": 1,
            "replicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "currentReplicas": 3,
            "updatedReplicas": 3,
            "currentRevision": status["currentRevision"],
            "updateRevision": status["currentRevision"],
            "collisionCount": 0,
        }
        history.clear()
        await c.client.patch(STATEFULSETS, "db", {"spec": {"replicas": 1}}, "default")
        await c.settle()
        assert history == ["-db-2", "-db-1"]
        claims = [meta.name(x) for x in await c.all(PERSISTENTVOLUMECLAIMS)]
        assert claims == ["data-db-0", "data-db-1", "data-db-2"]


async def test_parallel_sets_do_not_wait(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("statefulset") as c:
        history = recorder(c)
        await c.client.create(STATEFULSETS, statefulset(podManagementPolicy="Parallel"))
        await c.settle()
        assert history[:3] == ["+db-0", "+db-1", "+db-2"]


async def test_an_update_begins_at_the_end_and_stops_at_the_partition(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("statefulset") as c:
        await c.client.create(
            STATEFULSETS, statefulset(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 1}})
        )
        await c.settle()
        history = recorder(c)
        history.clear()
        await c.client.patch(STATEFULSETS, "db", {"spec": {"template": template("img:2")}}, "default")
        await c.settle()
        assert history == ["-db-2", "+db-2", "=db-2", "-db-1", "+db-1", "=db-1"]
        images = [p["spec"]["containers"][0]["image"] for p in await c.all(PODS)]
        assert images == ["img:1", "img:2", "img:2"]
        # a pod below the partition comes back as it was
        await c.client.delete(PODS, "db-0", "default")
        await c.settle()
        assert (await c.client.get(PODS, "db-0", "default"))["spec"]["containers"][0]["image"] == "img:1"
        strategy = {"updateStrategy": {"rollingUpdate": {"partition": 0}}}
        await c.client.patch(STATEFULSETS, "db", {"spec": strategy}, "default")
        await c.settle()
        status = (await c.client.get(STATEFULSETS, "db", "default"))["status"]
        assert status["currentRevision"] == status["updateRevision"]
        assert status["updatedReplicas"] == 3


async def test_claims_go_as_the_retention_policy_says(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("statefulset", "garbagecollector") as c:
        policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        await c.client.create(STATEFULSETS, statefulset(persistentVolumeClaimRetentionPolicy=policy))
        await c.settle()
        await c.client.patch(STATEFULSETS, "db", {"spec": {"replicas": 2}}, "default")
        await c.settle(60)
        assert [meta.name(x) for x in await c.all(PERSISTENTVOLUMECLAIMS)] == ["data-db-0", "data-db-1"]
        await c.client.delete(STATEFULSETS, "db", "default")
        await c.settle(60)
        assert await c.all(PERSISTENTVOLUMECLAIMS) == []
        assert await c.all(PODS) == []


async def test_a_failed_pod_is_made_again(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("statefulset") as c:
        await c.client.create(STATEFULSETS, statefulset(replicas=1))
        await c.settle()
        first = await c.client.get(PODS, "db-0", "default")
        await c.finish(first, exit_code=1)
        await c.settle()
        again = await c.client.get(PODS, "db-0", "default")
        assert meta.uid(again) != meta.uid(first)
        assert meta.pod_ready(again)
