"""Informers against the in-memory cluster, on the virtual clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from kcore import errors
from kcore.client.informer import Informers, MutationDetected
from kcore.objects import Object
from kcore.objects.meta import name
from kcore.objects.resources import CONFIGMAPS, PODS
from kcore.testing.client import MemoryClient


def pod(name: str, namespace: str = "default", node: str = "") -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"nodeName": node}}


@asynccontextmanager
async def running(client: MemoryClient, **options: bool) -> AsyncIterator[Informers]:
    informers = Informers(client, **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(informers.run)
        yield informers
        nursery.cancel_scope.cancel()


async def test_an_informer_knows_what_was_there_and_what_changes(autojump_clock: trio.testing.MockClock) -> None:
    client = MemoryClient()
    await client.create(PODS, pod("before"))
    async with running(client) as informers:
        pods = informers.get(PODS)
        await pods.synced.wait()
        assert [name(p) for p in pods.items()] == ["before"]
        seen: list[tuple[str, str]] = []
        pods.on_change(lambda old, new: seen.append((name(old) if old else "", name(new) if new else "")))
        await client.create(PODS, pod("after"))
        await client.patch(PODS, "after", {"metadata": {"labels": {"a": "b"}}}, "default")
        await client.delete(PODS, "before", "default")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [("", "before"), ("", "after"), ("after", "after"), ("before", "")]
        assert pods.get("default/before") is None
        assert informers.get(PODS) is pods


async def test_an_index_follows_changes_and_deletions(autojump_clock: trio.testing.MockClock) -> None:
    client = MemoryClient()
    await client.create(PODS, pod("a"))
    async with running(client) as informers:
        pods = informers.get(PODS)
        pods.add_index("node", lambda p: [p["spec"]["nodeName"]])
        await pods.synced.wait()
        assert [name(p) for p in pods.indexed("node", "")] == ["a"]
        await client.create(PODS, {"target": {"name": "n1"}}, "default", name="a", subresource="binding")
        await trio.testing.wait_all_tasks_blocked()
        assert pods.indexed("node", "") == []
        assert [name(p) for p in pods.indexed("node", "n1")] == ["a"]
        await client.delete(PODS, "a", "default", grace_seconds=0)
        await trio.testing.wait_all_tasks_blocked()
        assert pods.indexed("node", "n1") == []
        assert pods.index_values("node") == []


async def test_after_an_outage_the_difference_is_delivered(autojump_clock: trio.testing.MockClock) -> None:
    client = MemoryClient()
    client.fail = errors.ServiceUnavailable("starting")
    async with running(client) as informers:
        maps = informers.get(CONFIGMAPS)
        await trio.sleep(60)
        assert not maps.synced.is_set()
        client.fail = None
        await client.create(CONFIGMAPS, {"metadata": {"name": "x", "namespace": "default"}})
        await maps.synced.wait()
        assert maps.get("default/x") is not None


async def test_gone_leads_to_a_new_list_whose_difference_is_delivered(autojump_clock: trio.testing.MockClock) -> None:
    class Forgetful(MemoryClient):
        cut = False

        @asynccontextmanager
        async def watch(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            async with super().watch(*args, **kwargs) as events:

                async def cut():  # type: ignore[no-untyped-def]
                    async for event in events:
                        if self.cut:
                            self.cut = False
                            raise errors.Gone("too old")
                        yield event

                stream = cut()
                try:
                    yield stream
                finally:
                    await stream.aclose()

    client = Forgetful()
    await client.create(PODS, pod("old"))
    async with running(client) as informers:
        pods = informers.get(PODS)
        seen: list[str] = []
        pods.on_change(lambda old, new: seen.append(f"{'-' if new is None else '+'}{name(new or old or {})}"))
        await pods.synced.wait()
        client.cut = True
        await client.delete(PODS, "old", "default")
        await client.create(PODS, pod("new"))
        await trio.sleep(1)
        assert seen == ["+old", "-old", "+new"]


async def test_a_failing_handler_does_not_stop_the_others(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    client = MemoryClient()
    async with running(client) as informers:
        pods = informers.get(PODS)
        seen = []

        def broken(old: Object | None, new: Object | None) -> None:
            raise ValueError("no")

        pods.on_change(broken)
        stop = pods.on_change(lambda old, new: seen.append(new))
        await client.create(PODS, pod("a"))
        await trio.sleep(1)
        assert len(seen) == 1
        assert "a handler of pods failed" in caplog.text
        stop()
        await client.create(PODS, pod("b"))
        await trio.sleep(1)
        assert len(seen) == 1


async def test_a_changed_shared_object_is_detected(autojump_clock: trio.testing.MockClock) -> None:
    client = MemoryClient()
    await client.create(PODS, pod("a"))
    async with running(client, detect_mutation=True) as informers:
        pods = informers.get(PODS)
        await pods.synced.wait()
        informers.check()
        found = pods.get("default/a")
        assert found is not None
        found["spec"]["nodeName"] = "changed"
        with pytest.raises(MutationDetected, match="default/a"):
            informers.check()
