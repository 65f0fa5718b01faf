"""DaemonSets in a fake cluster."""

from typing import Any

from trio.testing import MockClock

from kcore.objects import Object, meta
from kcore.objects.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from kcore.testing.cluster import FakeCluster

from .conftest import Start
from .objects import template


def daemonset(**spec: Any) -> Object:
    return {
        "metadata": {"name": "ds", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec},
    }


async def where(c: FakeCluster) -> list[str]:
    return sorted(p["spec"]["nodeName"] for p in await c.all(PODS) if not meta.deleting(p))


async def test_every_node_gets_a_pod_also_later_ones(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("daemonset") as c:
        await c.client.create(DAEMONSETS, daemonset())
        await c.settle()
        assert await where(c) == ["node-1", "node-2", "node-3"]
        await c.add_node("node-4")
        await c.settle()
        assert await where(c) == ["node-1", "node-2", "node-3", "node-4"]
        assert (await c.client.get(DAEMONSETS, "ds", "default"))["status"] == {
            "currentNumberScheduled": 4,
            "desiredNumberScheduled": 4,
            "numberMisscheduled": 0,
            "numberReady": 4,
            "observedGeneration": 1,
            "updatedNumberScheduled": 4,
            "numberAvailable": 4,
        }
        pod = (await c.all(PODS))[0]
        assert "controller-revision-hash" in meta.labels(pod)
        keys = {t["key"] for t in pod["spec"]["tolerations"]}
        assert {"node.kubernetes.io/not-ready", "node.kubernetes.io/unschedulable"} <= keys


async def test_taints_and_selectors_decide_where_it_runs(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("daemonset") as c:
        await c.client.patch(
            NODES, "node-1", {"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}}
        )
        await c.client.patch(NODES, "node-2", {"metadata": {"labels": {"disk": "ssd"}}})
        await c.client.create(DAEMONSETS, daemonset())
        await c.settle()
        assert await where(c) == ["node-2", "node-3"]
        spec = {**template()["spec"], "nodeSelector": {"disk": "ssd"}}
        await c.client.patch(DAEMONSETS, "ds", {"spec": {"template": {"spec": spec}}}, "default")
        await c.settle(60)
        assert await where(c) == ["node-2"]


async def test_a_rolling_update_replaces_one_pod_at_a_time(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("daemonset") as c:
        await c.client.create(DAEMONSETS, daemonset())
        await c.settle()
        least = 3

        def look(old: Object | None, new: Object | None) -> None:
            nonlocal least
            least = min(least, sum(meta.pod_ready(p) and not meta.deleting(p) for p in c.pods.items()))

        c.pods.on_change(look)
        least = 3
        await c.client.patch(DAEMONSETS, "ds", {"spec": {"template": template("img:2")}}, "default")
        await c.settle(60)
        assert {p["spec"]["containers"][0]["image"] for p in await c.all(PODS)} == {"img:2"}
        assert least == 2
        assert [r["revision"] for r in await c.all(CONTROLLERREVISIONS)].sort() is None
        assert {r["revision"] for r in await c.all(CONTROLLERREVISIONS)} == {1, 2}


async def test_on_delete_waits_for_people(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("daemonset") as c:
        await c.client.create(DAEMONSETS, daemonset(updateStrategy={"type": "OnDelete"}))
        await c.settle()
        await c.client.patch(DAEMONSETS, "ds", {"spec": {"template": template("img:2")}}, "default")
        await c.settle()
        assert {p["spec"]["containers"][0]["image"] for p in await c.all(PODS)} == {"img:1"}
        await c.client.delete(PODS, meta.name((await c.all(PODS))[0]), "default")
        await c.settle()
        images = sorted(p["spec"]["containers"][0]["image"] for p in await c.all(PODS))
        assert images == ["img:1", "img:1", "img:2"]
