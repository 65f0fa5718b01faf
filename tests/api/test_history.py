"""Watches and lists of the past: across restarts, and beyond what the watch cache remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from kcore_store_memory.store import MemoryStore
from kcore_store_sqlite import SqliteConfig, open_sqlite

from kcore.api import cache as caches
from kcore.api import feed
from kcore.testing import TestContext

from .conftest import Api, serving

MAPS = "/api/v1/namespaces/default/configmaps"


async def create(api: Api, *names: str) -> str:
    """Returns the newest resourceVersion."""
    version = ""
    for name in names:
        made = await api.call("POST", MAPS, {"metadata": {"name": name}}, expect=201)
        version = made["metadata"]["resourceVersion"]
    return version


async def names(api: Api, path: str, count: int) -> list[tuple[str, str]]:
    watch = await api.watch(path)
    found = []
    with trio.fail_after(10):
        for _ in range(count):
            event = await watch.next()
            assert event is not None
            found.append((event["type"], event["object"]["metadata"].get("name", event["object"].get("message"))))
    await watch.close()
    return found


async def test_a_watch_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def once(use: Any) -> None:
        async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store, serving(store=store) as api:
            await use(api)

    kept: dict[str, str] = {}

    async def before(api: Api) -> None:
        kept["from"] = await create(api, "a")
        await create(api, "b", "c")
        await api.call("DELETE", f"{MAPS}/b", expect=200)

    async def after(api: Api) -> None:
        events = await names(api, f"{MAPS}?watch=1&resourceVersion={kept['from']}", 3)
        assert events == [("ADDED", "b"), ("ADDED", "c"), ("DELETED", "b")]
        query = f"?resourceVersionMatch=Exact&resourceVersion={kept['from']}"
        listed = await api.call("GET", MAPS + query, expect=200)
        assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
        page = await api.call("GET", MAPS + "?limit=1", expect=200)
        kept["continue"] = page["metadata"]["continue"]
        await create(api, "aa")

    async def later(api: Api) -> None:
        page = await api.call("GET", f"{MAPS}?limit=5&continue={kept['continue']}", expect=200)
        assert [item["metadata"]["name"] for item in page["items"]] == ["c"]  # the state of the first page
        # a kind of which there is nothing has a past too
        watch = await api.watch(f"/api/v1/namespaces/default/pods?watch=1&resourceVersion={kept['from']}")
        await watch.close()

    for use in (before, after, later):
        await once(use)


async def test_after_a_restart_only_the_recent_past_is_followed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "REPLAYED", 3)
    async with open_sqlite(TestContext(tmp_path), SqliteConfig()) as store:
        async with serving(store=store) as api:
            old = await create(api, "a")
            recent = await create(api, "b", "c", "d")
            await create(api, "e", "f")
        async with serving(store=store) as api:
            assert await names(api, f"{MAPS}?watch=1&resourceVersion={recent}", 2) == [("ADDED", "e"), ("ADDED", "f")]
            ((type, why),) = await names(api, f"{MAPS}?watch=1&resourceVersion={old}", 1)
            assert type == "ERROR"
            assert "too old resource version" in why


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_watch_goes_on_from_what_the_cache_has_forgotten(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "RING", 8)
    numbers = [f"m{number:03d}" for number in range(50)]

    async def use(api: Api) -> None:
        first = await create(api, *numbers)
        second = await create(api, "other")
        wanted = [("ADDED", name) for name in [*numbers[1:], "other", "live"]]
        watch = await api.watch(f"{MAPS}?watch=1&resourceVersion={int(first) - 49}")
        found = []
        with trio.fail_after(10):
            for _ in range(50):
                event = await watch.next()
                found.append((event["type"], event["object"]["metadata"]["name"]))
            await create(api, "live")
            event = await watch.next()
            found.append((event["type"], event["object"]["metadata"]["name"]))
        await watch.close()
        assert found == wanted
        selected = f"{MAPS}?watch=1&resourceVersion={int(first) - 49}&fieldSelector=metadata.name%3Dother"
        assert await names(api, selected, 1) == [("ADDED", "other")]
        await api.store.compact(int(second))
        ((type, _),) = await names(api, f"{MAPS}?watch=1&resourceVersion={int(first) - 49}", 1)
        assert type == "ERROR"

    if kind == "sqlite":
        async with open_sqlite(TestContext(tmp_path), SqliteConfig(history=10)) as store, serving(store=store) as api:
            await use(api)
    else:
        memory = MemoryStore(1000, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(memory.run)
            async with serving(store=memory) as api:
                await use(api)
            nursery.cancel_scope.cancel()
