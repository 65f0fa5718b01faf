"""Deployments in a fake cluster: rollouts, rollbacks, pauses, deadlines."""

from typing import Any

from trio.testing import MockClock

from kcore.objects import Object, meta
from kcore.objects.resources import DEPLOYMENTS, PODS, REPLICASETS
from kcore.testing.cluster import FakeCluster

from .conftest import Start
from .objects import deployment

BOTH = ("deployment", "replicaset")


async def set_image(c: FakeCluster, image: str) -> None:
    d = await c.client.get(DEPLOYMENTS, "web", "default")
    template = {**d["spec"]["template"], "spec": {"containers": [{"name": "c", "image": image}]}}
    await c.client.patch(DEPLOYMENTS, "web", {"spec": {"template": template}}, "default")


async def sets(c: FakeCluster) -> dict[str, tuple[str, int]]:
    """Image -> (revision, size)."""
    return {
        s["spec"]["template"]["spec"]["containers"][0]["image"]: (
            meta.annotations(s)["deployment.kubernetes.io/revision"],
            s["spec"]["replicas"],
        )
        for s in await c.all(REPLICASETS)
    }


def progressing(d: Object) -> Any:
    return (meta.condition(d, "Progressing") or {}).get("reason")


async def test_a_deployment_becomes_available(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*BOTH) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=3))
        await c.settle()
        d = await c.client.get(DEPLOYMENTS, "web", "default")
        assert meta.annotations(d)["deployment.kubernetes.io/revision"] == "1"
        status = dict(d["status"])
        conditions = {x["type"]: (x["status"], x["reason"], x["message"]) for x in status.pop("conditions")}
        (rs,) = await c.all(REPLICASETS)
        assert status == {
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "observedGeneration": 1,
            "terminatingReplicas": 0,
        }
        assert conditions == {
            "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            "Progressing": (
                "True",
                "NewReplicaSetAvailable",
                f'ReplicaSet "{meta.name(rs)}" has successfully progressed.',
            ),
        }
        name_hash = meta.labels(rs)["pod-template-hash"]
        assert meta.name(rs) == f"web-{name_hash}"
        assert rs["spec"]["selector"]["matchLabels"]["pod-template-hash"] == name_hash
        assert meta.annotations(rs) == {
            "deployment.kubernetes.io/desired-replicas": "3",
            "deployment.kubernetes.io/max-replicas": "4",
            "deployment.kubernetes.io/revision": "1",
        }


async def test_a_rolling_update_stays_within_its_bounds(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*BOTH) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=8))
        await c.settle()
        most, least = 0, 99

        def count(old: Object | None, new: Object | None) -> None:
            nonlocal most, least
            active = [p for p in c.pods.items() if meta.pod_active(p)]
            most = max(most, len(active))
            least = min(least, sum(meta.pod_ready(p) for p in active))

        stop = c.pods.on_change(count)
        most, least = 0, 99
        await set_image(c, "img:2")
        await c.settle(120)
        stop()
        assert most <= 10
        assert least >= 6
        assert await sets(c) == {"img:1": ("1", 0), "img:2": ("2", 8)}
        d = await c.client.get(DEPLOYMENTS, "web", "default")
        assert progressing(d) == "NewReplicaSetAvailable"
        assert d["status"]["updatedReplicas"] == 8


async def test_undoing_a_rollout_reuses_the_old_set_under_a_new_revision(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster(*BOTH) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=2))
        await c.settle()
        first = (await c.all(REPLICASETS))[0]
        await set_image(c, "img:2")
        await c.settle(60)
        template = dict(first["spec"]["template"])  # what kubectl rollout undo writes
        labels = {k: v for k, v in template["metadata"]["labels"].items() if k != "pod-template-hash"}
        undo = {"spec": {"template": {**template, "metadata": {"labels": labels}}}}
        await c.client.patch(DEPLOYMENTS, "web", undo, "default")
        await c.settle(60)
        assert await sets(c) == {"img:1": ("3", 2), "img:2": ("2", 0)}
        again = await c.client.get(REPLICASETS, meta.name(first), "default")
        assert meta.annotations(again)["deployment.kubernetes.io/revision-history"] == "1"
        d = await c.client.get(DEPLOYMENTS, "web", "default")
        assert meta.annotations(d)["deployment.kubernetes.io/revision"] == "3"


async def test_history_is_kept_to_its_limit(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*BOTH) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=1, revisionHistoryLimit=2))
        await c.settle()
        for i in range(2, 6):
            await set_image(c, f"img:{i}")
            await c.settle(60)
        assert await sets(c) == {"img:3": ("3", 0), "img:4": ("4", 0), "img:5": ("5", 1)}


async def test_recreate_removes_all_old_pods_before_the_first_new_one(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster(*BOTH) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=3, strategy={"type": "Recreate"}))
        await c.settle()
        mixed = []

        def look(old: Object | None, new: Object | None) -> None:
            images = {p["spec"]["containers"][0]["image"] for p in c.pods.items()}
            if len(images) > 1:
                mixed.append(images)

        c.pods.on_change(look)
        await set_image(c, "img:2")
        await c.settle(60)
        assert mixed == []
        assert await sets(c) == {"img:1": ("1", 0), "img:2": ("2", 3)}


async def test_a_paused_deployment_is_scaled_but_not_rolled_out(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*BOTH) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=2))
        await c.settle()
        await c.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}}, "default")
        await set_image(c, "img:2")
        await c.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 4}}, "default")
        await c.settle()
        assert await sets(c) == {"img:1": ("1", 4)}
        d = await c.client.get(DEPLOYMENTS, "web", "default")
        assert progressing(d) == "DeploymentPaused"
        await c.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": None}}, "default")
        await c.settle(120)
        assert await sets(c) == {"img:1": ("1", 0), "img:2": ("2", 4)}
        assert progressing(await c.client.get(DEPLOYMENTS, "web", "default")) == "NewReplicaSetAvailable"


async def test_a_rollout_that_stands_still_misses_its_deadline(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*BOTH) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=4))
        await c.settle()
        c.start_delay = -1
        await set_image(c, "img:broken")
        await c.settle(590)
        d = await c.client.get(DEPLOYMENTS, "web", "default")
        assert progressing(d) == "ReplicaSetUpdated"
        assert d["status"]["availableReplicas"] == 3  # maxUnavailable 25 % keeps the rest
        await c.settle(30)
        d = await c.client.get(DEPLOYMENTS, "web", "default")
        assert progressing(d) == "ProgressDeadlineExceeded"
        assert not meta.condition_is(d, "Progressing")
        c.start_delay = 1
        for pod in await c.all(PODS):
            if not meta.pod_ready(pod):
                await c.set_running(pod)
        await c.settle(120)
        assert progressing(await c.client.get(DEPLOYMENTS, "web", "default")) == "NewReplicaSetAvailable"


async def test_scaling_during_a_rollout_keeps_the_proportions(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*BOTH) as c:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        await c.client.create(DEPLOYMENTS, deployment(replicas=10, strategy=strategy))
        await c.settle()
        c.start_delay = -1
        await set_image(c, "img:stuck")
        await c.settle()
        assert await sets(c) == {"img:1": ("1", 8), "img:stuck": ("2", 5)}
        await c.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 15}}, "default")
        await c.settle()
        assert await sets(c) == {"img:1": ("1", 11), "img:stuck": ("2", 7)}


async def test_a_change_in_the_middle_of_a_rollout_turns_it_over(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*BOTH) as c:
        await c.client.create(DEPLOYMENTS, deployment(replicas=4))
        await c.settle()
        await set_image(c, "img:2")
        await c.settle(0.5)
        await set_image(c, "img:3")
        await c.settle(120)
        assert (await sets(c))["img:3"] == ("3", 4)
        assert len(await c.all(PODS)) == 4
