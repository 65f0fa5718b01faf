"""Leader election, events and retries against the in-memory cluster, on the virtual clock."""

import trio

from kcore import clock, errors
from kcore.client.events import Recorder
from kcore.client.leader import LeaderElector
from kcore.client.retry import update_on_conflict
from kcore.objects import Object
from kcore.objects.resources import CONFIGMAPS, EVENTS, GVR, LEASES
from kcore.testing.client import MemoryClient


async def lead(elector: LeaderElector, leaders: list[str]) -> None:
    async def work() -> None:
        leaders.append(elector.identity)
        try:
            await trio.sleep_forever()
        finally:
            leaders.remove(elector.identity)

    await elector.run(work)


async def test_one_candidate_leads_and_another_takes_over_when_it_dies(autojump_clock: trio.testing.MockClock) -> None:
    clock.use_virtual()
    client, dying = MemoryClient(), MemoryClient()
    dying.__dict__.update({k: v for k, v in client.__dict__.items() if k != "fail"})  # the same cluster
    leaders: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lead, LeaderElector(dying, "x", "first"), leaders)
        await trio.sleep(1)
        nursery.start_soon(lead, LeaderElector(client, "x", "second"), leaders)
        await trio.sleep(60)
        assert leaders == ["first"]
        dying.fail = errors.ServiceUnavailable("cut off")
        await trio.sleep(12)
        assert leaders == []  # it stops its work before anybody else may start
        await trio.sleep(8)
        assert leaders == ["second"]
        lease = await client.get(LEASES, "x", "kube-system")
        assert lease["spec"]["leaseTransitions"] == 1
        nursery.cancel_scope.cancel()
    lease = await client.get(LEASES, "x", "kube-system")
    assert lease["spec"]["holderIdentity"] == ""


async def test_the_same_event_counts_up_and_similar_ones_are_combined(autojump_clock: trio.testing.MockClock) -> None:
    clock.use_virtual()
    client = MemoryClient()
    recorder = Recorder(client, "tester", "host-1")
    obj = await client.create(CONFIGMAPS, {"metadata": {"name": "x", "namespace": "ns"}})
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        for _ in range(3):
            recorder.event(obj, "Normal", "Same", "hello")
            await trio.sleep(1)
        for i in range(14):
            recorder.event(obj, "Warning", "Similar", f"number {i}")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    events = (await client.list(EVENTS, "ns")).items
    same = [e for e in events if e["reason"] == "Same"]
    assert [(e["count"], e["message"], e["type"]) for e in same] == [(3, "hello", "Normal")]
    assert same[0]["involvedObject"]["kind"] == "ConfigMap"
    assert same[0]["source"] == {"component": "tester", "host": "host-1"}
    similar = [e for e in events if e["reason"] == "Similar"]
    assert len(similar) == 11
    similar.sort(key=lambda e: e["metadata"]["name"])
    assert similar[-1]["message"] == "(combined from similar events): number 13"
    assert similar[-1]["count"] == 4


async def test_the_same_event_of_two_containers_is_two_events(autojump_clock: trio.testing.MockClock) -> None:
    clock.use_virtual()
    client = MemoryClient()
    recorder = Recorder(client, "tester")
    obj = {"kind": "Pod", "namespace": "ns", "name": "p", "uid": "u"}
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        for name in ("a", "b", "a"):
            recorder.event({**obj, "fieldPath": f"spec.containers{{{name}}}"}, "Normal", "Pulled", "pulled")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    events = (await client.list(EVENTS, "ns")).items
    assert sorted((e["involvedObject"]["fieldPath"], e["count"]) for e in events) == [
        ("spec.containers{a}", 2),
        ("spec.containers{b}", 1),
    ]


async def test_one_object_cannot_flood_the_cluster_with_events(autojump_clock: trio.testing.MockClock) -> None:
    clock.use_virtual()
    client = MemoryClient()
    recorder = Recorder(client, "tester")
    obj = await client.create(CONFIGMAPS, {"metadata": {"name": "x", "namespace": "ns"}})
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        for _ in range(3000):
            recorder.event(obj, "Normal", "Same", "hello")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    events = (await client.list(EVENTS, "ns")).items
    assert [e["count"] for e in events] == [25]
    assert recorder.dropped == 2975
    assert recorder.pending == 0


async def test_a_lost_race_is_run_again_from_the_newest_object(autojump_clock: trio.testing.MockClock) -> None:
    class Racing(MemoryClient):
        races = 2

        async def update(self, resource: GVR, obj: Object, *, subresource: str = "") -> Object:
            if self.races:
                self.races -= 1
                await self.patch(CONFIGMAPS, "x", {"data": {f"race{self.races}": "1"}}, "ns")
            return await super().update(resource, obj, subresource=subresource)

    client = Racing()
    await client.create(CONFIGMAPS, {"metadata": {"name": "x", "namespace": "ns"}, "data": {}})

    def change(obj: Object) -> None:
        obj["data"]["mine"] = "1"

    result = await update_on_conflict(client, CONFIGMAPS, "x", "ns", change)
    assert result["data"] == {"race1": "1", "race0": "1", "mine": "1"}
