"""DaemonSets: surges, and pods that fail at once."""

from trio.testing import MockClock

from kcore.objects import Object, meta
from kcore.objects.resources import DAEMONSETS, PODS

from .conftest import Start
from .objects import template
from .test_daemonset import daemonset, where


def surging() -> Object:
    return daemonset(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})


async def test_a_surge_never_leaves_a_node_without_a_ready_pod(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("daemonset") as c:
        await c.client.create(DAEMONSETS, surging())
        await c.settle()
        fewest_nodes, most_pods = 3, 0

        def look(old: Object | None, new: Object | None) -> None:
            nonlocal fewest_nodes, most_pods
            live = [p for p in c.pods.items() if not meta.deleting(p)]
            fewest_nodes = min(fewest_nodes, len({p["spec"].get("nodeName") for p in live if meta.pod_ready(p)}))
            most_pods = max(most_pods, len(live))

        c.pods.on_change(look)
        fewest_nodes, most_pods = 3, 0
        await c.client.patch(DAEMONSETS, "ds", {"spec": {"template": template("img:2")}}, "default")
        await c.settle(60)
        assert {p["spec"]["containers"][0]["image"] for p in await c.all(PODS)} == {"img:2"}
        assert await where(c) == ["node-1", "node-2", "node-3"]
        assert (fewest_nodes, most_pods) == (3, 4)


async def test_old_pods_that_are_not_available_are_replaced_beyond_the_surge(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("daemonset") as c:
        await c.client.create(DAEMONSETS, surging())
        await c.settle()
        for pod in await c.all(PODS):
            broken = [{**x, "status": "False"} if x["type"] == "Ready" else x for x in pod["status"]["conditions"]]
            await c.set_status(pod, conditions=broken)
        c.start_delay = -1  # new pods do not come up either: nobody loses anything
        await c.client.patch(DAEMONSETS, "ds", {"spec": {"template": template("img:2")}}, "default")
        await c.settle(60)
        assert {p["spec"]["containers"][0]["image"] for p in await c.all(PODS)} == {"img:2"}
        assert len(await c.all(PODS)) == 3


async def test_a_pod_that_keeps_failing_is_replaced_with_growing_delay(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("daemonset", nodes=1) as c:
        made: list[str] = []

        def look(old: Object | None, new: Object | None) -> None:
            if old is None and new is not None:
                made.append(meta.name(new))

        c.pods.on_change(look)
        await c.client.create(DAEMONSETS, daemonset())
        for _ in range(600):
            await c.settle(0.5)
            for pod in await c.all(PODS):
                if not meta.pod_terminal(pod):
                    await c.set_status(pod, phase="Failed", reason="NodeAffinity")
        assert 5 <= len(made) <= 12  # after 1, 2, 4, ... seconds in five minutes
